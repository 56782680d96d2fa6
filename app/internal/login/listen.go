package login

import (
	"context"
	"crypto/subtle"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"sync/atomic"
	"time"
)

// Bounds of the listener, which has one visitor and one page.
const (
	MaxWait     = 15 * time.Minute // a login lives no longer
	pageTimeout = 5 * time.Second  // to send a request
	finishTime  = 30 * time.Second // to send it on to the server
	lateTime    = 3 * time.Second  // for a visit under way, when nobody waits for it any more
	maxHeader   = 16 << 10
)

var codeText = regexp.MustCompile(`^[A-Za-z0-9_-]{1,512}$`)

// Listener waits on the loopback interface for the browser that comes back from the login's page.
type Listener struct {
	l     net.Listener
	host  string // the only Host that is answered
	state string
	page  Page

	finish func(ctx context.Context, code string) error
	ended  chan error // one value: how it ended

	hit atomic.Bool // the right one came
}

// Listen opens a random port of 127.0.0.1.
func Listen(p Page, state string) (*Listener, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &Listener{l: l, host: l.Addr().String(), state: state, page: p, ended: make(chan error, 1)}, nil
}

// URL is the page to open on this device.
func (l *Listener) URL() string {
	return l.page.Here(uint16(l.l.Addr().(*net.TCPAddr).Port), l.state)
}

// Serve waits for the browser, once; has finish end the login with the code that it brought; shows the browser how
// that went; and closes. It returns finish's error, or ctx's if nobody came.
func (l *Listener) Serve(ctx context.Context, finish func(ctx context.Context, code string) error) error {
	ctx, cancel := context.WithTimeout(ctx, MaxWait)
	defer cancel()
	l.finish = finish
	// A visit under way outlives ctx for a moment: who learned of the login's end elsewhere cancels ctx, and
	// the browser that brought it about still waits for its answer.
	visit, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	s := &http.Server{
		Handler:           l,
		BaseContext:       func(net.Listener) context.Context { return visit },
		ReadHeaderTimeout: pageTimeout,
		WriteTimeout:      finishTime + pageTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	s.SetKeepAlivesEnabled(false)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l.l) }()
	var err error
	over := false
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-l.ended:
		over = true
	}
	late, stop := context.WithTimeout(visit, lateTime)
	defer stop()
	if s.Shutdown(late) != nil {
		_ = s.Close()
	}
	if l.hit.Load() && !over {
		leave()
		err = <-l.ended
	}
	<-served
	return err
}

// ServeHTTP implements http.Handler.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	status := l.check(r)
	if status != 0 {
		http.Error(w, http.StatusText(status), status)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), finishTime)
	defer cancel()
	err := l.finish(ctx, r.URL.Query().Get("code"))
	if err == nil {
		http.Redirect(w, r, l.page.Done(), http.StatusSeeOther)
	} else {
		http.Error(w, "The login did not succeed. The program that opened this page says why.", http.StatusBadGateway)
	}
	l.ended <- err
}

// check returns 0 for the one right request, and otherwise the refusal. A wrong one does not end the wait: any
// page and any user of this machine can send those, and none can guess the state.
func (l *Listener) check(r *http.Request) int {
	q := r.URL.Query()
	state := subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(l.state)) == 1
	origin := r.Header.Values("Origin") // a browser sends none when it follows a redirect with GET
	switch {
	case r.Host != l.host: // DNS rebinding
		return http.StatusForbidden
	case r.URL.Path != "/done":
		return http.StatusNotFound
	case r.Method != http.MethodGet:
		return http.StatusMethodNotAllowed
	case len(origin) > 1 || len(origin) == 1 && origin[0] != l.page.origin:
		return http.StatusForbidden
	case len(q["state"]) != 1 || !state:
		return http.StatusForbidden
	case len(q["code"]) != 1 || !codeText.MatchString(q.Get("code")):
		return http.StatusBadRequest
	case l.hit.Swap(true):
		return http.StatusGone
	}
	return 0
}
