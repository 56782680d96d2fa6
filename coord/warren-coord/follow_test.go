package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/coord/server"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
)

// follower is a machine that follows the network at whichever server answers, and says something of itself.
type follower struct {
	t       *testing.T
	node    key.Node
	clients []*coord.Client // of one machine, one for each server

	mu   sync.Mutex
	have *coord.Netmap
}

// follow goes on from what it has, at the next server whenever one is gone, until ctx ends.
func (f *follower) follow(ctx context.Context, first int) {
	for i := first; ctx.Err() == nil; i++ {
		_ = f.clients[i%len(f.clients)].Netmap(ctx, f.netmap(), func(m *coord.Netmap) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.have != nil && m.Seq < f.have.Seq {
				f.t.Errorf("after %d came %d", f.have.Seq, m.Seq)
			}
			f.have = m
			return nil
		})
		retry(ctx)
	}
}

// retry is a machine's wait before it tries again.
func retry(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}

func (f *follower) netmap() *coord.Netmap {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have
}

// say says that it is at the port, until a server has acknowledged it.
func (f *follower) say(ctx context.Context, at int, port uint16) {
	for i := at; ctx.Err() == nil; i++ {
		limited, cancel := context.WithTimeout(ctx, 5*time.Second) // then the next server is tried
		err := f.clients[i%len(f.clients)].Update(limited, coord.NodeUpdate{
			OS: "linux", Endpoints: []coord.Endpoint{{Addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), Kind: coord.EndpointLocal}},
		})
		cancel()
		if err == nil {
			return
		}
		retry(ctx)
	}
}

// ports are where the machine sees the others, and itself, if all are online.
func (f *follower) ports() map[coord.NodeID]uint16 {
	out := map[coord.NodeID]uint16{}
	m := f.netmap()
	if m == nil {
		return out
	}
	for _, n := range append([]coord.Node{m.Self}, m.Peers...) {
		if n.Online && len(n.Endpoints) == 1 {
			out[n.ID] = n.Endpoints[0].Addr.Port()
		}
	}
	return out
}

func TestNobodyMissesAChangeOverKills(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { followOverKills(t, 1, 6) })
	t.Run("two servers on PostgreSQL", func(t *testing.T) {
		t.Setenv(envDatabase, pgtest.Start(t).Database("followed"))
		followOverKills(t, 2, 6)
	})
}

// followOverKills has machines follow and speak while one server after the other is killed and started again. At the
// end all see the same: what each machine has said last.
func followOverKills(t *testing.T, servers, kills int) {
	work := t.TempDir()
	dirs, addrs, cmds := make([]string, servers), make([]string, servers), make([]*exec.Cmd, servers)
	for i := range servers {
		dirs[i], addrs[i] = filepath.Join(work, fmt.Sprint("state", i)), "127.0.0.1:"+pebble.FreePort(t)
		if i > 0 {
			for _, args := range [][]string{{"backup", filepath.Join(work, "saved"), "--state", dirs[0]}, {"restore", filepath.Join(work, "saved"), "--replica", "--state", dirs[i]}} {
				if out, err := exec.Command("warren-coord", args...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", args[0], err, out)
				}
			}
		}
		cmds[i] = start(t, dirs[i], addrs[i])
	}
	pin, err := server.Identity(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	var k server.NewKey
	run(t, &k, "key", "create", "--reusable", "--json", "--state", dirs[0])

	const machines = 6
	ctx, stop := context.WithCancel(t.Context())
	var work1, speak sync.WaitGroup
	t.Cleanup(func() { stop(); speak.Wait(); work1.Wait() })
	all := make([]*follower, machines)
	for i := range all {
		f := &follower{t: t, node: key.NewNode()}
		all[i] = f
		m := key.NewMachine()
		for _, addr := range addrs {
			c, err := coord.NewClient(coord.ClientConfig{URL: addr, Pin: pin, Machine: m})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			f.clients = append(f.clients, c)
		}
		if _, err := f.clients[0].Register(ctx, f.node, coord.RegisterRequest{Hostname: fmt.Sprint("m", i), AuthKey: k.Key}); err != nil {
			t.Fatal(err)
		}
		work1.Go(func() { f.follow(ctx, i) })
	}
	// All speak while the servers are killed, each at the server that it does not follow, if there is one.
	said := make([]uint16, machines)
	over := make(chan struct{})
	for i, f := range all {
		speak.Go(func() {
			for port := uint16(1000); ; port++ {
				f.say(ctx, i+1, port)
				said[i] = port
				select {
				case <-over:
					return
				default:
				}
			}
		})
	}
	for round := range kills {
		victim := round % servers
		for range 1 + rand.IntN(12) { // changes are under way
			for before := all[0].netmap(); all[0].netmap() == before; {
				time.Sleep(time.Millisecond)
			}
		}
		_ = cmds[victim].Process.Kill()
		_ = cmds[victim].Wait()
		cmds[victim] = start(t, dirs[victim], addrs[victim])
	}
	close(over)
	speak.Wait()
	want := map[coord.NodeID]uint16{}
	for i, f := range all {
		want[f.netmap().Self.ID] = said[i]
	}
	for end := time.Now().Add(patience); ; retry(ctx) {
		wrong := ""
		for i, f := range all {
			if got := f.ports(); fmt.Sprint(got) != fmt.Sprint(want) {
				wrong += fmt.Sprintf("m%d sees %v\n", i, got)
			}
		}
		if wrong == "" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not what was said, %v:\n%s", want, wrong)
		}
	}
	t.Logf("%d kills, %v said", kills, said)
}
