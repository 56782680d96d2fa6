package relaying

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
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
		if err := r.Want(true); err != nil {
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
	if err := r.Want(true); err != nil {
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
	if again := New(Config{Node: r.cfg.Node}).Offer(nil); again.Key != offer.Key {
		t.Error("another start has another key: the others would have to be told")
	}
}
