package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/relay/internal/wsbatch"
)

// bulk is how many bytes, at a time, pass through the connection of a client that is busy.
const bulk = 2048

// Listen listens on a TCP address for many clients that are idle most of the time. Go's scheduler is not told of their reads and
// writes while these are short, as they never wait: being told wakes its watchdog thread, which costs more than they do. There
// is no keepalive of TCP (RFC 9293, section 3.8.4): what such clients speak has its own.
func Listen(address string) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1}
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return quietListener{l.(*net.TCPListener)}, nil
}

type quietListener struct{ *net.TCPListener }

func (l quietListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	q := &quietConn{TCPConn: c}
	q.gather.Out = (*ungathered)(q)
	// Made once, so that nothing is allocated for each.
	q.in.do, q.in.wait = q.read, raw.Read
	q.out.do, q.out.wait = q.write, raw.Write
	return q, nil
}

// quietConn is one connection.
type quietConn struct {
	*net.TCPConn
	in, out transfer
	gather  wsbatch.Gatherer // of what is written
}

// transfer is one direction of a quietConn.
type transfer struct {
	do   func(fd uintptr) bool             // calls
	wait func(func(fd uintptr) bool) error // has it do so until it is done

	mu    sync.Mutex
	b     []byte
	n     int // bytes that passed
	last  int // by the last call
	errno unix.Errno
}

// call reads or writes the rest of b once.
func (t *transfer) call(number, fd uintptr, short bool) (again bool) {
	var n uintptr
	rest := t.b[t.n:]
	if short {
		n, _, t.errno = unix.RawSyscall(number, fd, uintptr(unsafe.Pointer(&rest[0])), uintptr(len(rest)))
	} else {
		n, _, t.errno = unix.Syscall(number, fd, uintptr(unsafe.Pointer(&rest[0])), uintptr(len(rest)))
	}
	if t.errno == 0 {
		t.last = int(n)
		t.n += t.last
	}
	return t.errno == unix.EINTR
}

// read is short until something long came, and again after something short.
func (q *quietConn) read(fd uintptr) (done bool) {
	for q.in.call(unix.SYS_READ, fd, q.in.last < bulk) {
	}
	return q.in.errno != unix.EAGAIN
}

func (q *quietConn) write(fd uintptr) (done bool) {
	for {
		again := q.out.call(unix.SYS_WRITE, fd, len(q.out.b) < bulk)
		switch {
		case again:
		case q.out.errno != 0:
			return q.out.errno != unix.EAGAIN
		case q.out.n == len(q.out.b):
			return true
		}
	}
}

// Read is net.Conn's.
func (q *quietConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := q.in.pass("read", b)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// Write is net.Conn's.
func (q *quietConn) Write(b []byte) (int, error) { return q.gather.Write(b) }

// ungathered is the connection without its gathering.
type ungathered quietConn

// Write is io.Writer's.
func (q *ungathered) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return q.out.pass("write", b)
}

// gatherer gives what gathers below conn, and below TLS if there is some; nil where it is no connection of Listen.
func gatherer(conn net.Conn) *wsbatch.Gatherer {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if q, ok := conn.(*quietConn); ok {
		return &q.gather
	}
	return nil
}

// pass waits until something passed.
func (t *transfer) pass(name string, b []byte) (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b, t.n, t.errno = b, 0, 0
	err = t.wait(t.do)
	if err == nil && t.errno != 0 {
		err = &net.OpError{Op: name, Net: "tcp", Err: os.NewSyscallError(name, t.errno)}
	}
	t.b = nil
	return t.n, err
}
