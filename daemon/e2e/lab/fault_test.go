package lab_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// site is a home with one host, and a mirror on the internet.
type site struct {
	net    *lab.Net
	inet   *lab.Segment
	server *lab.Machine
	to     netip.AddrPort
	home   *lab.Router
	alice  *lab.Machine
}

func newSite(t *testing.T) site {
	t.Helper()
	n := lab.New(t)
	inet := n.Internet()
	server := inet.Host("server")
	home := inet.Router("home", lab.EasyNAT)
	return site{n, inet, server, mirror(t, server, echoPort), home, home.Host("alice")}
}

// passes fails the test unless a UDP packet from the host gets its answer, or not, as wanted.
func passes(t *testing.T, what string, from *lab.Machine, to netip.AddrPort, size int, want bool) {
	t.Helper()
	conn, err := from.ListenUDP(0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range lab.Patience {
		if _, err = ask(conn, to, size); err == nil {
			break
		}
	}
	var timeout net.Error
	if err != nil && (!errors.As(err, &timeout) || !timeout.Timeout()) {
		t.Errorf("%s: a lost packet must be lost in silence, but: %v", what, err)
	}
	if got := err == nil; got != want {
		t.Errorf("%s: UDP of %d bytes passes: %v, want %v", what, size, got, want)
	}
}

func pings(t *testing.T, what string, from *lab.Machine, to netip.Addr, want bool) {
	t.Helper()
	if err := from.Ping(to); (err == nil) != want {
		t.Errorf("%s: answered: %v (%v), want %v", what, err == nil, err, want)
	}
}

func TestBlockedUDPIsBlockedBetweenTheTwoOnly(t *testing.T) {
	s := newSite(t)
	other := s.inet.Host("other")
	otherTo := mirror(t, other, echoPort)
	passes(t, "before", s.alice, s.to, 10, true)
	fault := s.net.BlockUDP(s.alice, s.server)
	passes(t, "blocked", s.alice, s.to, 10, false)
	passes(t, "to another", s.alice, otherTo, 10, true)
	pings(t, "not UDP", s.alice, s.server.Addr(), true)
	fault.Heal()
	fault.Heal()
	passes(t, "healed", s.alice, s.to, 10, true)
}

func TestUDPCanBeBlockedInsideALAN(t *testing.T) {
	s := newSite(t)
	bob := s.home.Host("bob")
	to := mirror(t, bob, echoPort)
	passes(t, "before", s.alice, to, 10, true)
	fault := s.net.BlockUDP(s.alice, bob)
	passes(t, "blocked", s.alice, to, 10, false)
	passes(t, "to the internet", s.alice, s.to, 10, true)
	fault.Heal()
	passes(t, "healed", s.alice, to, 10, true)
}

func TestAHostCanBeBlockedFromItsOwnRouter(t *testing.T) {
	s := newSite(t)
	pings(t, "before", s.alice, s.home.Gateway(), true)
	defer s.net.Block(s.home, s.alice).Heal()
	pings(t, "blocked", s.alice, s.home.Gateway(), false)
}

func TestAHostOrASiteWithoutUDP(t *testing.T) {
	s := newSite(t)
	bob := s.home.Host("bob")
	fault := s.alice.DropUDP()
	passes(t, "alice's fault, alice", s.alice, s.to, 10, false)
	passes(t, "alice's fault, bob", bob, s.to, 10, true)
	fault.Heal()
	fault = s.home.DropUDP()
	passes(t, "the site's fault, alice", s.alice, s.to, 10, false)
	passes(t, "the site's fault, bob", bob, s.to, 10, false)
	pings(t, "the site's fault, not UDP", s.alice, s.server.Addr(), true)
	fault.Heal()
	passes(t, "healed", s.alice, s.to, 10, true)
}

func TestABlackholeDropsEverything(t *testing.T) {
	s := newSite(t)
	pings(t, "before", s.alice, s.server.Addr(), true)
	fault := s.home.Blackhole()
	pings(t, "dropped", s.alice, s.server.Addr(), false)
	fault.Heal()
	pings(t, "healed", s.alice, s.server.Addr(), true)
}

func TestFaultsOfOneLinkAddUp(t *testing.T) {
	s := newSite(t)
	noUDP := s.home.DropUDP()
	noPing := s.home.Drop("meta l4proto icmp")
	passes(t, "both", s.alice, s.to, 10, false)
	pings(t, "both", s.alice, s.server.Addr(), false)
	noUDP.Heal()
	passes(t, "one healed", s.alice, s.to, 10, true)
	pings(t, "one healed", s.alice, s.server.Addr(), false)
	noPing.Heal()
	pings(t, "both healed", s.alice, s.server.Addr(), true)
}

func TestLossLosesAsManyAsItSays(t *testing.T) {
	s := newSite(t)
	const sent, percent = 2000, 20
	count := s.server.Capture("udp port 9999")
	conn := socket(t, s.alice, 0)
	send := func() int {
		before := count.Count()
		for i := range sent {
			if _, err := conn.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(s.server.Addr(), 9999)); err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 {
				time.Sleep(time.Millisecond) // within every queue
			}
		}
		return sent - (count.Count() - before)
	}
	if lost := send(); lost != 0 {
		t.Errorf("%d of %d packets are lost before the fault", lost, sent)
	}
	fault := s.home.Lose(percent)
	// 400 are expected with a standard deviation of 18.
	if lost := send(); lost < 300 || lost > 500 {
		t.Errorf("%d of %d packets are lost at %d %%", lost, sent, percent)
	}
	fault.Heal()
	if lost := send(); lost != 0 {
		t.Errorf("%d of %d packets are lost after the fault", lost, sent)
	}
	count.Stop()
}

func TestLongPacketsVanishAndOthersPass(t *testing.T) {
	s := newSite(t)
	const limit, headers = 1280, 28
	passes(t, "before", s.alice, s.to, 1400, true)
	fault := s.home.DropLongerThan(limit)
	passes(t, "longest that passes", s.alice, s.to, limit-headers, true)
	passes(t, "one byte more", s.alice, s.to, limit-headers+1, false)
	fault.Heal()
	// On the way to the machine too.
	to := mirror(t, s.alice, echoPort)
	inside := s.home.Host("bob")
	fault = s.alice.DropLongerThan(limit)
	passes(t, "towards it, longest", inside, to, limit-headers, true)
	passes(t, "towards it, one byte more", inside, to, limit-headers+1, false)
	fault.Heal()
	passes(t, "healed", s.alice, s.to, 1400, true)
}

// download returns how many bytes per second alice gets from the server over TCP.
func download(t *testing.T, s site, bytes int64) float64 {
	t.Helper()
	l, err := s.server.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	defer func() { l.Close(); <-done }()
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write(make([]byte, bytes))
	}()
	to := netip.AddrPortFrom(s.server.Addr(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	conn, err := s.alice.DialContext(context.Background(), "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	if n, err := io.Copy(io.Discard, conn); err != nil || n != bytes {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	return float64(bytes) / time.Since(start).Seconds()
}

func TestALimitedLinkIsAsSlowAsItSays(t *testing.T) {
	s := newSite(t)
	const megabits, perSecond = 20, 20e6 / 8
	if free := download(t, s, 8<<20); free < 4*perSecond {
		t.Fatalf("only %.0f bytes per second without a limit", free)
	}
	fault := s.home.Limit(megabits)
	if limited := download(t, s, 2<<20); limited > 1.2*perSecond || limited < perSecond/3 {
		t.Errorf("%.0f bytes per second at a limit of %.0f", limited, perSecond)
	}
	fault.Heal()
	if free := download(t, s, 8<<20); free < 4*perSecond {
		t.Errorf("only %.0f bytes per second after the limit", free)
	}
}

func TestWithSinglePacketsNoSuperPacketCrosses(t *testing.T) {
	s := newSite(t)
	const mtu = 1500
	large := s.home.Capture("tcp and greater 1515") // with the link's header
	download(t, s, 4<<20)
	if large.Count() == 0 {
		t.Error("the capture sees no super-packet before, so it proves nothing")
	}
	s.net.SinglePackets()
	before := large.Count()
	download(t, s, 4<<20)
	if got := large.Count() - before; got != 0 {
		t.Errorf("%d packets longer than %d", got, mtu)
	}
}
