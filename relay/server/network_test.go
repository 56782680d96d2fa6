package server

import (
	"testing"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// TestIssuersComeAndGo has a relay serve a second network, then only that one, and then both again.
func TestIssuersComeAndGo(t *testing.T) {
	f, first := newHubTest()
	second := key.NewServer()
	a, b := newScript(t, f, first, "192.0.2.1:1"), newScript(t, f, first, "192.0.2.2:2")
	c, d := newScript(t, f, second, "192.0.2.3:3"), newScript(t, f, second, "192.0.2.4:4")
	refused := func(s *script) bool {
		cookie := s.cookie()
		why, ok := relay.OpenRefused(s.reply(relay.AppendJoin(nil, s.shared, cookie, s.ticket())), s.shared, cookie)
		return ok && why == relay.ReasonIssuer
	}
	arrives := func(from, to *script) bool {
		return len(from.say(relay.AppendTrailer([]byte("packet"), relay.AddressOf(to.node.Public()), from.tag))) == 1
	}
	a.join()
	b.join()
	if !refused(c) {
		t.Fatal("control: whose network is not served is let in")
	}
	f.hub.serve(f.out, []key.ServerPublic{first.Public(), second.Public(), second.Public()})
	c.join()
	d.join()
	if !arrives(a, b) || !arrives(c, d) {
		t.Error("of two networks one is not served")
	}

	out := f.out.(*tape)
	out.sent = nil
	f.hub.serve(out, []key.ServerPublic{second.Public()})
	told := 0
	for _, m := range out.sent {
		for _, s := range []*script{a, b} {
			if why, ok := relay.OpenBye(m.frame, s.shared); ok && m.to == s.addr && why == relay.ReasonIssuer {
				told++
			}
		}
	}
	if told != 2 || len(out.sent) != 2 {
		t.Errorf("%d of the network's two were told, by %d frames", told, len(out.sent))
	}
	if f.hub.sessions.size.Load() != 2 || arrives(a, b) || !arrives(c, d) {
		t.Error("not the sessions of the removed network ended, or others did")
	}
	if !refused(a) {
		t.Error("who belongs to the removed network is let in again")
	}

	f.hub.serve(f.out, []key.ServerPublic{second.Public(), first.Public()})
	a.join()
	b.join()
	if !arrives(a, b) || !arrives(c, d) || f.hub.networks.Load().of(second.Public()).size != 2 {
		t.Error("after it came back, one of the two is not served")
	}
}

// A Join may be on its way while its network is removed.
func TestAJoinThatIsOvertakenByTheEndOfItsNetworkIsRefused(t *testing.T) {
	f, first := newHubTest()
	a := newScript(t, f, first, "192.0.2.1:1")
	was := f.hub.networks.Load().of(first.Public())
	f.hub.serve(f.out, []key.ServerPublic{key.NewServer().Public()})
	late := f.hub.newSession(origin{addr: a.addr}, was, relay.Ticket{Node: a.node.Public()}, a.shared, 1, a.now)
	if _, _, why := f.hub.open(late); why != relay.ReasonIssuer || f.hub.sessions.size.Load() != 0 {
		t.Errorf("refused for %v, with %d sessions", why, f.hub.sessions.size.Load())
	}
}
