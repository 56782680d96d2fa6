package tunnel

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// WireGuard's buffers hold 64 KiB each and come from pools without bound; a heavy transfer takes hundreds of megabytes, and
// the Go runtime gives them back slowly, if ever, once nothing allocates any more. So when it is calm again after
// traffic, memory goes back to the system at once.
const (
	// calmAfter is how long traffic must be low. Shorter, and every pause of a transfer would pay for refilling the pools.
	calmAfter = 3 * time.Second
	// calmBelow is what low traffic is, in packets for each calmAfter: what a chat or ssh session needs does not touch
	// many buffers.
	calmBelow = 3000
)

// calm watches for the end of traffic. While there is none it has no timer and costs nothing.
type calm struct {
	log     *slog.Logger
	after   time.Duration
	packets atomic.Uint64
	trimmed atomic.Uint64 // the value of packets at the last trim
	armed   atomic.Bool

	mu    sync.Mutex
	timer *time.Timer // nil: not armed
	seen  uint64      // the value of packets when it was armed
	ended bool
	trims int
}

func newCalm(log *slog.Logger) *calm { return &calm{log: log, after: calmAfter} }

// count notes n packets. It is called for every batch, and is two atomic operations.
func (c *calm) count(n int) {
	if n <= 0 {
		return
	}
	if c.packets.Add(uint64(n))-c.trimmed.Load() > calmBelow && !c.armed.Load() && c.armed.CompareAndSwap(false, true) {
		c.arm()
	}
}

func (c *calm) arm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.seen = c.packets.Load()
	c.timer = time.AfterFunc(c.after, c.look)
}

// look trims if few packets passed since the timer was set, and looks again later if many did.
func (c *calm) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	now := c.packets.Load()
	if now-c.seen > calmBelow {
		c.seen = now
		c.timer.Reset(c.after)
		return
	}
	c.trim()
	c.trimmed.Store(c.packets.Load())
	c.timer = nil
	c.armed.Store(false)
}

// trim gives memory back.
func (c *calm) trim() {
	start := time.Now()
	giveBack()
	c.trims++
	c.log.Debug("traffic is calm again: memory given back", "took", time.Since(start))
}

func (c *calm) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// giveBack gives the system all memory that is not in use. A sync.Pool drops what it holds at the second collection
// only; FreeOSMemory is that second one.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}
