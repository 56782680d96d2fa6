package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// What a stranger may hold of a web server: a header this long, for this time.
const (
	headerBytes = 8 << 10
	headerTime  = 5 * time.Second
)

func (s *Server) webServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       headerTime, // of plain requests; a WebSocket has none once it is one
		WriteTimeout:      2 * headerTime,
		IdleTimeout:       headerTime,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
}

// meter has Metrics show the relay, and its process.
func (s *Server) meter() error {
	s.metered.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s.Register(s.metered)
}

func (s *Server) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metered, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", healthy)
	return mux
}

// healthy says that the process serves. It says no more, since anyone can ask.
func healthy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, "ok")
}
