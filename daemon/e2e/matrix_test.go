//go:build !race

// With the race detector, programs are too slow for the matrix, whose pairs meet a few at a time and which tries thousands of
// ports for some: it would measure the host's processors. The other tests run the same code below the detector.

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// place is a kind of network that a machine may be on.
type place struct {
	name    string // as the matrix shows it
	nat     lab.NAT
	carrier lab.NAT // of the NAT before its own; -1: there is none
	options []lab.RouterOption
	noUDP   bool
	public  bool // no router at all
	mapping bool // whoever it sends to gets a port of its own
	closed  bool // it lets in only the very address and port that was sent to
}

const noCarrier lab.NAT = -1

var places = []place{
	{name: "public", public: true, carrier: noCarrier},
	{name: "firewall", nat: lab.Firewall, carrier: noCarrier, closed: true},
	{name: "cone", nat: lab.FullCone, carrier: noCarrier},
	{name: "restrict", nat: lab.Restricted, carrier: noCarrier},
	{name: "easy", nat: lab.EasyNAT, carrier: noCarrier, closed: true},
	{name: "easy-v6", nat: lab.EasyNAT, carrier: noCarrier, options: []lab.RouterOption{lab.WithIPv6()}, closed: true},
	{name: "hard", nat: lab.HardNAT, carrier: noCarrier, mapping: true, closed: true},
	{name: "hard-v6", nat: lab.HardNAT, carrier: noCarrier, options: []lab.RouterOption{lab.WithIPv6()}, mapping: true, closed: true},
	{name: "cgn-easy", nat: lab.EasyNAT, carrier: lab.EasyNAT, closed: true},
	{name: "cgn-hard", nat: lab.EasyNAT, carrier: lab.HardNAT, mapping: true, closed: true},
	{name: "no-udp", nat: lab.EasyNAT, carrier: noCarrier, noUDP: true},
}

// want says what two places can have of each other: a direct path, one that ports must be searched for, or the relay.
func want(a, b place) string {
	v6 := func(p place) bool { return p.public || len(p.options) > 0 }
	switch {
	case a.noUDP || b.noUDP:
		return "relay"
	case v6(a) && v6(b):
		return "direct"
	case a.mapping && b.mapping:
		return "relay"
	case a.mapping && b.closed, b.mapping && a.closed:
		return "search"
	}
	return "direct"
}

// cell is what was measured of two places.
type cell struct {
	path ipc.PathKind
	took []time.Duration // from the first packet to direct, where it is
}

// world is two machines in each place, all of one network.
type world struct {
	m       *mesh.Mesh
	left    []*mesh.Node
	right   []*mesh.Node
	routers []*lab.Router
}

func newWorld(t lab.TB) *world {
	t.Helper()
	n := lab.New(t)
	w := &world{m: mesh.Start(t, n, mesh.Build(t))}
	key := w.m.Coord.Key("--reusable")
	for i, p := range places {
		for _, side := range []*[]*mesh.Node{&w.left, &w.right} {
			name := fmt.Sprintf("m%d%c", i, "ab"[b2i(side == &w.right)])
			node := w.m.Node(w.machine(p, name))
			node.Up(key)
			*side = append(*side, node)
		}
	}
	return w
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (w *world) machine(p place, name string) *lab.Machine {
	segment := w.m.Net.Internet()
	if p.public {
		return segment.Host(name)
	}
	if p.carrier != noCarrier {
		isp := segment.Router("c-"+name, p.carrier)
		w.routers = append(w.routers, isp)
		segment = isp.Segment
	}
	r := segment.Router("r-"+name, p.nat, p.options...)
	w.routers = append(w.routers, r)
	if p.noUDP {
		r.DropUDP()
	}
	return r.Host(name)
}

// forget makes every pair strangers again: new processes, and NATs that remember nothing.
func (w *world) forget() {
	var work sync.WaitGroup
	for _, n := range slices.Concat(w.left, w.right) {
		work.Go(func() {
			n.Daemon.Signal(syscall.SIGTERM)
			_ = n.Daemon.Wait(10 * time.Second)
		})
	}
	work.Wait()
	for _, r := range w.routers {
		r.FlushConntrack()
	}
	for _, n := range slices.Concat(w.left, w.right) {
		n.StartDaemon()
	}
}

// measure has one machine send to another that it never spoke to.
func measure(from, to *mesh.Node, expect string) (kind ipc.PathKind, took time.Duration, err error) {
	inner := to.Inner()
	limit := map[string]time.Duration{"direct": 15 * time.Second, "search": 90 * time.Second, "relay": 6 * time.Second}[expect]
	start := time.Now()
	first := time.Duration(0)
	for {
		if perr := from.PingOnce(inner); perr == nil && first == 0 {
			first = time.Since(start)
		}
		p, perr := from.Peer(to)
		if perr != nil {
			return "", 0, perr
		}
		if kind = p.Path.Kind; kind == ipc.PathDirect {
			return kind, p.Path.Since.Sub(start), nil
		}
		if time.Since(start) > limit {
			switch {
			case first == 0:
				err = errorf("%s gets no answer from %s at all", from.Name(), to.Name())
			case expect != "relay":
				err = errorf("%q, though a direct path is possible (%s)\n%s\n%s", kind, expect, why(from, to), why(to, from))
			}
			return kind, 0, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// why is what a machine says of its path to another.
func why(from, to *mesh.Node) string {
	out, err := from.Warren("why", to.Name())
	if err != nil {
		out = err.Error()
	}
	return from.Name() + ": " + out
}

// pairings gives all pairs of places in rounds: in one, each machine is in one pair at the most, so that all may go at once.
func pairings() (all [][][2]int) {
	n := len(places)
	for shift := range n {
		var round [][2]int
		for i := range n {
			if j := (i + shift) % n; shift <= n/2 {
				round = append(round, [2]int{i, j})
			}
		}
		if len(round) > 0 {
			all = append(all, round)
		}
	}
	return all
}

// atOnce is how many pairs begin at a time: more would measure this host's processors.
const atOnce = 4

// play measures every pair once. A pair begins as soon as fewer than atOnce are at it, and neither of its machines is.
func (w *world) play(t lab.TB, cells map[[2]int]*cell) {
	t.Helper()
	var mu sync.Mutex
	ended := sync.NewCond(&mu)
	busy, left := map[*mesh.Node]bool{}, slices.Concat(pairings()...)
	var work sync.WaitGroup
	mu.Lock()
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(c [2]int) bool { return !busy[w.left[c[0]]] && !busy[w.right[c[1]]] })
		if i < 0 || len(busy) >= 2*atOnce {
			ended.Wait()
			continue
		}
		c := left[i]
		left = slices.Delete(left, i, i+1)
		from, to := w.left[c[0]], w.right[c[1]]
		busy[from], busy[to] = true, true
		work.Go(func() {
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				delete(busy, from)
				delete(busy, to)
				ended.Signal()
			}()
			kind, took, err := measure(from, to, want(places[c[0]], places[c[1]]))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%s to %s: %v", places[c[0]].name, places[c[1]].name, err)
			}
			if cells[c] == nil {
				cells[c] = &cell{}
			}
			cells[c].path = kind
			if kind == ipc.PathDirect {
				cells[c].took = append(cells[c].took, took)
			}
		})
	}
	mu.Unlock()
	work.Wait()
}

// show prints the matrix. A pair stands where its row and its column cross, whichever of the two began.
func show(cells map[[2]int]*cell, times int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-9s", "")
	for _, p := range places {
		fmt.Fprintf(&b, " %12s", p.name)
	}
	for i, p := range places {
		fmt.Fprintf(&b, "\n%-9s", p.name)
		for j := range places {
			c, text := cells[[2]int{i, j}], ""
			switch {
			case c == nil:
			case len(c.took) == 0:
				text = "relay"
			default:
				slices.Sort(c.took)
				text = fmt.Sprintf("%.2f", c.took[len(c.took)/2].Seconds())
				if times > 1 {
					text += fmt.Sprintf("/%.1f", c.took[len(c.took)-1].Seconds())
				}
				if len(c.took) < times {
					text += fmt.Sprintf(" %d/%d", len(c.took), times)
				}
			}
			fmt.Fprintf(&b, " %12s", text)
		}
	}
	return b.String()
}

// TestEveryPairOfNetworksIsDirectWhereItCanBe plays the whole matrix once, on real NATs.
func TestEveryPairOfNetworksIsDirectWhereItCanBe(t *testing.T) {
	w := newWorld(t)
	cells := map[[2]int]*cell{}
	w.play(t, cells)
	t.Logf("seconds from the first packet to the direct path, or relay; the row's machine began:\n%s", show(cells, 1))
	for c, is := range cells {
		a, b := places[c[0]], places[c[1]]
		if want(a, b) == "relay" && is.path != ipc.PathRelay {
			t.Errorf("%s and %s: %q, not through the relay", a.name, b.name, is.path)
		}
	}
}

// BenchmarkNAT prints the matrix of WARREN_TIMES (10) plays.
func BenchmarkNAT(b *testing.B) {
	times := 10
	if n, err := strconv.Atoi(os.Getenv("WARREN_TIMES")); err == nil && n > 0 {
		times = n
	}
	w := newWorld(b)
	cells := map[[2]int]*cell{}
	for i := range times {
		if i > 0 {
			w.forget()
		}
		w.play(b, cells)
	}
	b.Logf("seconds from the first packet to the direct path (median/worst of %d), or relay:\n%s", times, show(cells, times))
}
