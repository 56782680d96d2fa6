package server

import (
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

func TestABucketLetsItsRateThrough(t *testing.T) {
	const rate, packet = 1_000_000, 1_000 // bytes per second, bytes
	var b bucket
	now, sent := int64(1e18), 0
	for range 10_000 { // ten times the rate, for ten seconds
		now += int64(time.Millisecond)
		for range 10 {
			if b.take(now, rate, packet) {
				sent += packet
			}
		}
	}
	if most := 10*rate + rate/4 + packet; sent > most || sent < 10*rate {
		t.Errorf("%d bytes in ten seconds", sent)
	}
	now += int64(time.Hour) // a pause saves up no more than the burst
	sent = 0
	for b.take(now, rate, packet) {
		sent += packet
	}
	if sent < rate/4 || sent > rate/4+packet {
		t.Errorf("a burst of %d bytes", sent)
	}
}

// limited gives a hub with these limits, and scripts that have joined.
func limited(t *testing.T, l Limits, clients int) (*forwarder, []*script) {
	f, issuer := newHubTest()
	f.hub.limits.Store(&l)
	var all []*script
	for i := range clients {
		s := newScript(t, f, issuer, "192.0.2.1:"+string(rune('1'+i)))
		s.join()
		all = append(all, s)
	}
	return f, all
}

func TestAFastClientHasItsRateAndOthersTheirs(t *testing.T) {
	f, all := limited(t, Limits{ClientRate: 100_000}, 4)
	fast, sink, slow, other := all[0], all[1], all[2], all[3]
	toSink := relay.AppendTrailer(make([]byte, 1000), relay.AddressOf(sink.node.Public()), fast.tag)
	toOther := relay.AppendTrailer(make([]byte, 1000), relay.AddressOf(other.node.Public()), slow.tag)
	got, lost := 0, 0
	for range 10 * 1000 { // ten seconds, a millisecond each
		for _, s := range all {
			s.now = s.now.Add(time.Millisecond)
		}
		for range 5 { // fifty times its rate
			got += len(fast.say(toSink))
		}
		if fast.now.UnixMilli()%20 == 0 { // half of it
			if len(slow.say(toOther)) != 1 {
				lost++
			}
		}
	}
	if got < 1000 || got > 1030 {
		t.Errorf("%d kB of the fast client's got through in ten seconds", got)
	}
	if lost > 0 {
		t.Errorf("%d packets of the slow client's were lost", lost)
	}
	if n := f.hub.count.limited.Load(); n != uint64(10*1000*5-got) {
		t.Errorf("%d were counted", n)
	}
}

func TestANetworkHasItsRateAndItsClients(t *testing.T) {
	f, issuer := newHubTest()
	second := key.NewServer()
	f.hub.serve(f.out, []key.ServerPublic{issuer.Public(), second.Public()})
	f.hub.limits.Store(&Limits{NetworkRate: 100_000, NetworkClients: 2})
	a, b := newScript(t, f, issuer, "192.0.2.1:1"), newScript(t, f, issuer, "192.0.2.2:2")
	c, d := newScript(t, f, second, "192.0.2.3:3"), newScript(t, f, second, "192.0.2.4:4")
	for _, s := range []*script{a, b, c, d} {
		s.join()
	}
	extra := newScript(t, f, issuer, "192.0.2.5:5")
	refused := func() bool {
		cookie := extra.cookie()
		answer := extra.reply(relay.AppendJoin(nil, extra.shared, cookie, extra.ticket()))
		why, ok := relay.OpenRefused(answer, extra.shared, cookie)
		return ok && why == relay.ReasonFull
	}
	if !refused() {
		t.Error("a third client of a network for two")
	}
	packet, sent := make([]byte, 1000), 0
	for s, to := range map[*script]*script{a: b, b: a} { // at one moment
		for range 100 {
			sent += len(s.say(relay.AppendTrailer(packet, relay.AddressOf(to.node.Public()), s.tag)))
		}
	}
	if sent < 25 || sent > 26 {
		t.Errorf("%d kB at once, of 100 kB/s", sent)
	}
	if len(c.say(relay.AppendTrailer(packet, relay.AddressOf(d.node.Public()), c.tag))) != 1 {
		t.Error("the other network's packet was dropped")
	}
	own := func() int { return len(a.say(relay.AppendTrailer(packet, relay.AddressOf(a.node.Public()), a.tag))) }
	if own() != 1 || own() != 0 {
		t.Error("of two packets of its own at one moment a client gets the first back")
	}
	a.now = a.now.Add(tryEvery)
	if own() != 1 {
		t.Error("nor does it a little later")
	}
	b.counter++
	b.say(relay.AppendLeave(nil, b.shared, b.tag, b.counter))
	if refused() {
		t.Error("who left still counts")
	}
}
