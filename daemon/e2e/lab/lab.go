package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// TB is what the lab needs of a test, benchmark or program (see Run).
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(f func())
}

// Net is one lab: an internet with everything attached to it. Processes, captures and
// sockets may be used from any goroutine; machines are added, moved and readdressed
// from one at a time.
type Net struct {
	t     TB
	id    string // starts the names of this lab's namespaces and its directory
	dir   string
	spawn *spawner
	inet  *Segment

	making sync.Mutex // held while a namespace is made
	closed bool       // guarded by making: no more namespaces

	mu         sync.Mutex
	namespaces []string
	machines   []*Machine
	segments   []*Segment
	faults     []*Fault
	procs      []*Proc
	lans       int  // LANs numbered so far
	single     bool // offloads are off: see SinglePackets
}

// labs counts the labs of this process.
var labs atomic.Int64

// New makes an empty lab that lasts until the end of t. A test is skipped, or fails
// in CI, if it is not root: see NeedRoot.
func New(t TB) *Net {
	t.Helper()
	if s, ok := t.(skipper); ok {
		NeedRoot(s)
	} else if os.Geteuid() != 0 {
		t.Fatalf("network namespaces need root: run this as root or through sudo")
	}
	sweep()
	n := &Net{t: t, id: fmt.Sprintf("%s%d-%d-", prefix, os.Getpid(), labs.Add(1)), spawn: newSpawner()}
	t.Cleanup(n.close)
	n.dir = filepath.Join(os.TempDir(), n.id)
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		t.Fatalf("lab: %v", err)
	}
	return n
}

// Internet returns the public segment, 198.51.100.0/24 and 2001:db8::/64.
func (n *Net) Internet() *Segment {
	n.t.Helper()
	if n.inet != nil {
		return n.inet
	}
	ns := n.id + "internet"
	n.addNamespace(ns, forwarding)
	n.must(ip(ns,
		"link set lo up",
		"route add blackhole default",
		"route add blackhole ::/0",
	))
	n.inet = n.addSegment(&Segment{
		net: n, ns: ns,
		prefix:  netip.MustParsePrefix("198.51.100.0/24"),
		prefix6: netip.MustParsePrefix("2001:db8::/64"),
	})
	return n.inet
}

// addNamespace makes a namespace that ends with the lab. An interrupted program (see Run) may still be at this when
// the lab is taken down.
func (n *Net) addNamespace(ns string, settings map[string]string) {
	n.t.Helper()
	n.making.Lock()
	defer n.making.Unlock()
	if n.closed {
		n.t.Fatalf("lab: it has ended")
	}
	n.mu.Lock()
	n.namespaces = append(n.namespaces, ns)
	n.mu.Unlock()
	n.must(makeNamespace(ns, settings))
}

// close ends all processes, says what they wrote if the test failed, and removes
// every namespace and file of the lab.
func (n *Net) close() {
	n.making.Lock()
	n.closed = true
	n.making.Unlock()
	n.mu.Lock()
	procs, namespaces := n.procs, n.namespaces
	n.mu.Unlock()
	for _, p := range procs {
		p.kill()
	}
	for _, p := range procs {
		p.judge(n.t)
	}
	if n.t.Failed() {
		for _, p := range procs {
			p.showTail(n.t)
		}
	}
	for _, ns := range namespaces {
		if err := removeNamespace(ns); err != nil {
			n.t.Errorf("lab: %v", err)
		}
	}
	n.spawn.close()
	if err := os.RemoveAll(n.dir); err != nil {
		n.t.Errorf("lab: %v", err)
	}
}

// must ends the test if the lab itself could not do something.
func (n *Net) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("lab: %v", err)
	}
}

// Eventually calls f until it returns nil, and returns how long that took. If it
// does not within d, stretched by Patience, the test ends with f's last error.
func Eventually(t TB, d time.Duration, f func() error) time.Duration {
	t.Helper()
	d *= Patience
	start := time.Now()
	pause := 5 * time.Millisecond
	for {
		err := f()
		took := time.Since(start)
		if err == nil {
			return took
		}
		if took > d {
			t.Fatalf("not within %v: %v", d, err)
		}
		time.Sleep(pause)
		pause = min(2*pause, 100*time.Millisecond)
	}
}
