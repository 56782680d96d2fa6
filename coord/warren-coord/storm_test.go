package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/coord/server"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
)

// envStorm is how many faults the storm has in place of a few.
const envStorm = "WARREN_STORM"

func TestEveryNetmapIsAFreshOneAfterAStorm(t *testing.T) {
	faults := 6
	if text := os.Getenv(envStorm); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q is no number of faults", envStorm, text)
		}
		faults = n
	}
	pg := pgtest.Start(t)
	address := pg.Database("storm")
	t.Setenv(envDatabase, address)
	s := newStorm(t, 3, 12)
	sql := func(text string) { pg.Exec("storm", text) }
	s.run(faults, map[string]func(victim int){
		"kill": func(v int) {
			_ = s.cmds[v].Process.Kill()
			_ = s.cmds[v].Wait()
			s.cmds[v] = start(t, s.dirs[v], s.addrs[v])
		},
		"stop": func(v int) {
			_ = s.cmds[v].Process.Signal(syscall.SIGSTOP)
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Millisecond)
			_ = s.cmds[v].Process.Signal(syscall.SIGCONT)
		},
		"deaf": func(int) {
			sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
		},
		"cut": func(int) {
			sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'storm'")
		},
		"database": func(int) { pg.Down(); pg.Up() },
	})
}

// storm is a network whose servers and database fail while everything changes.
type storm struct {
	t     *testing.T
	dirs  []string
	addrs []string
	cmds  []*exec.Cmd
	pin   key.ServerPublic
	key   string
	all   []*stormy

	changes atomic.Int64
}

// stormy is a machine of it.
type stormy struct {
	*follower
	machine key.Machine
}

func newStorm(t *testing.T, servers, machines int) *storm {
	t.Helper()
	work := t.TempDir()
	s := &storm{t: t}
	for i := range servers {
		dir := filepath.Join(work, fmt.Sprint("state", i))
		if i > 0 {
			for _, args := range [][]string{{"backup", filepath.Join(work, fmt.Sprint("saved", i)), "--state", s.dirs[0]}, {"restore", filepath.Join(work, fmt.Sprint("saved", i)), "--replica", "--state", dir}} {
				if out, err := exec.Command("warren-coord", args...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", args[0], err, out)
				}
			}
		}
		s.dirs, s.addrs = append(s.dirs, dir), append(s.addrs, "127.0.0.1:"+pebble.FreePort(t))
		s.cmds = append(s.cmds, start(t, dir, s.addrs[i]))
	}
	var err error
	if s.pin, err = server.Identity(s.dirs[0]); err != nil {
		t.Fatal(err)
	}
	var k server.NewKey
	run(t, &k, "key", "create", "--reusable", "--json", "--state", s.dirs[0])
	s.key = k.Key
	for i := range machines {
		f := &stormy{follower: &follower{t: t, node: key.NewNode()}, machine: key.NewMachine()}
		for _, addr := range s.addrs {
			c, err := coord.NewClient(coord.ClientConfig{URL: addr, Pin: s.pin, Machine: f.machine})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			f.clients = append(f.clients, c)
		}
		if _, err := f.clients[0].Register(t.Context(), f.node, coord.RegisterRequest{Hostname: fmt.Sprint("m", i), AuthKey: s.key}); err != nil {
			t.Fatal(err)
		}
		s.all = append(s.all, f)
	}
	return s
}

func (s *storm) ask(ctx context.Context, method, path string, body any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return (&env{dir: s.dirs[rand.IntN(len(s.dirs))]}).ask(ctx, method, path, body, nil)
}

// administer changes something.
func (s *storm) administer(ctx context.Context) error {
	n := rand.IntN(1000)
	m := "m" + strconv.Itoa(rand.IntN(len(s.all)))
	if have := s.all[rand.IntN(len(s.all))].netmap(); have != nil && len(have.Peers) > 0 {
		m = have.Peers[rand.IntN(len(have.Peers))].Name
	}
	switch rand.IntN(9) {
	case 0:
		return s.ask(ctx, http.MethodPost, "/machines/"+m+"/name", server.RenameRequest{Name: fmt.Sprint("m", n)})
	case 1:
		return s.ask(ctx, http.MethodPost, "/machines/"+m+"/tags", server.TagsRequest{Tags: []string{fmt.Sprint("t", n)}})
	case 2:
		return s.ask(ctx, http.MethodPatch, "/dns", map[string]any{"nameservers": []string{fmt.Sprint("192.0.2.", n%250)}})
	case 3:
		return s.ask(ctx, http.MethodPost, "/dns/records", server.DNSRecordsRequest{Add: []coord.DNSRecord{{Name: fmt.Sprint("r", n), Type: "A", Value: "192.0.2.1"}}})
	case 4:
		return s.ask(ctx, http.MethodPut, "/relays/"+fmt.Sprint("r", n%5), server.RelayRequest{Key: key.NewRelay().Public(), UDP: fmt.Sprint("192.0.2.1:", 1000+n)})
	case 5:
		return s.ask(ctx, http.MethodDelete, "/relays/"+fmt.Sprint("r", n%5), nil)
	case 6:
		return s.ask(ctx, http.MethodPost, "/machines/"+m+"/routes", server.RoutesRequest{Approve: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", n%4))}})
	case 7: // somebody comes and goes
		c, err := coord.NewClient(coord.ClientConfig{URL: s.addrs[rand.IntN(len(s.addrs))], Pin: s.pin, Machine: key.NewMachine()})
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err = c.Register(ctx, key.NewNode(), coord.RegisterRequest{Hostname: fmt.Sprint("guest", n), AuthKey: s.key}); err != nil || n%3 == 0 {
			return err
		}
		return c.Logout(ctx)
	default:
		return s.ask(ctx, http.MethodPost, "/machines/"+m+"/extend", server.ExtendRequest{Forever: n%2 == 0})
	}
}

func (s *storm) run(faults int, kinds map[string]func(int)) {
	t := s.t
	ctx, stop := context.WithCancel(t.Context())
	var following, changing sync.WaitGroup
	over := make(chan struct{})
	t.Cleanup(func() { stop(); changing.Wait(); following.Wait() })
	for i, f := range s.all {
		following.Go(func() { f.follow(ctx, i) })
		changing.Go(func() {
			for port := uint16(1000); ; port++ {
				limited, cancel := context.WithTimeout(ctx, 5*time.Second)
				_ = f.clients[rand.IntN(len(f.clients))].Update(limited, coord.NodeUpdate{
					OS: "linux", Endpoints: []coord.Endpoint{{Addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), Kind: coord.EndpointLocal}},
					Routes: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", port%4))},
				})
				cancel()
				select {
				case <-over:
					return
				case <-time.After(time.Duration(rand.IntN(300)) * time.Millisecond):
				}
			}
		})
	}
	errs := map[string]int{}
	var mu sync.Mutex
	for range 2 {
		changing.Go(func() {
			for {
				err := s.administer(ctx)
				mu.Lock()
				if err == nil {
					s.changes.Add(1)
				} else {
					text := err.Error()
					errs[text[:min(len(text), 120)]]++
				}
				mu.Unlock()
				select {
				case <-over:
					return
				case <-time.After(time.Duration(rand.IntN(40)) * time.Millisecond):
				}
			}
		})
	}
	for range faults {
		time.Sleep(time.Duration(500+rand.IntN(1500)) * time.Millisecond)
		names := make([]string, 0, len(kinds))
		for n := range kinds {
			names = append(names, n)
		}
		name := names[rand.IntN(len(names))]
		victim := rand.IntN(len(s.cmds))
		t.Log(time.Now().Format("05.000"), name, victim)
		kinds[name](victim)
	}
	close(over)
	changing.Wait()
	t.Logf("%d changes; refused: %v", s.changes.Load(), errs)
	s.calm(ctx)
}

// heard has all hear of a last change, behind which no earlier one can be on its way, and see all others online.
func (s *storm) heard(ctx context.Context) {
	s.t.Helper()
	const over = "over.example.org"
	by := time.Now().Add(2 * patience)
	for err := errors.New("not asked"); err != nil; {
		if err = s.ask(ctx, http.MethodPatch, "/dns", map[string]any{"search": []string{over}}); err != nil && time.Now().After(by) {
			s.t.Fatal("after the storm nothing can be changed: ", err)
		}
		retry(ctx)
	}
	for i, f := range s.all {
		for {
			m := f.netmap()
			if m != nil && slices.Contains(m.DNS.Search, over) && online(m) >= len(s.all)-1 {
				break
			}
			if time.Now().After(by) {
				s.t.Fatalf("m%d never hears of the last change, or not that all are online: %+v", i, m)
			}
			retry(ctx)
		}
	}
}

func online(m *coord.Netmap) (n int) {
	for _, p := range m.Peers {
		if p.Online {
			n++
		}
	}
	return n
}

// calm waits until nothing changes any more, and compares.
func (s *storm) calm(ctx context.Context) {
	s.heard(ctx)
	seq := func() (high uint64, text string) {
		for _, f := range s.all {
			if m := f.netmap(); m != nil {
				high = max(high, m.Seq)
				text += fmt.Sprint(m.Seq, " ")
			}
		}
		return high, text
	}
	began := time.Now()
	last, _ := seq()
	since := time.Now()
	for time.Since(since) < 6*time.Second && time.Since(began) < 90*time.Second {
		time.Sleep(100 * time.Millisecond)
		if now, _ := seq(); now != last {
			last, since = now, time.Now()
		}
	}
	_, text := seq()
	s.t.Logf("calm after %v: %s", time.Since(began).Round(time.Millisecond), text)
	have := make([]*coord.Netmap, len(s.all))
	for i, f := range s.all {
		have[i] = f.netmap()
	}
	for i, f := range s.all {
		var fresh *coord.Netmap
		enough := fmt.Errorf("enough")
		for try := 0; fresh == nil && try < 20; try++ {
			c, err := coord.NewClient(coord.ClientConfig{URL: s.addrs[(i+try)%len(s.addrs)], Pin: s.pin, Machine: f.machine})
			if err != nil {
				s.t.Fatal(err)
			}
			_ = c.Netmap(ctx, nil, func(m *coord.Netmap) error { fresh = m; return enough })
			c.Close()
		}
		if fresh == nil {
			s.t.Errorf("m%d gets no fresh netmap", i)
			continue
		}
		a, b := *have[i], *fresh
		a.Seq, b.Seq = 0, 0
		for _, c := range coord.Diff(&a, &b) {
			text, _ := json.Marshal(c)
			s.t.Errorf("m%d (at %d, fresh %d) lacks %s", i, have[i].Seq, fresh.Seq, text)
		}
		if n := online(fresh); n < len(s.all)-1 {
			s.t.Errorf("m%d: only %d online", i, n)
		}
	}
}
