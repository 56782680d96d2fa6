package view

import (
	"time"

	"github.com/warren-mesh/warren/ipc"
)

// maxPoints is how much of a Trace is kept: at one point a second, two minutes.
const maxPoints = 120

// Trace is what was seen of one machine since somebody looks at it: what a plot is drawn from. The zero value is empty.
type Trace struct {
	ID     int64
	Points []Point // oldest first
	rx, tx uint64  // at the last one
}

// Point is one moment.
type Point struct {
	At      time.Time
	Latency ipc.Milliseconds // 0: not known
	Kind    ipc.PathKind
	Rx, Tx  float64 // bytes a second since the point before; negative: not known
}

// Add takes what a status says of a machine. Another machine begins anew. It is false where nothing is new.
func (t *Trace) Add(s *ipc.Status, id int64) bool {
	d := drawer{in: &Input{}, s: s}
	p := d.peer(id)
	if p == nil {
		return false
	}
	if t.ID != id {
		*t = Trace{ID: id}
	}
	now := Point{At: s.Time, Latency: p.Path.Latency, Kind: p.Path.Kind, Rx: -1, Tx: -1}
	if now.Kind == ipc.PathNone {
		now.Latency = 0
	}
	if n := len(t.Points); n > 0 {
		passed := s.Time.Sub(t.Points[n-1].At).Seconds()
		if passed < 0.2 { // several changes at once are one point
			return false
		}
		if p.RxBytes >= t.rx && p.TxBytes >= t.tx { // else the daemon began anew
			now.Rx, now.Tx = float64(p.RxBytes-t.rx)/passed, float64(p.TxBytes-t.tx)/passed
		}
	}
	t.rx, t.tx = p.RxBytes, p.TxBytes
	t.Points = append(t.Points, now)
	if over := len(t.Points) - maxPoints; over > 0 {
		t.Points = append([]Point(nil), t.Points[over:]...)
	}
	return true
}

// Latencies and Traffic are the values to plot, with the greatest of them. A value below zero is a gap.
func (t *Trace) Latencies() (values []float64, top float64) {
	for _, p := range t.Points {
		v := float64(p.Latency)
		if v <= 0 {
			v = -1
		}
		values, top = append(values, v), max(top, v)
	}
	return values, top
}

// Traffic gives what was received and sent, in bytes a second.
func (t *Trace) Traffic() (rx, tx []float64, top float64) {
	for _, p := range t.Points {
		rx, tx, top = append(rx, p.Rx), append(tx, p.Tx), max(top, p.Rx, p.Tx)
	}
	return rx, tx, top
}
