package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord/internal/store"
)

// Times of readiness.
const (
	readyKept  = time.Second     // how long an answer is given again: asking costs no more than a write a second
	readyWait  = 2 * time.Second // the database must answer within
	behindTime = 5 * time.Second // what is new must be told within
)

// metaReady in the store's meta table is what readiness writes.
const metaReady = "ready"

// readiness remembers the last answer.
type readiness struct {
	mu    sync.Mutex
	until time.Time
	why   string
}

// healthz says that the process lives. It says no more, since anyone can ask.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	writeWord(w, http.StatusOK, "ok")
	return nil
}

// readyz says whether the server does its work now, and in one word why not.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if why := s.unready(r.Context()); why != "" {
		writeWord(w, http.StatusServiceUnavailable, why)
		return nil
	}
	writeWord(w, http.StatusOK, "ok")
	return nil
}

func writeWord(w http.ResponseWriter, status int, word string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(word + "\n"))
}

// unready says why the server is not ready: it is stopping, its database cannot be written, or it is behind with telling
// what is new. Empty: it is ready.
func (s *Server) unready(ctx context.Context) string {
	select {
	case <-s.stopping:
		return "stopping"
	default:
	}
	if s.hub.behind() > behindTime {
		return "behind"
	}
	s.ready.mu.Lock() // who asks meanwhile gets the same answer
	defer s.ready.mu.Unlock()
	if now := time.Now(); now.After(s.ready.until) {
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWait)
		defer cancel()
		err := s.store.Write(wait, func(tx store.Tx) error { return tx.SetMeta(metaReady, s.now().UTC().Format(time.RFC3339)) })
		s.ready.why = ""
		if err != nil {
			s.ready.why = "database"
			s.log.Warn("not ready: the database cannot be written", "err", err)
		}
		s.ready.until = time.Now().Add(readyKept)
	}
	return s.ready.why
}
