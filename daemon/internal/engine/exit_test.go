package engine

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/ipc"
)

var exitRoutes = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// withExits is a machine on a network with two exit nodes, bob and carl, and dan, who is none.
func withExits(t *testing.T) *machine { return withExitsAnd(t, nil) }

func withExitsAnd(t *testing.T, l Lockdown) *machine {
	m := newMachineWith(t, l)
	m.srv.set(func(s *server) {
		s.netmap.Peers[0].Routes, s.netmap.Peers[0].Online = exitRoutes, true
		for i, name := range []string{"carl", "dan"} {
			s.netmap.Peers = append(s.netmap.Peers, coord.Node{
				ID: coord.NodeID(5 + i), Name: name, Key: key.NodePublic{byte(5 + i)}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, 0, byte(5 + i)})}, Online: true,
			})
		}
		s.netmap.Peers[1].Routes = exitRoutes
	})
	m.up(ipc.UpRequest{Server: "https://coord.example", AuthKey: "good"})
	return m
}

func (m *machine) edit(e ipc.PrefsEdit) (ipc.Prefs, error) {
	return m.EditPrefs(context.Background(), e)
}

// exit is the key of the peer that has the internet in the last plan, and the plan's exit.
func (h *host) exit() (byte, *core.Exit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.plans[len(h.plans)-1]
	for _, peer := range p.Peers {
		if slices.ContainsFunc(peer.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr("203.0.113.1")) }) {
			return peer.Key[0], p.Exit
		}
	}
	return 0, p.Exit
}

func TestAnExitNodeIsOneThatThePersonNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := withExits(t)
		defer func() { m.stop() }()
		for name, code := range map[string]string{"dan": ipc.CodeNoExit, "nobody": ipc.CodeNoPeer, "alice": ipc.CodeNoPeer} {
			if _, err := m.edit(ipc.PrefsEdit{ExitNodes: &[]string{"bob", name}}); !errors.Is(err, &ipc.Error{Code: code}) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if k, exit := m.host.exit(); k != 0 || exit != nil {
			t.Errorf("refused, and used: %d, %+v", k, exit)
		}
		p, err := m.edit(ipc.PrefsEdit{ExitNodes: &[]string{"Bob.warren.internal", "100.64.0.5", "bob"}})
		if err != nil || !slices.Equal(p.ExitNodes, []string{"bob", "carl"}) {
			t.Errorf("%v, %v", p.ExitNodes, err)
		}
		if k, exit := m.host.exit(); k != 2 || exit == nil || !exit.IPv4 || !exit.IPv6 {
			t.Errorf("%d, %+v", k, exit)
		}
		if _, err := m.edit(ipc.PrefsEdit{AdvertiseExitNode: new(true)}); !errors.Is(err, &ipc.Error{Code: ipc.CodeBadRequest}) {
			t.Errorf("one that uses an exit node is one: %v", err)
		}
		// It is kept over a restart, and by number: another machine of that name is not it.
		m.stop()
		m.srv.set(func(s *server) {
			s.netmap.Peers[0].ID, s.netmap.Peers[2].ID = 0, 9
			s.netmap.Peers = s.netmap.Peers[1:]
			s.netmap.Peers[1].Name = "bob"
		})
		m.start()
		time.Sleep(time.Second)
		if k, _ := m.host.exit(); k != 5 {
			t.Errorf("after the restart %d is used", k)
		}
		if s := m.status(); s.Exit == nil || s.Exit.Name != "carl" || !slices.Equal(s.Exit.Wanted, []string{"bob", "carl"}) {
			t.Errorf("%+v", s.Exit)
		}
		if _, err := m.edit(ipc.PrefsEdit{ExitNodes: &[]string{}}); err != nil {
			t.Error(err)
		}
		if k, exit := m.host.exit(); k != 0 || exit != nil {
			t.Errorf("off, and used: %d, %+v", k, exit)
		}
	})
}

func TestASilentExitNodeIsReplacedByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := withExits(t)
		defer func() { m.stop() }()
		if _, err := m.edit(ipc.PrefsEdit{ExitNodes: &[]string{"bob", "carl"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if k, _ := m.host.exit(); k != 2 {
			t.Fatalf("%d is used", k)
		}
		m.host.silence(2)
		time.Sleep(core.ExitSilence + time.Second)
		if k, _ := m.host.exit(); k != 5 {
			t.Errorf("%d is used after the first one fell silent", k)
		}
		if s := m.status(); s.Exit.Name != "carl" || !s.Exit.Up || !s.Peers[1].Exit {
			t.Errorf("%+v, %+v", s.Exit, s.Peers)
		}
		m.host.silence(2, 5)
		time.Sleep(core.ExitSilence + time.Second)
		if s := m.status(); s.Exit.Up || !slices.Contains(codes(s), ipc.ProblemExitDown) {
			t.Errorf("%+v, %+v", s.Exit, s.Problems)
		}
		m.host.silence()
		time.Sleep(core.ExitReturn + 2*core.ExitSilence)
		if s := m.status(); s.Exit.Name != "bob" || !s.Exit.Up || slices.Contains(codes(s), ipc.ProblemExitDown) {
			t.Errorf("when all are back: %+v, %+v", s.Exit, s.Problems)
		}
	})
}

func TestASilentRouterOfASubnetIsReplacedByTheNextAndAQuietOneIsNotDisturbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := withExits(t)
		defer func() { m.stop() }()
		site := netip.MustParsePrefix("10.0.0.0/24")
		m.srv.set(func(s *server) {
			for i := range s.netmap.Peers[:2] {
				s.netmap.Peers[i].Routes = []netip.Prefix{site}
			}
		})
		m.stop()
		m.start()
		if _, err := m.edit(ipc.PrefsEdit{AcceptRoutes: new(true)}); err != nil {
			t.Fatal(err)
		}
		uses := func(want byte, when string) {
			t.Helper()
			m.host.mu.Lock()
			defer m.host.mu.Unlock()
			for _, peer := range m.host.plans[len(m.host.plans)-1].Peers {
				if slices.Contains(peer.AllowedIPs, site) != (peer.Key[0] == want) {
					t.Errorf("%s: %d has %v, want %d to lead there", when, peer.Key[0], peer.AllowedIPs, want)
				}
			}
		}
		talk := func(to byte, silent ...byte) {
			m.host.silence(silent...)
			m.host.mu.Lock()
			defer m.host.mu.Unlock()
			m.host.talks = to
		}
		time.Sleep(time.Second)
		uses(2, "at first")
		talk(0, 2)
		time.Sleep(time.Hour)
		uses(2, "silent, and nobody wants anything of it")
		talk(2)
		time.Sleep(time.Hour)
		m.host.mu.Lock()
		if m.host.pings > 0 {
			t.Errorf("%d questions to one that answers, or that nobody asks for anything", m.host.pings)
		}
		m.host.mu.Unlock()
		talk(2, 2)
		time.Sleep(core.ExitSilence + core.ExitAsk)
		uses(5, "it does not answer")
		talk(5)
		time.Sleep(time.Hour)
		uses(5, "it is back: what works stays")
		talk(5, 5)
		time.Sleep(core.ExitSilence + core.ExitAsk)
		uses(2, "the other one does not answer")
		talk(2, 2, 5)
		time.Sleep(core.ExitReturn)
		talk(2)
		time.Sleep(2 * core.ExitReturn)
		_, _, plans := m.host.counts()
		time.Sleep(time.Hour)
		if _, _, now := m.host.counts(); now != plans {
			t.Errorf("%d changes while all answer", now-plans)
		}
	})
}

// TestWhereNobodyIsLeftToLeadIsSaidUntilOneAnswers: bob and carl lead to one subnet, and bob alone to another.
func TestWhereNobodyIsLeftToLeadIsSaidUntilOneAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := withExits(t)
		defer func() { m.stop() }()
		site, own := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.9.0.0/24")
		m.srv.set(func(s *server) {
			s.netmap.Peers[0].Routes, s.netmap.Peers[1].Routes = []netip.Prefix{site, own}, []netip.Prefix{site}
		})
		m.stop()
		m.start()
		if _, err := m.edit(ipc.PrefsEdit{AcceptRoutes: new(true)}); err != nil {
			t.Fatal(err)
		}
		talk := func(to byte, silent ...byte) {
			m.host.silence(silent...)
			m.host.mu.Lock()
			defer m.host.mu.Unlock()
			m.host.talks = to
		}
		said := func() (n int) {
			for _, c := range codes(m.status()) {
				if c == ipc.ProblemRouteDown {
					n++
				}
			}
			return n
		}
		time.Sleep(time.Hour)
		if n := said(); n != 0 {
			t.Errorf("%d problems while all is well", n)
		}
		talk(2, 2, 5)
		time.Sleep(core.ExitSilence + core.ExitAsk)
		if n := said(); n != 1 {
			t.Errorf("bob is silent: %d problems, want that of his own subnet", n)
		}
		talk(5, 2, 5)
		time.Sleep(core.ExitSilence + core.ExitAsk)
		if n := said(); n != 2 {
			t.Errorf("both are silent: %d problems", n)
		}
		talk(0, 2, 5)
		time.Sleep(time.Hour)
		if n := said(); n != 2 {
			t.Errorf("for an hour nobody wanted anything of them: %d problems", n)
		}
		m.host.silence()
		time.Sleep(core.LoneAsk + core.ExitAsk)
		if n := said(); n != 0 {
			t.Errorf("they are back: %d problems", n)
		}
		m.host.mu.Lock()
		asked := m.host.pings
		m.host.mu.Unlock()
		time.Sleep(time.Hour)
		m.host.mu.Lock()
		if m.host.pings != asked {
			t.Errorf("%d questions when all is known", m.host.pings-asked)
		}
		m.host.mu.Unlock()
	})
}

func TestWhatIsOfferedIsPublishedAndNothingThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := withExits(t)
		defer func() { m.stop() }()
		for _, bad := range []string{"10.0.0.1/24", "0.0.0.0/0", "100.64.0.0/16", "127.0.0.0/8"} {
			if _, err := m.edit(ipc.PrefsEdit{AdvertiseRoutes: &[]netip.Prefix{netip.MustParsePrefix(bad)}}); !errors.Is(err, &ipc.Error{Code: ipc.CodeBadRequest}) {
				t.Errorf("%s: %v", bad, err)
			}
		}
		site := netip.MustParsePrefix("10.0.0.0/24")
		m.host.mu.Lock()
		m.host.cut = []netip.Prefix{site}
		m.host.mu.Unlock()
		if _, err := m.edit(ipc.PrefsEdit{AdvertiseRoutes: &[]netip.Prefix{site}, AdvertiseExitNode: new(true), SNATSubnetRoutes: new(false)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		m.srv.set(func(s *server) {
			if u := s.updates[len(s.updates)-1]; !slices.Equal(u.Routes, append([]netip.Prefix{site}, exitRoutes...)) || !slices.Equal(u.Cut, []netip.Prefix{site}) {
				t.Errorf("published: %v, of which it does not reach %v", u.Routes, u.Cut)
			}
		})
		m.host.mu.Lock()
		f := m.host.plans[len(m.host.plans)-1].Forward
		m.host.mu.Unlock()
		if len(f.Subnets) > 0 || f.Exit4 || !f.NoSNAT {
			t.Errorf("forwarded without approval: %+v", f)
		}
	})
}

func TestARelaysRateIsKeptWithinItsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := withExits(t)
		defer func() { m.stop() }()
		for _, bad := range []int64{-1, 1, ipc.MinRelayRate - 1, ipc.MaxRelayRate + 1} {
			if _, err := m.edit(ipc.PrefsEdit{RelayRate: &bad}); !errors.Is(err, &ipc.Error{Code: ipc.CodeBadRequest}) {
				t.Errorf("%d: %v", bad, err)
			}
		}
		for _, rate := range []int64{ipc.MinRelayRate, 10 * ipc.Megabit, 0} {
			p, err := m.edit(ipc.PrefsEdit{Relay: new(true), RelayRate: &rate})
			time.Sleep(10 * time.Second)
			if err != nil || p.RelayRate != rate || m.host.last().RelayRate != rate {
				t.Errorf("%d became %+v in the plan, %+v in the settings: %v", rate, m.host.last().RelayRate, p.RelayRate, err)
			}
			if s, err := m.Status(t.Context()); err != nil || s.Self.Relaying == nil || s.Self.Relaying.Rate != rate {
				t.Errorf("%d: the status says %+v, %v", rate, s.Self.Relaying, err)
			}
		}
	})
}

// last is the plan that was applied last.
func (h *host) last() *core.Plan {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.plans[len(h.plans)-1]
}

func TestWhoLosesTheNetworkStaysBehindTheExitNodeUntilThePersonChooses(t *testing.T) {
	for what, lose := range map[string]func(*server){
		"expired": func(s *server) { s.expired = true },
		"removed": func(s *server) { s.registered = false },
		"waiting": func(s *server) { s.pending = true },
	} {
		for choice, choose := range map[string]func(*machine) error{
			"off":    func(m *machine) error { _, err := m.edit(ipc.PrefsEdit{ExitNodes: &[]string{}}); return err },
			"down":   func(m *machine) error { return m.Down(context.Background()) },
			"logout": func(m *machine) error { return m.Logout(context.Background()) },
		} {
			t.Run(what+" "+choice, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := withExits(t)
					defer func() { m.stop() }()
					if _, err := m.edit(ipc.PrefsEdit{ExitNodes: &[]string{"bob"}}); err != nil {
						t.Fatal(err)
					}
					m.srv.set(func(s *server) {
						lose(s)
						s.hangUp()
					})
					held := func(when string) {
						t.Helper()
						time.Sleep(2 * time.Minute)
						p := m.host.last()
						if open, _, _ := m.host.counts(); open != 1 || p.Exit == nil || p.Exit.IPv4 || p.Exit.IPv6 || len(p.Peers) > 0 {
							t.Errorf("%s: %d planes, the last plan %+v", when, open, p)
						}
						if s := m.status(); !slices.Contains(codes(s), ipc.ProblemExitHeld) {
							t.Errorf("%s: %s, problems %v", when, s.State, codes(s))
						}
						if _, err := m.Ping(context.Background(), key.NodePublic{2}); !errors.Is(err, errNotUp) {
							t.Errorf("%s: a peer is asked: %v", when, err)
						}
					}
					held("at once")
					m.stop()
					m.start()
					held("after a restart")
					if _, err := m.Portal(context.Background(), ipc.PortalRequest{Duration: ipc.Millis(time.Minute)}); err != nil {
						t.Fatal(err)
					}
					if p := m.host.last(); p.Exit != nil {
						t.Errorf("while a person signs in: %+v", p.Exit)
					}
					held("after the portal's time")
					if err := choose(m); err != nil {
						t.Fatal(err)
					}
					if open, _, _ := m.host.counts(); open != 0 {
						t.Errorf("the person has chosen, and there is a plane")
					}
					if s := m.status(); slices.Contains(codes(s), ipc.ProblemExitHeld) {
						t.Errorf("the person has chosen: %v", codes(s))
					}
				})
			})
		}
	}
}

func TestAMachineWithLockdownLeadsNobodyAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := withExitsAnd(t, newLock())
		defer func() { m.stop() }()
		refused := func(what string, e ipc.PrefsEdit) {
			t.Helper()
			if _, err := m.edit(e); !errors.Is(err, &ipc.Error{Code: ipc.CodeBadRequest}) {
				t.Errorf("%s: %v", what, err)
			}
		}
		must := func(e ipc.PrefsEdit) {
			t.Helper()
			if _, err := m.edit(e); err != nil {
				t.Error(err)
			}
		}
		site := &[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
		must(ipc.PrefsEdit{Lockdown: new(true)})
		refused("an exit node", ipc.PrefsEdit{AdvertiseExitNode: new(true)})
		refused("a router", ipc.PrefsEdit{AdvertiseRoutes: site})
		must(ipc.PrefsEdit{Lockdown: new(false), AdvertiseRoutes: site})
		refused("lockdown", ipc.PrefsEdit{Lockdown: new(true)})
		if m.status().Lockdown {
			t.Error("refused, and on")
		}
		must(ipc.PrefsEdit{Lockdown: new(true), AdvertiseRoutes: &[]netip.Prefix{}})

		// Lockdown is the machine's, offers are a login's: another login may bring them together.
		f := core.Facts{Prefs: ipc.Prefs{Server: "https://coord.example", Up: true}, Registered: true, Wants: core.Wants{Lockdown: true, Offer: *site}}
		if got := codes(f.Status(time.Now())); !slices.Contains(got, ipc.ProblemLockedOffer) {
			t.Errorf("problems %v", got)
		}
	})
}
