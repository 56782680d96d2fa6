package server

import (
	"net/http"

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
	storeErrors   prometheus.Counter
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
		storeErrors:   counter("store_errors_total", "Writes that the store refused."),
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
	c.registry.MustRegister(c.registrations, c.deliveries, c.lines, c.fulls, c.cut, c.storeErrors, c.flush, c.requests, c.logins,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return c
}

// watch adds the gauges that are read off the hub.
func (c *counters) watch(h *hub) {
	gauge := func(name, help string, value func() int) {
		c.registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: "warren_coord", Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	gauge("machines", "Machines of the network.", func() int { return h.view().Len() })
	gauge("streams", "Machines that follow the netmap.", func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.streams)
	})
}

// Metrics serves the metrics page (Prometheus), for a listener of its own.
func (s *Server) Metrics() http.Handler {
	return promhttp.HandlerFor(s.count.registry, promhttp.HandlerOpts{})
}
