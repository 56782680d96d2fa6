package sock

import (
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/disco"
)

const (
	// meetAfter is how long traffic goes through a relay server before a relay of a machine is looked for: a direct path is
	// mostly found by then.
	meetAfter = 2 * time.Second
	// meetFor is how long after the last word or traffic a pair stays at its relay.
	meetFor = time.Minute
	// sayEvery is how often each tells the other which machines it reaches, saySoon the least time between two such messages.
	sayEvery = 30 * time.Second
	saySoon  = time.Second

	// proveEvery is the time between two probes of a relay that is not proven yet, meetEvery of one that is: with meetSilence one that
	// dies is left within four seconds. serverEvery is that for the relay server while it is not used, so that what is better is known.
	proveEvery  = 300 * time.Millisecond
	meetEvery   = time.Second
	serverEvery = 5 * time.Second
	meetSilence = 2500 * time.Millisecond
	meetProofs  = 3                // answers
	proveFor    = 10 * time.Second // and how long they may take

	// A machine that carries probes and not packets makes WireGuard begin a handshake again and again: after 15 seconds without
	// an answer to what was sent, each 5 seconds while that has none, and otherwise each 2 minutes (whitepaper, section 6).
	// Two within shakeSoon are that, and who does it is left for longer.
	shakeSoon   = time.Minute
	distrustFor = 10 * time.Minute

	// lossCost is what a way that loses every packet is taken to be farther; one in ten is a tenth of it. Fewer lost probes than
	// lossLeast say nothing, and neither do more before the other way has had lossKept. A machine that loses more than the relay
	// server does by lossMore, and is no better, is left for longer.
	lossCost  = time.Second
	lossLeast = 3
	lossKept  = 32
	lossMore  = 0.1

	// streamCost is what a relay server over a stream is taken to be farther: where a packet is lost, all that follow wait.
	streamCost = 30 * time.Millisecond
)

// meeting decides for one peer whether packets go through a machine that relays, and which. It is pure: time and what was
// measured come in. A relay server is always there to go back to; so nothing depends on a machine that only some can reach.
type meeting struct {
	mine, theirs []disco.MeetRelay // as last said, and as last heard
	said, heard  time.Time
	stream       bool // one of the two has its relay server over a stream
	theirStream  bool

	at       coord.NodeID // the machine that is tried; 0: none
	began    time.Time    // when that began
	proofs   int          // answers
	probed   time.Time    // last
	answered time.Time    // last
	latency  time.Duration
	there    tally
	used     bool

	server         time.Duration // latency through the relay server; 0: not known
	serverTally    tally
	serverProbed   time.Time
	serverAnswered time.Time

	relayed time.Time                  // since when traffic goes through a relay; zero: it does not
	shook   time.Time                  // when WireGuard last began a handshake through the machine
	shunned map[coord.NodeID]time.Time // machines that carried nothing, and until when they are not tried
}

// tally counts the probes of a way. What is long ago counts less and less.
type tally struct{ asked, came int }

func (t *tally) ask() {
	if t.asked >= 2*lossKept {
		t.asked, t.came = t.asked/2, t.came/2
	}
	t.asked++
}

func (t *tally) answer() { t.came = min(t.came+1, t.asked) }

// lost is how many probes had no answer. Those on their way, for the latency, may have one yet.
func (t *tally) lost(latency time.Duration) int {
	return max(0, t.asked-1-int(latency/proveEvery)-t.came)
}

// loss is the share of them.
func (t *tally) loss(latency time.Duration) float64 {
	return float64(t.lost(latency)) / float64(max(t.asked, 1))
}

// offer gives what may be named of what this machine reaches.
func (m *meeting) offer(reached []disco.MeetRelay, now time.Time) (list []disco.MeetRelay) {
	for _, r := range reached {
		if !m.shuns(r, now) {
			list = append(list, r)
		}
	}
	return list[:min(len(list), disco.MaxMeet)]
}

func (m *meeting) shuns(r disco.MeetRelay, now time.Time) bool {
	return now.Before(m.shunned[coord.NodeID(r.Node)])
}

// shun leaves the machine, and has it not tried for a while.
func (m *meeting) shun(now time.Time, wait time.Duration) {
	if m.shunned == nil {
		m.shunned = make(map[coord.NodeID]time.Time)
	}
	m.shunned[m.at] = now.Add(wait)
	m.at, m.used = 0, false
}

// sayable reports whether the peer is to hear of the list now.
func (m *meeting) sayable(list []disco.MeetRelay, now time.Time) bool {
	wanted := !m.relayed.IsZero() && now.Sub(m.relayed) >= meetAfter
	switch {
	case now.Sub(m.said) < saySoon, !wanted && !m.recent(now), len(list) == 0 && len(m.mine) == 0:
		return false
	case !sameRelays(list, m.mine), m.heard.After(m.said) && now.Sub(m.said) >= sayEvery/2:
		return true
	}
	return wanted && now.Sub(m.said) >= sayEvery
}

func sameRelays(a, b []disco.MeetRelay) bool {
	return slices.EqualFunc(a, b, func(a, b disco.MeetRelay) bool { return a.Node == b.Node })
}

// recent reports whether the peer has lately said something.
func (m *meeting) recent(now time.Time) bool { return !m.heard.IsZero() && now.Sub(m.heard) < meetFor }

// say takes that the list was said.
func (m *meeting) say(list []disco.MeetRelay, now time.Time) {
	m.mine, m.said = list, now
	m.choose(now)
}

// hear takes what the peer has said.
func (m *meeting) hear(msg disco.Meet, now time.Time) {
	m.theirs, m.theirStream, m.heard = msg.Relays, msg.Stream, now
	m.choose(now)
}

// choose takes the machine that is nearest to both together. Both have the same lists, and come to the same. The one where they
// are stays unless another is clearly nearer: latencies vary, and each move costs a moment.
func (m *meeting) choose(now time.Time) {
	var best, here disco.MeetRelay
	for _, a := range m.mine {
		for _, b := range m.theirs {
			sum := disco.MeetRelay{Node: a.Node, Latency: a.Latency + b.Latency}
			if a.Node != b.Node || m.shuns(a, now) {
				continue
			}
			if best.Node == 0 || sum.Latency < best.Latency || sum.Latency == best.Latency && sum.Node < best.Node {
				best = sum
			}
			if coord.NodeID(sum.Node) == m.at {
				here = sum
			}
		}
	}
	if here.Node != 0 && best.Latency+max(moveGain, here.Latency/4) > here.Latency {
		return
	}
	if to := coord.NodeID(best.Node); to != m.at {
		m.at, m.began, m.used, m.proofs, m.latency = to, now, false, 0, 0
		m.probed, m.answered = time.Time{}, time.Time{}
	}
}

// probes says what is to be asked now: the peer through the machine, and through the relay server.
func (m *meeting) probes(now time.Time) (there, server bool) {
	if m.at == 0 || m.relayed.IsZero() {
		return false, false
	}
	every, slow := proveEvery, meetEvery
	if m.proofs >= meetProofs {
		every = meetEvery
	}
	if m.used && !m.doubted() {
		slow = serverEvery
	}
	if there = now.Sub(m.probed) >= every; there {
		m.probed = now
	}
	if server = now.Sub(m.serverProbed) >= slow; server {
		m.serverProbed = now
	}
	return there, server
}

// came takes an answer through the machine.
func (m *meeting) came(at coord.NodeID, took time.Duration, now time.Time) {
	if at != m.at {
		return
	}
	if m.proofs == 0 { // whatever was asked before it was there
		m.there = tally{asked: 1}
	}
	m.there.answer()
	m.proofs, m.answered, m.latency = m.proofs+1, now, smooth(m.latency, took)
}

// cameByServer takes one through the relay server.
func (m *meeting) cameByServer(took time.Duration, now time.Time) {
	if now.Sub(m.serverAnswered) > serverEvery+meetSilence { // it was away: that is no loss
		m.serverTally = tally{asked: 1}
	}
	m.serverTally.answer()
	m.serverAnswered, m.server = now, smooth(m.server, took)
}

// smooth takes a measurement into a latency; 0 is none yet.
func smooth(old, took time.Duration) time.Duration {
	if old == 0 {
		return took
	}
	return (3*old + took) / 4
}

// judge decides anew, and gives the reason where that is another than before; empty: it is as it was. up says that the
// link to the machine is up, carried that traffic goes through a relay at all.
func (m *meeting) judge(now time.Time, up, carried bool) (why string) {
	was, lossy := m.used, false
	switch {
	case !carried: // idle, or a direct path: it is proven anew when it is wanted
		m.relayed, m.used, m.proofs, m.began = time.Time{}, false, 0, now
		return ""
	case m.relayed.IsZero():
		m.relayed, m.began = now, now
	}
	switch {
	case m.at == 0:
		m.used = false
	case !up && now.Sub(m.began) < proveFor:
		m.used = false
	case m.silent(now):
		m.shun(now, failedFor)
	case m.proofs < meetProofs:
		m.used = false
	case m.used && m.doubted() && m.serverTally.asked < lossKept: // it stays until there is something to compare with
	default:
		m.used = m.better(now)
		if lossy = !m.used && m.doubted() && m.there.loss(m.latency) > m.serverTally.loss(m.server)+lossMore; lossy {
			m.shun(now, distrustFor) // both then try the next
		}
	}
	switch {
	case m.used == was:
		return ""
	case m.used:
		m.shook = time.Time{}
		return "nearer than the relay server"
	case lossy:
		return "it loses packets"
	case m.at == 0:
		return "it does not answer"
	}
	return "the relay server is nearer"
}

// shakes takes that WireGuard began a handshake, and reports whether the machine is left for that.
func (m *meeting) shakes(now time.Time) bool {
	again := !m.shook.IsZero() && now.Sub(m.shook) < shakeSoon
	if m.shook = now; !m.used || !again {
		return false
	}
	m.shun(now, distrustFor)
	return true
}

// silent reports whether the machine has not carried anything for too long.
func (m *meeting) silent(now time.Time) bool {
	if m.answered.IsZero() || m.proofs == 0 {
		return now.Sub(m.began) >= proveFor
	}
	return now.Sub(m.answered) >= meetSilence
}

// doubted reports whether the machine has lost enough for losses to count.
func (m *meeting) doubted() bool { return m.there.lost(m.latency) >= lossLeast }

// better compares the two ways, in favor of the one in use.
func (m *meeting) better(now time.Time) bool {
	there, server := m.latency, m.server
	if m.doubted() || m.serverTally.lost(m.server) >= lossLeast {
		there += time.Duration(m.there.loss(m.latency) * float64(lossCost))
		server += time.Duration(m.serverTally.loss(m.server) * float64(lossCost))
	}
	every := meetEvery
	if m.used {
		every = serverEvery
	}
	if m.serverAnswered.IsZero() || now.Sub(m.serverAnswered) >= every+meetSilence {
		return !m.serverProbed.IsZero() && (m.used || now.Sub(m.began) >= meetSilence) // it has had the time to answer
	}
	if m.stream || m.theirStream {
		server += streamCost
	}
	if m.used {
		return server+max(moveGain, there/4) >= there
	}
	return there+max(moveGain, server/4) <= server
}

// stays reports whether the link to the machine is still wanted.
func (m *meeting) stays(now time.Time) bool {
	return m.at != 0 && (!m.relayed.IsZero() || m.recent(now))
}
