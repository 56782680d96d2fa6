package server

import (
	"context"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// counters are what the metrics page shows.
type counters struct {
	registry      *prometheus.Registry
	registrations prometheus.Counter
	deliveries    prometheus.Counter
	lines         prometheus.Counter
	fulls         prometheus.Counter
	cut           prometheus.Counter
	storeErrors   *prometheus.CounterVec
	transactions  *prometheus.HistogramVec
	latency       *prometheus.HistogramVec
	turnedOut     prometheus.Counter
	refused       prometheus.Counter
	late          prometheus.Counter
	flush         prometheus.Histogram
	requests      *prometheus.CounterVec
	logins        *prometheus.CounterVec
}

func newCounters() *counters {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "warren_coord", Name: name, Help: help})
	}
	c := &counters{
		registry:      prometheus.NewRegistry(),
		registrations: counter("registrations_total", "Machines admitted, again or for the first time."),
		deliveries:    counter("deliveries_total", "Changes put into a machine's queue."),
		lines:         counter("netmap_lines_total", "Lines signed and written to netmap streams."),
		fulls:         counter("netmap_full_total", "Whole netmaps sent."),
		cut:           counter("streams_cut_total", "Netmap streams cut off because they read too slowly."),
		storeErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "warren_coord", Name: "store_errors_total", Help: "Transactions that the database failed: full (the disk), away (PostgreSQL), damaged, other.",
		}, []string{"why"}),
		transactions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "warren_coord", Name: "store_seconds", Help: "Time of the database's transactions. Writes include the flush to the disk.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}, []string{"kind"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "warren_coord", Name: "request_seconds", Help: "Time of requests by route, but of those that wait for something to happen.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"route"}),
		turnedOut: counter("connections_turned_out_total", "Connections closed to make room for others."),
		late:      counter("handshakes_late_total", "TLS handshakes given up before they began, since too many others were under way."),
		refused:   counter("connections_refused_total", "Connections closed at once, for want of room."),
		flush: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "warren_coord", Name: "flush_seconds", Help: "Time to tell all what is new.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8),
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "warren_coord", Name: "requests_total", Help: "Requests by route and answer.",
		}, []string{"route", "code"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "warren_coord", Name: "signins_total", Help: "Sign-ins of people by result.",
		}, []string{"result"}),
	}
	c.registry.MustRegister(c.registrations, c.deliveries, c.lines, c.fulls, c.cut, c.storeErrors, c.turnedOut, c.refused, c.late, c.transactions, c.latency, c.flush, c.requests, c.logins,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return c
}

// watch adds the gauges that are read off the hub.
func (c *counters) watch(h *hub, g *gate) {
	gauge := func(name, help string, value func() int) {
		c.registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: "warren_coord", Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	gauge("machines", "Machines of the network.", func() int { return h.view().Len() })
	gauge("connections", "Connections of machines, browsers and the relay's clients.", g.len)
	gauge("streams", "Machines that follow the netmap.", func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.here) - len(h.leaving)
	})
}

// watchDisk adds the sizes of the state directory's database (of SQLite) and of what is free beside it.
func (c *counters) watchDisk(dir string, sqlite bool) {
	gauge := func(name, help string, value func() float64) {
		c.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "warren_coord", Name: name, Help: help}, value))
	}
	if sqlite {
		gauge("database_bytes", "Size of the SQLite database with its log.", func() (sum float64) {
			for _, end := range []string{"", "-wal"} {
				if info, err := os.Stat(filepath.Join(dir, fileDatabase+end)); err == nil {
					sum += float64(info.Size())
				}
			}
			return sum
		})
	}
	gauge("disk_free_bytes", "Room on the state directory's disk.", func() float64 {
		var st syscall.Statfs_t
		if syscall.Statfs(dir, &st) != nil {
			return math.NaN()
		}
		return float64(st.Bavail) * float64(st.Bsize)
	})
}

// watchReady adds whether the server is ready.
func (c *counters) watchReady(unready func(context.Context) string) {
	c.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "warren_coord", Name: "ready", Help: "1 where the server does its work, as /readyz says.",
	}, func() float64 {
		if unready(context.Background()) != "" {
			return 0
		}
		return 1
	}))
}

// Metrics serves the metrics page (Prometheus), and beside it /healthz and /readyz, for a listener of its own.
func (s *Server) Metrics() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.count.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { _ = s.healthz(w, r) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { _ = s.readyz(w, r) })
	return mux
}
