package sock

import (
	"errors"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// families is conn.StdNetBind, with a pool of destination addresses for each family. StdNetBind has one pool for both:
// an address that was used for IPv4 is left cut to 4 bytes, and the next packet to an IPv6 address that gets it takes
// only the first 4 bytes of that, so that it goes to 2001:db8:: instead of 2001:db8:0:2::10 (conn/bind_std.go, Send).
type families struct {
	mu   sync.Mutex              // held by Open and Close
	open atomic.Pointer[sockets] // nil: closed
}

// sockets are two StdNetBinds over the same sockets: six sends to IPv6 addresses only, four does everything else.
type sockets struct{ four, six conn.Bind }

var _ conn.Bind = (*families)(nil)

// Open implements conn.Bind.
func (f *families) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open.Load() != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	// Another one each time: it may be copied, since nobody has used its pools and its mutex yet.
	four := conn.NewStdNetBind()
	fns, actual, err := four.Open(port)
	if err != nil {
		return nil, 0, err
	}
	is := reflect.ValueOf(four).Elem()
	if err := errors.Join(whole(is.FieldByName("ipv4"), false), whole(is.FieldByName("ipv6"), true)); err != nil {
		return nil, 0, errors.Join(err, four.Close())
	}
	six := reflect.New(is.Type())
	six.Elem().Set(is)
	f.open.Store(&sockets{four, six.Interface().(conn.Bind)})
	return fns, actual, nil
}

// whole has the packets of a StdNetBind's socket go unfragmented. StdNetBind neither does nor shows its sockets.
func whole(field reflect.Value, six bool) error {
	socket := *(**net.UDPConn)(unsafe.Pointer(field.UnsafeAddr()))
	if socket == nil { // the host has no such family
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	return unfragmented(raw, six)
}

// unfragmented has a socket's packets go whole or not at all, whatever the system believes of the path (ip(7)): what a path
// carries is for probes to find out, and no forged ICMP message makes packets small.
func unfragmented(raw syscall.RawConn, six bool) (err error) {
	level, option, value := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
	if six {
		level, option, value = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, value) }); e != nil {
		return e
	}
	return err
}

// Close implements conn.Bind.
func (f *families) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.open.Swap(nil); s != nil {
		return s.four.Close()
	}
	return nil
}

// SetMark implements conn.Bind.
func (f *families) SetMark(mark uint32) error {
	if s := f.open.Load(); s != nil {
		return s.four.SetMark(mark)
	}
	return nil
}

// Send implements conn.Bind.
func (f *families) Send(bufs [][]byte, to conn.Endpoint) error {
	s := f.open.Load()
	switch {
	case s == nil:
		return net.ErrClosed
	case to.DstIP().Is6():
		return s.six.Send(bufs, to)
	}
	return s.four.Send(bufs, to)
}

// ParseEndpoint implements conn.Bind.
func (f *families) ParseEndpoint(s string) (conn.Endpoint, error) {
	return (*conn.StdNetBind)(nil).ParseEndpoint(s)
}

// BatchSize implements conn.Bind.
func (f *families) BatchSize() int { return (*conn.StdNetBind)(nil).BatchSize() }
