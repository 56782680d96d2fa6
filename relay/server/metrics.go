package server

import (
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters count since the relay's start.
type counters struct {
	packets, bytes       atomic.Uint64
	dropped, lost        atomic.Uint64
	limited              atomic.Uint64
	absent               atomic.Uint64
	strangers, malformed atomic.Uint64
	hellos, joins        atomic.Uint64
	refused, moves, idle atomic.Uint64
	stun                 atomic.Uint64
}

// add moves a goroutine's own count to the common one.
func add(to *atomic.Uint64, from *uint64) {
	if *from > 0 {
		to.Add(*from)
		*from = 0
	}
}

// Traffic is what a relay has forwarded since its start.
type Traffic struct {
	Packets, Bytes uint64 // without what relaying adds
	Limited        uint64 // packets dropped because their client or its network sent more than its rate
}

// Traffic gives the counters as they are now.
func (s *Server) Traffic() Traffic {
	c := &s.hub.count
	return Traffic{Packets: c.packets.Load(), Bytes: c.bytes.Load(), Limited: c.limited.Load()}
}

// Register adds the relay's metrics to those of the program that it is embedded in.
func (s *Server) Register(r prometheus.Registerer) error {
	return errors.Join(s.hub.register(r), r.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "warren", Subsystem: "relay", Name: "receive_dropped_total",
		Help: "Datagrams that the system dropped because they came faster than the relay took them. If it grows steadily, raise net.core.rmem_max, or look at the host's load.",
	}, s.overflowed)))
}

// overflowed adds up what the sockets lost.
func (s *Server) overflowed() (n float64) {
	for _, c := range s.udp {
		n += float64(c.Overflowed())
	}
	return n
}

// register offers the counters to Prometheus.
func (h *hub) register(r prometheus.Registerer) error {
	c := &h.count
	for _, m := range []struct {
		name, help string
		value      *atomic.Uint64
	}{
		{"packets_total", "Packets forwarded from one node to another.", &c.packets},
		{"bytes_total", "Bytes of the packets forwarded, without what relaying adds.", &c.bytes},
		{"queue_dropped_total", "Packets dropped because a WebSocket client did not read fast enough: the oldest of its queue.", &c.dropped},
		{"limited_total", "Packets dropped because their client or its network sent more than its rate. Raise the limits if these are people's own machines.", &c.limited},
		{"send_failed_total", "Datagrams that the system would not send. If it grows steadily, look at the host's network.", &c.lost},
		{"absent_total", "Packets for a node that has no session here. Some are normal: nodes come and go.", &c.absent},
		{"strangers_total", "Data frames without a session. Some are normal after a restart of the relay; many are noise or an attack.", &c.strangers},
		{"malformed_total", "Datagrams and frames that were neither STUN nor anything that the relay understands or can prove.", &c.malformed},
		{"hellos_total", "First frames of clients, each answered by a cookie.", &c.hellos},
		{"joins_total", "Sessions opened. If it grows much faster than nodes come, clients lose their sessions: look for packet loss or a clash of keys.", &c.joins},
		{"refused_total", "Clients refused, mostly for an expired ticket or a network that is not served here; the log says which.", &c.refused},
		{"moves_total", "Sessions that went on from another address, as after a change of network or of a NAT's mapping.", &c.moves},
		{"idle_total", "Sessions forgotten because nothing came from the client for a minute.", &c.idle},
		{"stun_total", "STUN requests answered.", &c.stun},
	} {
		err := r.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "warren", Subsystem: "relay", Name: m.name, Help: m.help,
		}, func() float64 { return float64(m.value.Load()) }))
		if err != nil {
			return err
		}
	}
	return r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "warren", Subsystem: "relay", Name: "sessions", Help: "Nodes that have a session now.",
	}, func() float64 { return float64(h.sessions.size.Load()) }))
}
