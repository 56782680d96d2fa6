package tunnel

import (
	"maps"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

const (
	// crossing is how long after our own first message another one counts as crossing it: longer than any round trip that
	// is of use, and short beside the 5 s after which WireGuard tries again.
	crossing = time.Second
	// answering is how long the device may take to answer a first message; it takes a millisecond.
	answering = 20 * time.Millisecond
	// mostRefused is how many first messages of a peer, each refused by the device, one that starts anew waits for.
	mostRefused = 3
)

// uncrossed is a Bind under which handshakes do not cross. When both ends begin at once, each answers the other's first
// message and forgets its own, and mostly both are left with a session that the other does not have, until the next
// try 5 s later (measured; the protocol has no rule for it). And both ends do begin at once, when both are woken. So the
// end with the greater key goes first. It drops what crosses its own first message, and where it is just about to
// answer when it begins itself, the answer is all that it sends.
//
// Nor does an end drop the session that it has just answered with: it could send nothing by it, and the other end, which
// has a session, would not begin again. So who starts anew has no first message come in between (hold).
type uncrossed struct {
	conn.Bind

	anew chan struct{} // of one place, taken while one session is dropped and the next begun; before mu

	mu    sync.Mutex
	first map[string]bool      // by the endpoints of all peers: whether we go first
	sent  map[string]time.Time // when our first message went to that endpoint, while it is unanswered and we go first
	got   map[string]*begun    // the first message from that endpoint, while it is unanswered
}

// begun is a first message on its way through the device.
type begun struct {
	at       time.Time
	answered chan struct{}
}

func uncross(b conn.Bind) *uncrossed {
	return &uncrossed{Bind: b, anew: make(chan struct{}, 1), first: make(map[string]bool), sent: make(map[string]time.Time), got: make(map[string]*begun)}
}

// Open implements conn.Bind.
func (u *uncrossed) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, actual, err := u.Bind.Open(port)
	wrapped := make([]conn.ReceiveFunc, len(fns))
	for i, fn := range fns {
		wrapped[i] = func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
			n, err := fn(packets, sizes, eps)
			for i := range n {
				// Both lengths are handshakes' alone: other messages are multiples of 16.
				if size := sizes[i]; size == device.MessageInitiationSize || size == device.MessageResponseSize {
					if u.drop(packets[i][:size], eps[i]) {
						sizes[i] = 0 // which the device skips
					}
				}
			}
			return n, err
		}
	}
	return wrapped, actual, err
}

// Send implements conn.Bind.
func (u *uncrossed) Send(bufs [][]byte, ep conn.Endpoint) error {
	if len(bufs) == 1 {
		switch b := bufs[0]; {
		case len(b) == device.MessageInitiationSize && b[0] == device.MessageInitiationType:
			if !u.begin(ep.DstToString()) {
				return nil
			}
		case len(b) == device.MessageResponseSize && b[0] == device.MessageResponseType:
			u.answer(ep.DstToString())
		}
	}
	return u.Bind.Send(bufs, ep)
}

// begin notes our first message. It reports false if the other end began, and just got its answer.
func (u *uncrossed) begin(to string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.first[to] {
		return true
	}
	if g := u.got[to]; g != nil {
		u.mu.Unlock()
		answered := g.wait()
		u.mu.Lock()
		if answered {
			return false
		}
	}
	u.sent[to] = time.Now()
	return true
}

// wait reports whether the device answers. It refuses some.
func (g *begun) wait() bool {
	timer := time.NewTimer(answering - time.Since(g.at))
	defer timer.Stop()
	select {
	case <-g.answered:
		return true
	case <-timer.C:
		return false
	}
}

// hold keeps first messages from the device until free is called. It reports false, and keeps none, if the end at that
// endpoint began, and just got its answer.
func (u *uncrossed) hold(from string) (free func(), ok bool) {
	for refused := 0; ; refused++ {
		u.anew <- struct{}{}
		free = func() { <-u.anew }
		u.mu.Lock()
		g := u.got[from]
		u.mu.Unlock()
		if g == nil || time.Since(g.at) >= answering || refused == mostRefused {
			return free, true
		}
		free()
		if g.wait() {
			return nil, false
		}
	}
}

// answer notes that the device answered a first message.
func (u *uncrossed) answer(to string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if g := u.got[to]; g != nil {
		close(g.answered)
		delete(u.got, to)
	}
}

// drop reports whether the message crosses ours. It forgets ours when that is answered.
func (u *uncrossed) drop(message []byte, ep conn.Endpoint) bool {
	kind := message[0]
	if kind != device.MessageInitiationType && kind != device.MessageResponseType {
		return false
	}
	from := ep.DstToString()
	if kind == device.MessageInitiationType {
		timer := time.NewTimer(crossing)
		defer timer.Stop()
		select {
		case u.anew <- struct{}{}:
			defer func() { <-u.anew }()
		case <-timer.C: // the Bind is being closed: that waits for us, and for it whoever begins a session
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.first[from]; !known {
		return false
	}
	if kind == device.MessageResponseType {
		delete(u.sent, from)
		return false
	}
	if at, waiting := u.sent[from]; waiting && time.Since(at) < crossing {
		return true
	}
	delete(u.sent, from)
	u.got[from] = &begun{at: time.Now(), answered: make(chan struct{})}
	return false
}

// know notes the endpoints of peers, and whether we go first with each; and forgets others.
func (u *uncrossed) know(first map[string]bool, gone []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, to := range gone {
		delete(u.first, to)
		delete(u.sent, to)
		delete(u.got, to)
	}
	maps.Copy(u.first, first)
}
