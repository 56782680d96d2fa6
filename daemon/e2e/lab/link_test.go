package lab_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

func TestAPulledCableTakesTheCarrierAndKeepsTheAddress(t *testing.T) {
	s := newSite(t)
	for _, m := range []*lab.Machine{s.alice, s.home.Machine, s.server} {
		pings(t, "before", s.alice, s.server.Addr(), true)
		m.Unplug()
		out := m.MustRun("ip", "addr", "show", "dev", m.Device())
		if !strings.Contains(out, "NO-CARRIER") || !strings.Contains(out, m.Addr().String()) {
			t.Errorf("want no carrier and the address:\n%s", out)
		}
		pings(t, "unplugged", s.alice, s.server.Addr(), false)
		m.Plug()
		lab.Eventually(t, 5*time.Second, func() error { return s.alice.Ping(s.server.Addr()) })
	}
	if err := s.server.Ping(s.inet.Host("other").Addr6()); err != nil {
		t.Errorf("IPv6 does not come back: %v", err)
	}
}

func TestAFlappingLinkEndsUp(t *testing.T) {
	s := newSite(t)
	watch := s.alice.Start("ip", "monitor", "link")
	time.Sleep(50 * time.Millisecond)
	s.alice.Flap(3, 20*time.Millisecond)
	pings(t, "afterwards", s.alice, s.server.Addr(), true)
	lab.Eventually(t, 2*time.Second, func() error {
		if strings.Count(watch.Output(), "NO-CARRIER") < 3 {
			return errors.New("fewer than three flaps are seen")
		}
		return nil
	})
}

func TestANewAddressReplacesTheOld(t *testing.T) {
	s := newSite(t)
	for _, m := range []*lab.Machine{s.alice, s.home.Machine, s.server} {
		was := m.Addr()
		is := m.Readdress()
		if is == was || is != m.Addr() {
			t.Errorf("%s had %v, has %v and says %v", m.Name(), was, is, m.Addr())
		}
		out := m.MustRun("ip", "addr", "show", "dev", m.Device())
		if strings.Contains(out, was.String()+"/") || !strings.Contains(out, is.String()+"/") {
			t.Errorf("want %v in place of %v:\n%s", is, was, out)
		}
		pings(t, m.Name()+" has a new address", s.alice, s.server.Addr(), true)
	}
	pings(t, "IPv6", s.inet.Host("other"), s.server.Addr6(), true)
}

func TestARoutersNewAddressIsSeenBySocketsThatAreOpen(t *testing.T) {
	s := newSite(t)
	conn := socket(t, s.alice, 40000)
	mustAsk(t, conn, s.to)
	s.home.Readdress()
	if seen, want := mustAsk(t, conn, s.to), netip.AddrPortFrom(s.home.Addr(), 40000); seen != want {
		t.Errorf("seen as %v, want %v", seen, want)
	}
}

func TestAMachineThatMovesHasTheOtherSitesAddress(t *testing.T) {
	s := newSite(t)
	office := s.inet.Router("office", lab.EasyNAT)
	fault := s.alice.DropUDP()
	if at := s.alice.MoveTo(office.Segment); !office.Prefix().Contains(at) || at != s.alice.Addr() {
		t.Errorf("at %v in the office's %v", at, office.Prefix())
	}
	pings(t, "moved", s.alice, s.server.Addr(), true)
	passes(t, "its fault moved with it", s.alice, s.to, 10, false)
	fault.Heal()
	if seen := mustAsk(t, socket(t, s.alice, 0), s.to); seen.Addr() != office.Addr() {
		t.Errorf("seen as %v, want the office's %v", seen, office.Addr())
	}
}

func TestARouterForgetsItsMappings(t *testing.T) {
	for name, forget := range map[string]func(*lab.Router){
		"when flushed":          (*lab.Router).FlushConntrack,
		"after its UDP timeout": func(*lab.Router) { time.Sleep(2500 * time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.home.SetUDPTimeout(time.Second)
			to := mirror(t, s.server, 8000)
			alice, err := s.alice.ListenUDP(40000)
			if err != nil {
				t.Fatal(err)
			}
			defer alice.Close()
			seen := mustAsk(t, alice, to)
			if !strings.Contains(s.home.Mappings(), "sport=40000") {
				t.Errorf("no mapping for alice in:\n%s", s.home.Mappings())
			}
			forget(s.home)
			if out := s.home.Mappings(); strings.Contains(out, "sport=40000") {
				t.Errorf("the mapping of %v is still there:\n%s", seen, out)
			}
		})
	}
}

func TestADelayedLinkIsSlowAndLosesAndIsHealed(t *testing.T) {
	n := lab.New(t)
	a, b := n.Internet().Host("a"), n.Internet().Host("b")
	trip := func() time.Duration {
		t.Helper()
		if err := a.Ping(b.Addr()); err != nil { // the first asks for addresses
			t.Fatal(err)
		}
		begun := time.Now()
		if err := a.Ping(b.Addr()); err != nil {
			t.Fatal(err)
		}
		return time.Since(begun)
	}
	slow := a.Delay(100*time.Millisecond, 0)
	if took := trip(); took < 100*time.Millisecond {
		t.Errorf("there and back took %v", took)
	}
	slow.Heal()
	lossy := a.Delay(0, 2)
	if out, _ := a.Run("ping", "-n", "-q", "-i", "0.002", "-c", "200", "-W", "1", b.Addr().String()); strings.Contains(out, " 0% packet loss") || strings.Contains(out, " 100% packet loss") {
		t.Errorf("of a link that loses half:\n%s", out)
	}
	lossy.Heal()
	if out, err := a.Run("ping", "-n", "-q", "-i", "0.002", "-c", "20", "-W", "1", b.Addr().String()); err != nil || !strings.Contains(out, " 0% packet loss") {
		t.Errorf("healed: %v\n%s", err, out)
	}
}
