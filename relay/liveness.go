package relay

import "time"

const (
	// keepalive is the longest silence of an idle client over UDP: below the 30 s after which the hastiest NATs forget a
	// mapping (RFC 4787, section 4.3, measured so in the field). keepaliveWeb is that over a WebSocket, which NATs and
	// proxies leave alone for longer: the hastiest in common use give up after 50 s. A relay remembers for 60.
	keepalive    = 25 * time.Second
	keepaliveWeb = 40 * time.Second

	// silence is how long nothing may come from the relay right after a packet did. It grows with the time that no
	// packet came, up to the keepalive: who only listens also notices soon that the relay forgot it, and an idle client
	// costs its relay two frames a minute.
	silence = 1500 * time.Millisecond

	// unansweredTime is how long nothing may come after something was sent. WireGuard answers data within 10 s by
	// itself, and TCP inside it within far less than this.
	unansweredTime = time.Second

	// A probe is this many Pings, this far apart or twice the round trip. None answered: the session is gone. The
	// longest serves round trips of up to three times it; a measured one may be long only because the host was busy. Where
	// already the Join took longer, it is half of what that took, up to the farthest.
	probePings    = 3
	probeEvery    = 300 * time.Millisecond
	probeLongest  = 500 * time.Millisecond
	probeFarthest = time.Second

	// Where a Ping was answered and the full packet to oneself beside it is not back, so many more follow it, so far apart,
	// before another Ping. A full queue has room for a Ping more often than for a full packet: where five times as much is sent
	// as fits, four in five are lost, and all of these once in ten thousand times.
	maxTries  = 40
	triesEach = 40 * time.Millisecond
)

// action is what liveness wants done.
type action int

const (
	actNothing action = iota
	actPing
	actTry    // a full packet to oneself
	actProbe  // both
	actGiveUp // nothing answers
	actHole   // Pings are answered, and packets do not come back
)

// liveness decides when to ping a relay and when to give a session up. It is pure: time comes in.
type liveness struct {
	pings int       // unanswered ones
	last  time.Time // when the last was sent
	rtt   time.Duration
	trip  time.Duration // of the Join
	quiet time.Duration // the longest silence
	probe bool          // ping now, whatever the time

	trying   bool      // no packet to oneself is back since this began
	answered time.Time // when the last Ping was
	tries    int       // after an answered Ping; more than maxTries: another Ping followed them
	tried    time.Time // when the last of them was sent
}

// suspect makes the next step ping at once, unless it already does.
func (l *liveness) suspect() { l.probe = l.pings == 0 }

// pong takes the answer to the last Ping.
func (l *liveness) pong(now time.Time) { l.rtt, l.answered = now.Sub(l.last), now }

// back takes that a packet to oneself came back.
func (l *liveness) back() { l.trying, l.tries = false, 0 }

// every is the time between two Pings of a probe.
func (l *liveness) every() time.Duration {
	return max(min(max(probeEvery, 2*l.rtt), probeLongest), min(l.trip/2, probeFarthest))
}

// step says what to do now and when to ask again. heard is when something last came from the relay, packet when
// that was last a packet; unanswered is when the first packet was sent after heard, zero if none was.
func (l *liveness) step(now, heard, packet, unanswered time.Time) (action, time.Time) {
	if l.pings > 0 && heard.After(l.last) {
		l.pings = 0
	}
	doubt := l.pings == 0 && l.trying && !l.answered.IsZero()
	due := heard.Add(min(silence+heard.Sub(packet), l.quiet))
	switch {
	case l.pings > 0:
		due = l.last.Add(l.every())
	case doubt && l.tries > 0 && l.tries <= maxTries:
		due = l.tried.Add(triesEach)
	case doubt:
		due = l.answered.Add(l.every()) // what came back would have come with the answer
	case l.probe:
		due = now
	case !unanswered.IsZero():
		if d := unanswered.Add(unansweredTime); d.Before(due) {
			due = d
		}
	}
	if now.Before(due) {
		return actNothing, due
	}
	if l.pings == probePings {
		return actGiveUp, now
	}
	switch {
	case !doubt: // whoever loses Pings, too, loses packets of any length
		l.tries = 0
	case l.tries > maxTries:
		return actHole, now
	default:
		l.tries++
		l.tried = now
		if l.tries <= maxTries {
			return actTry, now.Add(triesEach)
		}
	}
	// Who only keeps its session tries nothing: ten thousand idle clients are to cost little.
	l.trying = l.trying || l.probe || !unanswered.IsZero() || heard.Sub(packet) < l.quiet
	l.pings++
	l.last, l.probe, l.answered = now, false, time.Time{}
	if l.trying {
		return actProbe, now.Add(l.every())
	}
	return actPing, now.Add(l.every())
}
