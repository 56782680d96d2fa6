package ipc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxConnsPerUser = 16               // of one user but root, who must always get through
	maxHeader       = 8 << 10          // bytes
	headerTimeout   = 5 * time.Second  //
	idleTimeout     = 60 * time.Second // between two requests on a connection
	endTimeout      = 3 * time.Second  // for answers under way, when the server ends
)

// ErrInUse says that a daemon already listens on the socket.
var ErrInUse = errors.New("another warrend is running")

// Listen makes the socket, and its directory where it is missing (/run is empty after each boot). Every local user may
// connect: the level decides what comes of it. A socket that a killed daemon left is replaced; one that answers is
// ErrInUse.
func Listen(path string) (net.Listener, error) {
	if err := makeDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("no directory for the socket %s: %w", path, err)
	}
	if fi, err := os.Lstat(path); err == nil {
		if fi.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s is in the way: it is no socket", path)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("%w (it listens on %s)", ErrInUse, path)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// makeDir makes a directory that every user may look into, whatever the umask. One that is there stays as it is.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return nil // or what is wrong with it shows at once
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// Serve answers on the listener, which it closes, until ctx ends. Then requests under way have their contexts
// canceled and are waited for. It returns nil when ctx ended it.
func Serve(ctx context.Context, l net.Listener, b Backend, a Authority, log *slog.Logger) error {
	return serve(ctx, &doorkeeper{Listener: l, peer: peerOf, log: log, open: map[uint32]int{}}, b, a, log)
}

func serve(ctx context.Context, l *doorkeeper, b Backend, a Authority, log *slog.Logger) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	running := &awaited{Handler: Handler(b, a, log)}
	s := &http.Server{
		Handler:     running,
		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return WithCaller(ctx, c.(*knownConn).caller)
		},
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(base, func() {
		defer close(ended)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		if s.Shutdown(late) != nil {
			_ = s.Close()
		}
	})
	err := s.Serve(l)
	if stop() { // ended by itself: the listener failed
		_ = s.Close()
	} else {
		<-ended
	}
	cancel()
	running.end()
	l.refusals.Wait()
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// awaited is a handler that can be waited for: closing a server's connections does not.
type awaited struct {
	http.Handler

	mu    sync.Mutex
	ended bool
	under sync.WaitGroup
}

// ServeHTTP implements http.Handler.
func (a *awaited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return // its connection is closed already
	}
	a.under.Add(1)
	a.mu.Unlock()
	defer a.under.Done()
	a.Handler.ServeHTTP(w, r)
}

// end lets no more requests in and waits for those that are.
func (a *awaited) end() {
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	a.under.Wait()
}

// doorkeeper learns who connects, and lets no user take all connections.
type doorkeeper struct {
	net.Listener
	peer func(net.Conn) (Caller, error)
	log  *slog.Logger

	mu   sync.Mutex
	open map[uint32]int // connections by user

	refusing atomic.Int32   // how many are being refused
	refusals sync.WaitGroup // their goroutines, each of which ends within a second
}

// knownConn is a connection whose caller is known.
type knownConn struct {
	net.Conn
	caller Caller
	leave  func()
}

// Close implements net.Conn.
func (c *knownConn) Close() error {
	c.leave()
	c.caller.Process.close()
	return c.Conn.Close()
}

// Accept implements net.Listener.
func (d *doorkeeper) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		caller, err := d.peer(conn)
		if err != nil { // it went away already, or cannot be known
			d.log.Debug("connection refused", "err", err)
			_ = conn.Close()
			continue
		}
		if !d.enter(caller.UID) {
			d.log.Warn("too many connections of one user", "uid", caller.UID, "limit", maxConnsPerUser)
			caller.Process.close()
			d.refuse(conn)
			continue
		}
		return &knownConn{Conn: conn, caller: caller, leave: sync.OnceFunc(func() { d.exit(caller.UID) })}, nil
	}
}

func (d *doorkeeper) enter(uid uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if uid != 0 && d.open[uid] >= maxConnsPerUser {
		return false
	}
	d.open[uid]++
	return true
}

func (d *doorkeeper) exit(uid uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[uid]--; d.open[uid] <= 0 {
		delete(d.open, uid)
	}
}

// maxRefusals bounds the connections that are being refused at a time; more than these are closed without a word.
const maxRefusals = 64

// refuse lets the caller ask, says why not, and closes when the caller has done so or a second has passed: closed
// sooner, the request would meet a broken pipe, and the reason be lost.
func (d *doorkeeper) refuse(conn net.Conn) {
	if d.refusing.Add(1) > maxRefusals {
		d.refusing.Add(-1)
		_ = conn.Close()
		return
	}
	d.refusals.Go(func() {
		defer d.refusing.Add(-1)
		defer conn.Close()
		body := fmt.Sprintf(`{"error":{"code":%q,"message":"you have too many connections to warrend open (%d)"}}`, CodeBusy, maxConnsPerUser)
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		if _, err := http.ReadRequest(bufio.NewReader(io.LimitReader(conn, maxHeader))); err != nil {
			return // an HTTP client makes nothing of an answer that comes before its question
		}
		_, err := fmt.Fprintf(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			contentJSON, len(body), body)
		if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(conn, maxBody))
		}
	})
}
