package server

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

func udpOnly(c *relay.ClientConfig) { c.URL = "" }
func webOnly(c *relay.ClientConfig) { c.UDP = "" }

func TestPacketsGoBothWays(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	ways := []struct {
		name   string
		change func(*relay.ClientConfig)
		by     relay.Transport
	}{{"UDP", udpOnly, relay.TransportUDP}, {"WebSocket", webOnly, relay.TransportWebSocket}}
	for _, one := range ways {
		for _, two := range ways {
			t.Run(one.name+" and "+two.name, func(t *testing.T) {
				a, b := n.join(one.change).connected(one.by), n.join(two.change).connected(two.by)
				a.reaches(b, "there")
				b.reaches(a, "and back")
				a.wait("a round trip", func(s relay.State) bool { return s.RTT > 0 && s.Observed.IsValid() })
			})
		}
	}
}

func TestARelayIsFoundByName(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	n.join(func(c *relay.ClientConfig) {
		c.UDP = fmt.Sprintf("localhost:%d", n.server.UDPAddr().Port()) // at ::1 nothing listens
	}).connected(relay.TransportUDP)
}

func TestUDPIsPreferred(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	n.join(nil).connected(relay.TransportUDP)
}

func TestWebSocketWhereUDPIsBlockedAndUDPWhenItIsBack(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	f := newForwarder(t, n.server.UDPAddr())
	f.block(true)
	through := func(c *relay.ClientConfig) { c.UDP = f.addr().String() }
	a, b := n.join(through).connected(relay.TransportWebSocket), n.join(udpOnly).connected(relay.TransportUDP)
	if s := a.State(); s.Err == nil {
		t.Error("the state does not say why it is not UDP")
	}
	a.reaches(b, "over WebSocket")
	f.block(false)
	a.connected(relay.TransportUDP).reaches(b, "over UDP")
	b.reaches(a, "both ways")
}

func TestTheFirstPacketIsNotLost(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	b := n.join(nil).connected(relay.TransportUDP)
	a := n.join(nil)
	_ = a.Send(b.node.Public(), [][]byte{[]byte("early")})
	select {
	case m := <-b.got:
		if m.text != "early" {
			t.Errorf("got %q", m.text)
		}
	case <-time.After(deadline):
		t.Fatal("it was lost")
	}
}

func TestARestartedRelayIsFoundAgain(t *testing.T) {
	for _, way := range []struct {
		name   string
		change func(*relay.ClientConfig)
		by     relay.Transport
	}{{"UDP", udpOnly, relay.TransportUDP}, {"WebSocket", webOnly, relay.TransportWebSocket}} {
		for _, kill := range []bool{false, true} {
			t.Run(way.name+map[bool]string{false: ", stopped", true: ", killed"}[kill], func(t *testing.T) {
				n := newNetwork(t)
				n.serve("127.0.0.1:0", "127.0.0.1:0")
				udp, web := n.server.UDPAddr().String(), n.server.HTTPSAddr().String()
				a, b := n.join(way.change).connected(way.by), n.join(way.change).connected(way.by)
				a.reaches(b, "before")
				if kill { // it says goodbye to nobody
					for _, s := range n.server.hub.sessions.all() {
						n.server.hub.sessions.remove(s)
					}
				}
				n.stop()
				n.serve(udp, web)
				// How long it may take is held in virtual time (TestLivenessTranscripts): a busy host proves nothing.
				t.Logf("traffic again after %v", a.reaches(b, "after").Round(time.Millisecond))
				b.reaches(a, "and back")
			})
		}
	}
}

func TestANewSourcePortIsFollowed(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	f := newForwarder(t, n.server.UDPAddr())
	a := n.join(func(c *relay.ClientConfig) { c.UDP = f.addr().String() }).connected(relay.TransportUDP)
	b := n.join(nil).connected(relay.TransportUDP)
	b.reaches(a, "before")

	f.remap() // as a NAT that forgot: a notices only because nothing comes
	took := a.reaches(b, "after")
	t.Logf("a NAT's new mapping was followed after %v", took.Round(time.Millisecond))
	b.reaches(a, "back")

	before := b.State().Observed
	b.Rebind()
	b.wait("the new port", func(s relay.State) bool { return s.Observed != before })
	a.reaches(b, "after a change of network")
	for _, p := range []*peer{a, b} {
		if s := p.State(); s.Connects != 1 {
			t.Errorf("%d sessions for one", s.Connects)
		}
	}
}

func TestAnAttemptOnANetworkThatWasLeftIsBegunAnew(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	f := newForwarder(t, n.server.UDPAddr())
	f.block(true)
	var failures atomic.Int32
	a := n.join(func(c *relay.ClientConfig) {
		c.UDP = f.addr().String()
		c.Log = slog.New(slog.NewTextHandler(writer(func(line []byte) {
			if bytes.Contains(line, []byte("not connected")) {
				failures.Add(1)
			}
		}), nil))
	})
	for !f.leave() {
		time.Sleep(time.Millisecond)
	}
	f.block(false)
	a.Rebind()
	a.connected(relay.TransportUDP)
	if got := failures.Load(); got != 0 {
		t.Errorf("%d attempts failed first", got)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

func TestWhoLeavesIsAbsent(t *testing.T) {
	for _, change := range []func(*relay.ClientConfig){udpOnly, webOnly} {
		n := newNetwork(t)
		n.serve("127.0.0.1:0", "127.0.0.1:0")
		a, b := n.join(change), n.join(change)
		a.reaches(b, "here")
		b.end()
		gone := relay.AddressOf(b.node.Public())
		limit := time.Now().Add(deadline)
		for a.wait("", func(relay.State) bool { return true }); ; {
			_ = a.Send(b.node.Public(), [][]byte{[]byte("still here?")})
			a.mu.Lock()
			told, changed := slices.Contains(a.absent, gone), a.changed
			a.mu.Unlock()
			if told {
				break
			}
			select {
			case <-changed:
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(limit) {
				t.Fatal("the relay did not say so")
			}
		}
	}
}

func TestOnlyAValidTicketAdmits(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	node := key.NewNode()
	truth := start(t, n.config(node)).connected(relay.TransportUDP)
	other := n.join(nil).connected(relay.TransportUDP)
	truth.reaches(other, "before")

	sign := func(issuer key.Server, k key.NodePublic, in time.Duration) []byte {
		return relay.Ticket{Node: k, NotAfter: time.Now().Add(in)}.Sign(issuer)
	}
	altered := sign(n.issuer, node.Public(), time.Hour)
	altered[70] ^= 1 // a later end
	for _, c := range []struct {
		name   string
		node   key.Node
		ticket []byte
		says   string
	}{
		{"expired", node, sign(n.issuer, node.Public(), -time.Second), "expired"},
		{"of another network", node, sign(key.NewServer(), node.Public(), time.Hour), "does not serve"},
		{"altered", node, altered, "damaged"},
	} {
		for _, way := range []func(*relay.ClientConfig){udpOnly, webOnly} {
			cfg := n.config(c.node)
			cfg.Ticket = func() []byte { return c.ticket }
			way(&cfg)
			liar := start(t, cfg)
			liar.wait(c.name+" is refused", func(s relay.State) bool {
				if s.Connected {
					t.Fatalf("%s: admitted", c.name)
				}
				return s.Err != nil && strings.Contains(s.Err.Error(), c.says) &&
					errors.Is(s.Err, relay.ErrRefused)
			})
			liar.end()
		}
		truth.reaches(other, "the true session goes on: "+c.name)
		other.reaches(truth, "both ways: "+c.name)
	}
	if s := truth.State(); s.Connects != 1 {
		t.Errorf("the true session was opened %d times", s.Connects)
	}
}

func TestTheSameKeyAgainTakesTheSession(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	node, b := key.NewNode(), n.join(nil).connected(relay.TransportUDP)
	first := start(t, n.config(node)).connected(relay.TransportUDP)
	second := start(t, n.config(node)).connected(relay.TransportUDP)
	first.wait("it is told", func(s relay.State) bool {
		return s.Err != nil && strings.Contains(s.Err.Error(), "same key")
	})
	second.reaches(b, "mine now")
	b.reaches(second, "yours")
}

func TestNetworksOfOneRelayAreApart(t *testing.T) {
	one, two := newNetwork(t), newNetwork(t)
	s, err := New(Config{UDP: "127.0.0.1:0", Key: one.key, Issuers: []key.ServerPublic{one.issuer.Public(), two.issuer.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{hub: s.hub, out: &tape{}}
	defer s.Close()
	a, b := newScript(t, f, one.issuer, "192.0.2.1:1"), newScript(t, f, two.issuer, "192.0.2.2:2")
	a.join()
	b.join()
	if got := a.say(relay.AppendTrailer([]byte("hello"), relay.AddressOf(b.node.Public()), a.tag)); len(got) != 1 ||
		relay.TypeOf(got[0].frame) != relay.TypeAbsent {
		t.Errorf("got %v", got)
	}
}

func TestWithoutIssuersNothingIsServed(t *testing.T) {
	if _, err := New(Config{UDP: "127.0.0.1:0", Key: key.NewRelay()}); !errors.Is(err, ErrNoIssuer) {
		t.Errorf("got %v", err)
	}
	if _, err := New(Config{UDP: "127.0.0.1:0", Issuers: []key.ServerPublic{{}}}); !errors.Is(err, ErrNoKey) {
		t.Errorf("got %v", err)
	}
}
