package engine

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/firewall"
	"github.com/warren-mesh/warren/daemon/internal/router"
	"github.com/warren-mesh/warren/daemon/internal/tunnel"
)

// scripted are access rules that can or cannot be put in force.
type scripted struct {
	fails  bool
	stands bool
	log    *[]string
}

func (s *scripted) Apply(_ context.Context, a firewall.Admission) error {
	*s.log = append(*s.log, "rules")
	if s.fails {
		return errors.New("the kernel refuses them")
	}
	s.stands = a.Rules != nil
	return nil
}

func (s *scripted) Stands() bool { return s.stands }

func TestNobodyIsLetInBeforeTheRulesStand(t *testing.T) {
	peers := []tunnel.Peer{{Key: key.NodePublic{1}}}
	for _, c := range []struct {
		name   string
		access scripted
		rules  *coord.Filter
		want   int
	}{
		{"rules that stand", scripted{}, &coord.Filter{}, 1},
		{"a network without rules", scripted{}, nil, 1},
		{"rules that cannot be put in force", scripted{fails: true}, &coord.Filter{}, 0},
		{"over others that stand", scripted{fails: true, stands: true}, &coord.Filter{}, 1},
	} {
		var log []string
		c.access.log = &log
		got := -1
		refused, err := letIn(&c.access, firewall.Admission{Rules: c.rules}, peers, func(ps []tunnel.Peer) error {
			log, got = append(log, "peers"), len(ps)
			return nil
		})
		if !slices.Equal(log, []string{"rules", "peers"}) || got != c.want || (refused != nil) != c.access.fails || err != nil {
			t.Errorf("%s: %v, %d peers, %v, %v", c.name, log, got, refused, err)
		}
	}
}

// The router's watch may have ended before this hears that all is to end, or after.
func TestAWireEndsWhetherTheHostsWatchEndsBeforeOrAfter(t *testing.T) {
	for range 100 { // which of the two is heard first is chance
		ctx, cancel := context.WithCancel(t.Context())
		host := make(chan router.Event)
		ended := make(chan struct{})
		w := &wire{events: newMailbox()}
		cancel()
		close(host)
		go func() { defer close(ended); w.follow(ctx, nil, host, nil) }()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatal("it goes on")
		}
	}
}
