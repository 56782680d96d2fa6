package peerpath

import "time"

// A probe of the path in use that is not answered is lost, or the path is: on a line that loses one packet in a hundred, the former
// happens twice a minute. So it is asked again, before the time for an answer is over: with a small packet and with one of the
// size in use, twice. What comes back tells what has happened:
//
//	one of the size    nothing
//	small ones only    the path carries less: packets are small again (mtu.go)
//	nothing            the path is in doubt
//
// That takes no longer on a short path than to wait for the first answer does.
type inquiry struct {
	since time.Time // when the first probe was sent
	asked int       // how often again
	next  time.Time // when to ask again or, at judge, to judge; zero: nothing is asked
	judge time.Time
}

const (
	inquiries    = 2
	inquiryGap   = 50 * time.Millisecond // between the two: what is lost at once is often lost together
	mostPatience = 1500 * time.Millisecond
)

// late is when an answer comes no more, if nothing holds it up.
func (c *candidate) late() time.Duration { return c.latency + c.latency/4 + 10*time.Millisecond }

// askAgain is when a probe of the path in use that is not answered is asked again.
func (c *candidate) askAgain() time.Duration { return max(c.timeout()/3, c.late()) }

// patience is how long the path in use may leave a probe, and those that ask again, unanswered.
func (c *candidate) patience() time.Duration {
	return min(max(c.timeout(), c.askAgain()+(inquiries-1)*inquiryGap+c.late()), mostPatience)
}

// inquire begins to wait for the answer to a probe of the size in use that was just sent, unless one is waited for already.
func (m *Machine) inquire(now time.Time) {
	m.measure()
	if q, c := &m.climb.inquiry, m.current; q.next.IsZero() {
		judge := now.Add(c.patience())
		*q = inquiry{since: now, next: earliest(now.Add(c.askAgain()), judge), judge: judge}
	}
}

// inquiring asks again, and judges.
func (m *Machine) inquiring(now time.Time) {
	c, q := m.current, &m.climb.inquiry
	switch {
	case c == nil, q.next.IsZero(), now.Before(q.next):
	case m.sent.IsZero(): // whoever talks next asks anew
		*q = inquiry{}
	case !now.Before(q.judge): // where nothing was answered at all, the doubt has begun by now
		*q = inquiry{}
		m.fall(now)
	default:
		if !m.doubt { // otherwise small ones are sent all the time
			m.ask(now, c, 0, causeEvent)
		}
		if c.step > 0 {
			m.ask(now, c, c.step, causeEvent)
		}
		q.asked++
		if q.next = now.Add(inquiryGap); q.asked == inquiries || q.next.After(q.judge) {
			q.next = q.judge
		}
	}
}
