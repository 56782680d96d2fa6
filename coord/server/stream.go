package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/state"
)

// netmap streams. Each line is signed for this machine and this session; the body may be others' too.
func (s *Server) netmap(w http.ResponseWriter, r *http.Request, sess *session) error {
	after := uint64(0)
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return badRequest("after must be a number")
		}
	}
	st, err := s.hub.open(r.Context(), sess.machine, after)
	if err != nil {
		return err
	}
	defer s.hub.close(st)
	defer s.gate.hold(r)()
	w.Header().Set("Content-Type", "application/json-lines")
	w.Header().Set("X-Accel-Buffering", "no") // nginx
	lw := newLineWriter(s, w, sess, after)
	lw.packs = r.URL.Query().Get("packed") == "zstd" // coord.QueryPacked
	if lw.first(st) != nil {
		return nil // whoever it was has gone
	}
	beat := time.NewTicker(s.heartbeat)
	defer beat.Stop()
	over := time.NewTimer(sess.expires.Sub(s.now()))
	defer over.Stop()
	stopCut := lw.cutWith(st.over)
	defer stopCut()
	for {
		select {
		case d := <-st.queue:
			err = lw.deliver(merged(d, st.queue, lw.told))
		case <-beat.C:
			s.hub.renew(st)
			err = lw.beat()
		case <-st.over:
			return nil
		case <-over.C:
			return nil
		case <-s.stopping:
			return nil
		case <-r.Context().Done():
			return nil
		}
		if err != nil {
			return nil
		}
	}
}

// lineWriter writes one stream.
type lineWriter struct {
	s     *Server
	w     http.ResponseWriter
	rc    *http.ResponseController
	to    coord.Stream
	last  uint64 // the number that the machine has
	told  uint64 // what came up to here was in the first line
	packs bool   // it takes packed bodies
	buf   []byte
}

func newLineWriter(s *Server, w http.ResponseWriter, sess *session, last uint64) *lineWriter {
	return &lineWriter{s: s, w: w, rc: http.NewResponseController(w), to: sess.stream(), last: last}
}

// cutWith breaks off a write that is under way when the channel closes, until the function that it returns is called.
func (lw *lineWriter) cutWith(over <-chan struct{}) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-over:
			_ = lw.rc.SetWriteDeadline(time.Unix(1, 0))
		case <-done:
		}
	}()
	return func() {
		close(done)
		<-ended
		// A stream that ended between two writes ends in order, with TLS's own goodbye; one that was broken off stays so.
		_ = lw.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
}

func (lw *lineWriter) first(st *stream) error {
	base, d := st.base, st.first
	st.base, st.first = nil, nil
	lw.told = d.Seq
	if base != nil {
		lw.last = 0
		lw.s.count.fulls.Inc()
		if err := lw.line(base); err != nil {
			return err
		}
	}
	if d.Body == nil {
		return lw.beat()
	}
	return lw.line(d)
}

func (lw *lineWriter) deliver(d *state.Delivery) error {
	switch {
	case d.Seq == 0: // its ticket
		d = &state.Delivery{Seq: lw.last, Body: d.Body}
	case d.Seq <= lw.told:
		return nil
	}
	return lw.line(d)
}

func (lw *lineWriter) line(d *state.Delivery) error {
	line := coord.Line{Seq: d.Seq, Prev: lw.last, Body: d.Body}
	if lw.packs && d.Packed != nil {
		line.Body = d.Packed
	}
	lw.buf = line.Append(lw.buf[:0], lw.s.identity, lw.to)
	lw.last = d.Seq
	lw.s.count.lines.Inc()
	return lw.flush(lw.buf)
}

func (lw *lineWriter) beat() error { return lw.flush([]byte("\n")) }

// flush writes a piece. A reader that takes nothing for so long has gone.
func (lw *lineWriter) flush(b []byte) error {
	_ = lw.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := lw.w.Write(b); err != nil {
		return err
	}
	if cap(lw.buf) > 64<<10 {
		lw.buf = nil // a whole netmap's; changes are small
	}
	return lw.rc.Flush()
}
