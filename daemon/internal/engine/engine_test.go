package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/ipc"
)

const serverURL = "https://coord.example"

func onMachine(t *testing.T, f func(*machine)) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		f(m)
		m.stop()
		if open, _, _ := m.host.counts(); open != 0 {
			t.Errorf("%d planes are still open", open)
		}
	})
}

func TestUpWithAKeyRunsAndDownPutsTheHostBack(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.wantState(ipc.StateNoServer)
		if r := m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"}); r.State != ipc.StateRunning {
			t.Fatalf("up: %+v", r)
		}
		s := m.status()
		if s.Self.Name != "alice" || len(s.Peers) != 1 || !s.Coord.Connected {
			t.Errorf("status %+v", s)
		}
		synctest.Wait()
		if u := m.srv.updates[len(m.srv.updates)-1]; u.Relay != 1 || u.Disco.IsZero() || len(u.Endpoints) != 1 {
			t.Errorf("published %+v", u)
		}
		if err := m.Down(context.Background()); err != nil {
			t.Fatal(err)
		}
		m.wantState(ipc.StateDown)
		if open, _, _ := m.host.counts(); open != 0 {
			t.Error("down left the plane open")
		}
		if r := m.up(ipc.UpRequest{}); r.State != ipc.StateRunning {
			t.Fatalf("up again, with nothing repeated: %+v", r)
		}
	})
}

func TestALoginInTheBrowserEndsBothWays(t *testing.T) {
	for name, end := range map[string]func(m *machine) (*ipc.UpReply, error){
		"waiting": func(m *machine) (*ipc.UpReply, error) {
			close(m.srv.loginDone)
			return m.LoginWait(context.Background(), ipc.LoginWait{ID: "login-1"})
		},
		"loopback": func(m *machine) (*ipc.UpReply, error) {
			return m.LoginFinish(context.Background(), ipc.LoginFinish{ID: "login-1", Code: "c", Verifier: "v"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			onMachine(t, func(m *machine) {
				r := m.up(ipc.UpRequest{Server: serverURL})
				if r.State != ipc.StateNeedsLogin || r.Login == nil || r.Login.Server != serverURL || r.Login.ID != "login-1" {
					t.Fatalf("up: %+v", r)
				}
				if s := m.status(); s.Server != "" {
					t.Errorf("a login that is not done was kept: %+v", s)
				}
				if _, err := m.LoginWait(context.Background(), ipc.LoginWait{ID: "another"}); !errors.Is(err, &ipc.Error{Code: ipc.CodeLogin}) {
					t.Errorf("another login: %v", err)
				}
				r, err := end(m)
				if err != nil || r.State != ipc.StateRunning {
					t.Fatalf("end: %+v, %v", r, err)
				}
			})
		})
	}
}

func TestARestartWithoutTheServerComesBackFromDisk(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		port := m.status().Self.Port
		m.stop()
		m.srv.set(func(s *server) { s.away = true })
		m.start()
		time.Sleep(time.Second)
		m.wantState(ipc.StateRunning)
		s := m.status()
		if s.Coord.Connected || !slices.Contains(codes(s), "coord-unreachable") || len(s.Peers) != 1 || s.Self.Port != port {
			t.Errorf("status %+v, port was %d", s, port)
		}
		m.srv.set(func(s *server) { s.away = false })
		time.Sleep(time.Minute)
		if s := m.status(); !s.Coord.Connected || len(s.Problems) != 0 {
			t.Errorf("status after the server came back: %+v", s)
		}
	})
}

// A relay often runs beside its coordination server: when that is lost, who is idle need not wait to hear of the relay's end.
func TestALostServerHasTheRelayTested(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		m.srv.set(func(s *server) { s.away = true; s.hangUp() })
		time.Sleep(10 * time.Minute)
		m.host.mu.Lock()
		defer m.host.mu.Unlock()
		if m.host.suspected != 1 { // and not with every attempt that fails
			t.Errorf("it was tested %d times", m.host.suspected)
		}
	})
}

// Who is idle does not notice that its home relay is gone: a peer that looks for somebody there says so, and who is there asks it.
func TestAPeersDoubtHasTheRelayTested(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		time.Sleep(10 * time.Second)
		for _, c := range []struct {
			doubt  coord.RelayID
			online bool
			want   int
		}{{2, true, 1}, {1, true, 2}, {1, false, 1}, {0, true, 1}} { // this machine's home is 1
			m.host.mu.Lock()
			m.host.suspected = 0
			m.host.mu.Unlock()
			m.srv.set(func(s *server) {
				next := *s.netmap
				next.Peers = slices.Clone(next.Peers)
				next.Peers[0].Doubt, next.Peers[0].Online = c.doubt, c.online
				s.netmap = &next
				s.hangUp() // for which it is tested once, too
			})
			time.Sleep(time.Minute)
			m.host.mu.Lock()
			if m.host.suspected != c.want {
				t.Errorf("after a doubt of %d it was tested %d times, not %d", c.doubt, m.host.suspected, c.want)
			}
			m.host.mu.Unlock()
		}
	})
}

// What is not found at its home is said only of peers that are online: others are nowhere.
func TestAMissingPeersHomeIsDoubted(t *testing.T) {
	onMachine(t, func(m *machine) {
		for _, online := range []bool{false, true} {
			m.srv.set(func(s *server) {
				next := *s.netmap
				next.Peers = slices.Clone(next.Peers)
				next.Peers[0].Online, next.Peers[0].Relay = online, 3
				s.netmap = &next
				s.hangUp()
			})
			m.host.mu.Lock()
			m.host.missing = []key.NodePublic{{2}}
			m.host.mu.Unlock()
			m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
			time.Sleep(time.Minute)
			m.srv.set(func(s *server) {
				if got := s.updates[len(s.updates)-1].Doubt; got != 0 != online || online && got != 3 {
					t.Errorf("online %v: it doubts %d", online, got)
				}
			})
		}
	})
}

func TestAKilledRegistrationCompletesAfterTheRestart(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.srv.set(func(s *server) { s.deaf = true })
		if _, err := m.Up(context.Background(), ipc.UpRequest{Server: serverURL, AuthKey: "good"}); err == nil {
			t.Fatal("up succeeded without an answer")
		}
		m.stop()
		m.srv.set(func(s *server) { s.deaf = false })
		m.start()
		time.Sleep(5 * time.Second)
		m.wantState(ipc.StateRunning)
		m.stop()
		text, err := os.ReadFile(filepath.Join(m.dir, "state.json"))
		if err != nil || strings.Contains(string(text), "good") {
			t.Errorf("the pre-auth key is still on disk (%v): %s", err, text)
		}
		m.start()
	})
}

// A server that has more to do than it can is asked once more, and no more.
func TestUpTriesOnceMoreWhereTheServerHungUp(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.srv.set(func(s *server) { s.drops = 3 })
		_, err := m.Up(context.Background(), ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		if said := (*ipc.Error)(nil); !errors.As(err, &said) || said.Reason != ipc.ReasonDropped || m.srv.drops != 1 {
			t.Errorf("at a server that is always busy: %v", err)
		}
		if r := m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"}); r.State != ipc.StateRunning {
			t.Errorf("at one that is busy once: %+v", r)
		}
	})
}

func TestARefusedKeyLeavesAllAsItWas(t *testing.T) {
	onMachine(t, func(m *machine) {
		_, err := m.Up(context.Background(), ipc.UpRequest{Server: serverURL, AuthKey: "bad"})
		if !errors.Is(err, &ipc.Error{Code: ipc.CodeKey}) {
			t.Fatalf("up: %v", err)
		}
		m.wantState(ipc.StateNoServer)
		m.stop()
		if text, _ := os.ReadFile(filepath.Join(m.dir, "state.json")); strings.Contains(string(text), `"bad"`) {
			t.Errorf("the refused key is on disk: %s", text)
		}
		m.start()
		time.Sleep(10 * time.Minute)
		if n := m.srv.registers; n != 1 {
			t.Errorf("it asked %d times", n)
		}
	})
}

func TestAnExpiredKeyIsSaidAndALoginMendsIt(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		m.srv.set(func(s *server) { s.expired = true; s.hangUp() })
		time.Sleep(time.Minute)
		m.wantState(ipc.StateNeedsLogin)
		if s := m.status(); !slices.Contains(codes(s), "key-expired") {
			t.Errorf("problems %+v", s.Problems)
		}
		r := m.up(ipc.UpRequest{})
		if r.Login == nil {
			t.Fatalf("up: %+v", r)
		}
		r, err := m.LoginFinish(context.Background(), ipc.LoginFinish{ID: r.Login.ID})
		if err != nil || r.State != ipc.StateRunning {
			t.Fatalf("login: %+v, %v", r, err)
		}
	})
}

func TestAHostWithoutTUNIsToldAndTriedAgain(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.host.refuse = &ipc.Error{Code: ipc.CodeHost, Message: "There is no /dev/net/tun.", Fix: "sudo modprobe tun"}
		_, err := m.Up(context.Background(), ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		if !errors.Is(err, &ipc.Error{Code: ipc.CodeHost}) {
			t.Errorf("up: %v", err)
		}
		s := m.status()
		if s.State != ipc.StateStarting || len(s.Problems) == 0 || s.Problems[0].Fix != "sudo modprobe tun" {
			t.Errorf("status %+v", s)
		}
		m.host.mu.Lock()
		m.host.refuse = nil
		m.host.mu.Unlock()
		time.Sleep(2 * planeRetry)
		m.wantState(ipc.StateRunning)
	})
}

func TestARemovedMachineStopsAndKeepsItsKeys(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		before := m.status().Self.Key
		m.srv.set(func(s *server) { s.registered = false; s.hangUp() })
		time.Sleep(time.Minute)
		m.wantState(ipc.StateNeedsLogin)
		if open, _, _ := m.host.counts(); open != 0 {
			t.Error("the plane is still open")
		}
		if m.status().Self.Key != before {
			t.Error("the key changed")
		}
	})
}

func TestLogoutForgetsEvenWhereTheServerIsAway(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		m.srv.set(func(s *server) { s.away = true })
		if err := m.Logout(context.Background()); !errors.Is(err, &ipc.Error{Code: ipc.CodeCoord}) {
			t.Errorf("logout: %v", err)
		}
		m.wantState(ipc.StateNeedsLogin)
		if s := m.status(); len(s.Peers) != 0 || s.Self.Name == "alice" {
			t.Errorf("status after logout: %+v", s)
		}
		if text, err := os.ReadDir(m.dir); err != nil || slices.ContainsFunc(text, func(f os.DirEntry) bool { return strings.HasPrefix(f.Name(), "netmap") }) {
			t.Errorf("the netmap is still on disk: %v, %v", text, err)
		}
		m.srv.set(func(s *server) { s.away, s.registered = false, false })
		m.up(ipc.UpRequest{AuthKey: "good"}) // the server is known still
		m.wantState(ipc.StateRunning)
		if err := m.Logout(context.Background()); err != nil {
			t.Errorf("logout: %v", err)
		}
		m.wantState(ipc.StateNeedsLogin)
		if _, err := m.Up(context.Background(), ipc.UpRequest{Server: coord.FormatInvite(serverURL, [32]byte{1}), AuthKey: "good"}); err != nil {
			t.Errorf("after the logout another identity may be pinned: %v", err)
		}
	})
}

func TestOneUnchangedNetmapIsAppliedOnceAndAChangeAtOnce(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		time.Sleep(time.Minute)
		_, opened, plans := m.host.counts()
		if opened != 1 || plans != 1 {
			t.Errorf("%d planes, %d plans for one netmap", opened, plans)
		}
		m.srv.set(func(s *server) {
			next := *s.netmap
			next.Seq, next.Peers = 6, nil
			s.netmap = &next
			s.hangUp()
		})
		time.Sleep(time.Second)
		if s := m.status(); len(s.Peers) != 0 || s.Seq != 6 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestWatchersSeeEveryStateOnceTheyCanTakeIt(t *testing.T) {
	onMachine(t, func(m *machine) {
		ctx, cancel := context.WithCancel(context.Background())
		var states []ipc.State
		ended := make(chan error, 1)
		go func() {
			ended <- m.Watch(ctx, func(s *ipc.Status) error {
				if len(states) == 0 || states[len(states)-1] != s.State {
					states = append(states, s.State)
				}
				return nil
			})
		}()
		synctest.Wait()
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		_ = m.Down(context.Background())
		time.Sleep(time.Second)
		cancel()
		<-ended
		if states[0] != ipc.StateNoServer || states[len(states)-1] != ipc.StateDown {
			t.Errorf("states %v", states)
		}
	})
}

func TestAnIdentityIsPinnedAndNotChangedInPassing(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		other := coord.FormatInvite(serverURL, [32]byte{1})
		if _, err := m.Up(context.Background(), ipc.UpRequest{Server: other}); !errors.Is(err, &ipc.Error{Code: ipc.CodeIdentity}) {
			t.Errorf("another identity: %v", err)
		}
		if _, err := m.Up(context.Background(), ipc.UpRequest{Edit: ipc.PrefsEdit{Hostname: ptr("-bad-")}}); !errors.Is(err, &ipc.Error{Code: ipc.CodeBadRequest}) {
			t.Errorf("a bad name: %v", err)
		}
		m.wantState(ipc.StateRunning)
	})
}

func ptr[T any](v T) *T { return &v }

func TestAWatcherOfAQuietMachineIsLeftAlone(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		seen := 0
		_ = m.Watch(ctx, func(*ipc.Status) error { seen++; return nil })
		if seen > 2 { // the first, and what up may still have caused
			t.Errorf("%d snapshots in a second in which nothing happened", seen)
		}
	})
}

func TestWhoWatchesLiveIsToldEachSecond(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second+liveGap/2)
		defer cancel()
		seen := 0
		_ = m.WatchLive(ctx, func(*ipc.Status) error { seen++; return nil })
		if seen < 11 || seen > 12 {
			t.Errorf("%d snapshots in ten seconds", seen)
		}
	})
}

func TestTheHostsDNSIsThatOfThePeopleOfTheMachine(t *testing.T) {
	m := newMachine(t)
	defer func() { m.stop() }()
	m.up(ipc.UpRequest{Server: "https://s.example", AuthKey: "good"})
	last := func() core.DNS {
		m.host.mu.Lock()
		defer m.host.mu.Unlock()
		return m.host.plans[len(m.host.plans)-1].DNS
	}
	if d := last(); !d.Accept || len(d.Servers) == 0 || d.Zone == nil {
		t.Errorf("at first: %+v", d)
	}
	no := false
	if p, err := m.EditPrefs(t.Context(), ipc.PrefsEdit{AcceptDNS: &no}); err != nil || !p.IgnoreDNS || last().Accept {
		t.Errorf("%+v, %v, applied %v", p, err, last().Accept)
	}
	m.stop()
	m.start()
	if p, err := m.Prefs(t.Context()); err != nil || !p.IgnoreDNS {
		t.Errorf("after a restart: %+v, %v", p, err)
	}
}
