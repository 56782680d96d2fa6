package relaying

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// joins reports whether a machine with that ticket gets a session.
func joins(t *testing.T, r *Relay, node key.Node, ticket []byte) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	told := make(chan relay.State, 16)
	offer := r.Offer([]coord.Endpoint{{Addr: netip.MustParseAddrPort("127.0.0.1:1")}})
	c := relay.NewClient(relay.ClientConfig{
		Key: offer.Key, UDP: offer.Addrs[0].String(), Node: node, Ticket: func() []byte { return ticket },
		OnState: func(s relay.State) {
			select {
			case told <- s:
			default:
			}
		},
	})
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for {
		select {
		case s := <-told:
			if s.Connected {
				return true
			}
			if s.Err != nil && strings.Contains(s.Err.Error(), relay.ErrRefused.Error()) {
				return false
			}
		case <-ctx.Done():
			t.Fatal("neither let in nor refused")
		}
	}
}

func TestItLetsItsOwnNetworkInAndNobodyElse(t *testing.T) {
	issuer, node := key.NewServer(), key.NewNode()
	prepared := 0
	r := New(Config{
		Node: key.NewNode(), Issuer: issuer.Public(), Log: slog.New(slog.DiscardHandler),
		Control: func(string, string, syscall.RawConn) error { prepared++; return nil },
	})
	defer r.Close()
	if r.Ports() != nil {
		t.Errorf("before it runs it has the ports %v", r.Ports())
	}
	for range 2 { // the second changes nothing
		if err := r.Want(true, 0); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Ports()) != 1 || r.Ports()[0] == 0 || prepared == 0 {
		t.Fatalf("ports %v, sockets prepared %d", r.Ports(), prepared)
	}
	ticket := relay.Ticket{Node: node.Public(), NotAfter: time.Now().Add(time.Hour)}
	if !joins(t, r, node, ticket.Sign(issuer)) {
		t.Error("a machine of the network was refused")
	}
	if joins(t, r, node, ticket.Sign(key.NewServer())) {
		t.Error("a machine of another network was let in")
	}
	r.Close()
	if r.Ports() != nil {
		t.Errorf("closed, it has the ports %v", r.Ports())
	}
}

// pair is a machine of the network that talks to another through the relay, with what that got.
type pair struct {
	*relay.Client
	other key.NodePublic
	got   chan struct{}
}

func newPair(t *testing.T, r *Relay, issuer key.Server) *pair {
	t.Helper()
	p := &pair{got: make(chan struct{}, 1000)}
	offer := r.Offer([]coord.Endpoint{{Addr: netip.MustParseAddrPort("127.0.0.1:1")}})
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	t.Cleanup(func() { cancel(); work.Wait() })
	for range 2 { // the one that receives, then the one that sends
		node := key.NewNode()
		ticket := relay.Ticket{Node: node.Public(), NotAfter: time.Now().Add(time.Hour)}.Sign(issuer)
		c := relay.NewClient(relay.ClientConfig{Key: offer.Key, UDP: offer.Addrs[0].String(), Node: node, Ticket: func() []byte { return ticket }})
		work.Go(func() { _ = c.Run(ctx) })
		work.Go(func() {
			bufs, sizes, from := [][]byte{make([]byte, 2000)}, make([]int, 1), make([]relay.Address, 1)
			for {
				if _, err := c.Receive(bufs, sizes, from); err != nil {
					return
				}
				p.got <- struct{}{}
			}
		})
		if p.Client == nil {
			p.other = node.Public()
		}
		p.Client = c
	}
	return p
}

// sends sends n packets of 1,000 bytes one by one until one of them comes, and gives how many were sent.
func (p *pair) sends(t *testing.T, most int) (n int) {
	t.Helper()
	for n < most {
		_ = p.Send(p.other, [][]byte{make([]byte, 1000)})
		n++
		select {
		case <-p.got:
			return n
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("nothing came")
		}
	}
	t.Fatalf("none of %d packets came", n)
	return n
}

// The rate is another while the relay runs, and nobody's session ends for that.
func TestWhatIsRelayedIsCountedAndHasItsRate(t *testing.T) {
	issuer := key.NewServer()
	r := New(Config{Node: key.NewNode(), Issuer: issuer.Public(), Log: slog.New(slog.DiscardHandler)})
	defer r.Close()
	if r.Relayed() != (Relayed{}) {
		t.Errorf("before it runs: %+v", r.Relayed())
	}
	if err := r.Want(true, 0); err != nil {
		t.Fatal(err)
	}
	p := newPair(t, r, issuer)
	p.sends(t, 200)
	if is := r.Relayed(); is.Machines != 2 || is.Bytes < 1000 || is.Limited != 0 {
		t.Errorf("after one packet: %+v", is)
	}
	if err := r.Want(true, 1000); err != nil { // a packet each second, after a first one
		t.Fatal(err)
	}
	for limit := time.Now().Add(time.Minute); r.Relayed().Limited == 0; {
		if _ = p.Send(p.other, [][]byte{make([]byte, 1000)}); time.Now().After(limit) {
			t.Fatalf("nothing was dropped: %+v", r.Relayed())
		}
	}
	if err := r.Want(true, 0); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		p.sends(t, 200)
	}
	if s := p.State(); s.Connects != 1 {
		t.Errorf("the session was opened %d times", s.Connects)
	}
}

func TestATakenPortIsReplaced(t *testing.T) {
	taken, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := uint16(taken.LocalAddr().(*net.UDPAddr).Port)
	r := New(Config{Node: key.NewNode(), Issuer: key.NewServer().Public(), Port: port, Log: slog.New(slog.DiscardHandler)})
	defer r.Close()
	at := []coord.Endpoint{{Addr: netip.MustParseAddrPort("192.0.2.1:1")}}
	if got := r.Offer(at).Addrs[0].Port(); got != port {
		t.Errorf("before it runs it offers port %d, not %d", got, port)
	}
	if err := r.Want(true, 0); err != nil {
		t.Fatal(err)
	}
	if got := r.Offer(at).Addrs[0].Port(); got == port || !slices.Equal(r.Ports(), []uint16{got}) {
		t.Errorf("it offers port %d, and has %v", got, r.Ports())
	}
}

func TestAnOfferIsBoundedAndHasThePublicAddressesFirst(t *testing.T) {
	r := New(Config{Node: key.NewNode(), Port: 7})
	var at []coord.Endpoint
	for i := range byte(20) {
		at = append(at, coord.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 0, i + 1}), 9)})
	}
	at = append(at, coord.Endpoint{Addr: netip.MustParseAddrPort("203.0.113.7:9")}, coord.Endpoint{Addr: netip.MustParseAddrPort("203.0.113.7:10")})
	offer := r.Offer(at)
	if err := offer.Validate(nil); err != nil || len(offer.Addrs) != coord.MaxRelayAddrs || offer.Addrs[0].String() != "203.0.113.7:7" || offer.Addrs[1].String() != "192.168.0.1:7" {
		t.Errorf("%v, %v", offer.Addrs, err)
	}
	var six []coord.Endpoint
	for i := range byte(20) {
		six = append(six, coord.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: i + 1}), 9)})
	}
	six = append(six, at[:2]...)
	if got := fmt.Sprint(r.Offer(six).Addrs); got != "[[2001:db8::1]:7 [2001:db8::2]:7 [2001:db8::3]:7 [2001:db8::4]:7 [2001:db8::5]:7 [2001:db8::6]:7 192.168.0.1:7 192.168.0.2:7]" {
		t.Errorf("a host of many IPv6 addresses offers %s", got)
	}
	if again := New(Config{Node: r.cfg.Node}).Offer(nil); again.Key != offer.Key {
		t.Error("another start has another key: the others would have to be told")
	}
}
