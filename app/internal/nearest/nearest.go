// Package nearest finds the exit node that a machine reaches best, for the programs in front of the daemon.
package nearest

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/warren-mesh/warren/ipc"
)

const (
	// most bounds how many exit nodes are asked.
	most = 16
	// patience is how long an exit node may take to answer.
	patience ipc.Milliseconds = 2000
)

// Errors of Exit.
var (
	ErrNone   = errors.New("the network has no exit node")
	ErrSilent = errors.New("no exit node answers")
)

// Exits lists the machines that can be used as exit node, in the order of the status.
func Exits(s *ipc.Status) []ipc.Peer {
	return slices.DeleteFunc(slices.Clone(s.Peers), func(p ipc.Peer) bool { return !p.ExitOption })
}

// Exit asks the exit nodes for an answer, those that are online first, and gives the nearest one's: one that answers directly
// before one that does through a relay.
func Exit(ctx context.Context, c *ipc.Client) (*ipc.PingReply, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	exits := Exits(s)
	if len(exits) == 0 {
		return nil, ErrNone
	}
	slices.SortStableFunc(exits, func(a, b ipc.Peer) int { return cmp.Compare(first(a.Online), first(b.Online)) })
	exits = exits[:min(len(exits), most)]
	replies := make(chan *ipc.PingReply, len(exits))
	for _, e := range exits {
		go func() {
			reply, err := c.Ping(ctx, ipc.PingRequest{Peer: e.Name, Timeout: patience})
			if err != nil {
				reply = nil
			}
			replies <- reply
		}()
	}
	var answered []*ipc.PingReply
	for range exits {
		if r := <-replies; r != nil {
			answered = append(answered, r)
		}
	}
	if len(answered) == 0 {
		return nil, ErrSilent
	}
	return slices.MinFunc(answered, func(a, b *ipc.PingReply) int {
		direct := func(r *ipc.PingReply) int { return first(r.Path.Kind == ipc.PathDirect) }
		return cmp.Or(cmp.Compare(direct(a), direct(b)), cmp.Compare(a.Latency, b.Latency), cmp.Compare(a.Name, b.Name))
	}), nil
}

// first sorts what is so before what is not.
func first(yes bool) int {
	if yes {
		return 0
	}
	return 1
}
