package tunnel

import (
	"maps"
	"slices"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

const (
	// crossing is how long after our own first message another one counts as crossing it: longer than any round trip that
	// is of use, and short beside the 5 s after which WireGuard tries again.
	crossing = time.Second
	// answering is how long the device may take to answer a first message. That takes a millisecond, but on a busy machine
	// it was seen to take a quarter of a second.
	answering = time.Second
	// fresh is how long a session that we answered with counts as made just now: so long that the other end has the
	// answer before it gets a first message, as the device may mix up two that it works on at once; and shorter than a
	// machine takes to start again, whose session is none any more.
	fresh = 100 * time.Millisecond
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
	until map[string]time.Time // until when a first message from that endpoint crosses ours; only where we go first
	got   map[string]*begun    // the first message from that endpoint, until the device has had its time, or its answer is old
}

// begun is a first message that the device was given. Its fields are uncrossed.mu's.
type begun struct {
	timer    *time.Timer
	over     chan struct{} // closed with the answer, or when there is none
	answered bool
	ours     []byte // our own first message, which goes if there is no answer
	to       conn.Endpoint
}

func uncross(b conn.Bind) *uncrossed {
	return &uncrossed{Bind: b, anew: make(chan struct{}, 1), first: make(map[string]bool), until: make(map[string]time.Time), got: make(map[string]*begun)}
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
			if u.postpone(b, ep) {
				return nil
			}
		case len(b) == device.MessageResponseSize && b[0] == device.MessageResponseType:
			u.answer(ep.DstToString())
		}
	}
	return u.Bind.Send(bufs, ep)
}

// postpone notes our first message. It reports true if the other end's is with the device: ours goes when the device has
// refused that.
func (u *uncrossed) postpone(message []byte, ep conn.Endpoint) bool {
	to := ep.DstToString()
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.first[to] {
		return false
	}
	if g := u.got[to]; g != nil && !g.answered {
		g.ours, g.to = slices.Clone(message), ep
		return true
	}
	u.until[to] = time.Now().Add(crossing)
	return false
}

// hold keeps first messages from the device until free is called. It reports false, and keeps none, if the end at that
// endpoint began, and just got its answer. It waits for the device to answer, though not for a second time.
func (u *uncrossed) hold(from string) (free func(), ok bool) {
	for waited := false; ; waited = true {
		u.anew <- struct{}{}
		free = func() { <-u.anew }
		u.mu.Lock()
		g := u.got[from]
		answered := g != nil && g.answered
		u.mu.Unlock()
		switch {
		case answered:
			free()
			return nil, false
		case g == nil || waited:
			return free, true
		}
		free()
		<-g.over
	}
}

// answer notes that the device answered a first message.
func (u *uncrossed) answer(to string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if g := u.got[to]; g != nil && !g.answered {
		g.answered, g.ours = true, nil
		close(g.over)
		g.timer.Reset(fresh)
	}
}

// end forgets a first message: it is answered long enough, or the device refused it. Then ours goes.
func (u *uncrossed) end(from string, g *begun) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.got[from] != g {
		return
	}
	delete(u.got, from)
	if g.answered {
		return
	}
	close(g.over)
	if g.ours != nil {
		u.until[from] = time.Now().Add(crossing)
		go func() { _ = u.Bind.Send([][]byte{g.ours}, g.to) }() // lost like any packet, if the Bind was closed
	}
}

// drop reports whether the message crosses ours.
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
	crosses := time.Now().Before(u.until[from])
	if kind == device.MessageResponseType {
		if crosses {
			u.until[from] = time.Now().Add(fresh) // what was sent before the answer may come after it
		}
		return false
	}
	if crosses {
		return true
	}
	delete(u.until, from)
	if g := u.got[from]; g == nil || g.answered {
		if g != nil {
			g.timer.Stop()
		}
		g = &begun{over: make(chan struct{})}
		g.timer = time.AfterFunc(answering, func() { u.end(from, g) })
		u.got[from] = g
	}
	return false
}

// know notes the endpoints of peers, and whether we go first with each; and forgets others.
func (u *uncrossed) know(first map[string]bool, gone []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, to := range gone {
		delete(u.first, to)
		delete(u.until, to)
		if g := u.got[to]; g != nil {
			g.timer.Stop()
			if !g.answered {
				close(g.over)
			}
			delete(u.got, to)
		}
	}
	maps.Copy(u.first, first)
}
