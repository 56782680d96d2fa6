package udpbatch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxDatagram is what fits into one message over IPv4, however many datagrams that is: 65,535 - 20 - 8.
	maxDatagram = 65507

	// maxSegments is UDP_MAX_SEGMENTS of the kernels before 6.8; later ones take 128.
	maxSegments = 64

	// socketBuffer holds some 25 ms of 2 Gbit/s. Without CAP_NET_ADMIN the kernel gives what net.core.rmem_max allows.
	socketBuffer = 7 << 20
)

// Control prepares a socket, as in net.ListenConfig.
type Control func(network, address string, c syscall.RawConn) error

// Conn is a UDP socket.
type Conn struct {
	udp       *net.UDPConn
	raw       syscall.RawConn
	inet6     bool // the socket's family, which addresses must be written for
	connected bool

	gsoLimit atomic.Int32 // largest datagram that the kernel cuts for us; 0: none
	busy     atomic.Bool  // the receiver did not wait for its last few batches
}

// Listen opens n sockets on one "host:port"; the kernel gives each the datagrams of some of the senders, always the same.
// Without a host they take both address families, where the host has both. control prepares each; nil: nothing is to prepare.
func Listen(ctx context.Context, address string, n int, control Control) ([]*Conn, error) {
	// The first takes the port for itself: that another program has it must not go unnoticed. Only then others may share it.
	first, err := open(ctx, address, control)
	if err != nil {
		return nil, err
	}
	all := []*Conn{first}
	if n > 1 {
		_ = first.raw.Control(func(fd uintptr) { _ = share(fd) })
		address = first.udp.LocalAddr().String()
	}
	for len(all) < n {
		next, err := open(ctx, address, func(network, address string, c syscall.RawConn) (err error) {
			if control != nil {
				if err := control(network, address, c); err != nil {
					return err
				}
			}
			if e := c.Control(func(fd uintptr) { err = share(fd) }); e != nil {
				return e
			}
			return err
		})
		if err != nil {
			break // a kernel that cannot: one does it all
		}
		all = append(all, next)
	}
	return all, nil
}

func share(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

func open(ctx context.Context, address string, control Control) (*Conn, error) {
	lc := net.ListenConfig{Control: control}
	pc, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	return newConn(pc.(*net.UDPConn), false)
}

// Dial opens a socket that speaks with one address only, and hears when nothing listens there.
func Dial(ctx context.Context, to netip.AddrPort, control Control) (*Conn, error) {
	d := net.Dialer{Control: control}
	c, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return nil, err
	}
	return newConn(c.(*net.UDPConn), true)
}

func newConn(udp *net.UDPConn, connected bool) (*Conn, error) {
	raw, err := udp.SyscallConn()
	if err != nil {
		_ = udp.Close()
		return nil, err
	}
	c := &Conn{udp: udp, raw: raw, connected: connected}
	err = raw.Control(func(fd uintptr) { c.prepare(int(fd)) })
	if err != nil {
		_ = udp.Close()
		return nil, err
	}
	return c, nil
}

// prepare asks the kernel for what it has. Whatever it refuses we do without.
func (c *Conn) prepare(fd int) {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	c.inet6 = err == nil && family == unix.AF_INET6
	for _, opt := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF, unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, socketBuffer)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); err == nil {
		c.gsoLimit.Store(maxDatagram)
	}
}

// LocalAddr gives the socket's own address.
func (c *Conn) LocalAddr() netip.AddrPort { return unmap(c.udp.LocalAddr().(*net.UDPAddr).AddrPort()) }

// SetReadDeadline ends a Receive that waits until then, with os.ErrDeadlineExceeded. The zero time is never.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.udp.SetReadDeadline(t) }

// ReceiveBuffer gives how many bytes may wait to be received, with the kernel's own share, and how many the socket asked for;
// 0 where the kernel does not say.
func (c *Conn) ReceiveBuffer() (got, wanted int) {
	_ = c.raw.Control(func(fd uintptr) { got, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) })
	return got, 2 * socketBuffer // the kernel doubles what is asked for (socket(7))
}

// Overflowed counts the datagrams that came while the buffer was full, modulo 1<<32: the kernel dropped them.
func (c *Conn) Overflowed() uint32 {
	var info [skMeminfoVars]uint32
	size := uint32(unsafe.Sizeof(info))
	_ = c.raw.Control(func(fd uintptr) {
		_, _, _ = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	return info[skMeminfoDrops]
}

// Of linux/sock_diag.h: the place of the drops in what SO_MEMINFO gives, and how many places there are.
const (
	skMeminfoDrops = 8
	skMeminfoVars  = 9
)

// DisableOffloads makes the socket receive and send each datagram as a message of its own, as on old kernels.
func (c *Conn) DisableOffloads() {
	c.gsoLimit.Store(0)
	_ = c.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 0) })
}

// Close closes the socket; who waits in Receive or Flush gets net.ErrClosed.
func (c *Conn) Close() error { return c.udp.Close() }

// mmsghdr is struct mmsghdr of recvmmsg(2). Go pads it as C does.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// name is room for an address of either family.
type name = unix.RawSockaddrInet6

func swap(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// readName reads what the kernel wrote.
func readName(n *name) netip.AddrPort {
	switch n.Family {
	case unix.AF_INET:
		n4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		return netip.AddrPortFrom(netip.AddrFrom4(n4.Addr), swap(n4.Port))
	case unix.AF_INET6:
		a := netip.AddrFrom16(n.Addr).Unmap()
		if n.Scope_id != 0 && a.IsLinkLocalUnicast() {
			a = a.WithZone(zone(n.Scope_id))
		}
		return netip.AddrPortFrom(a, swap(n.Port))
	}
	return netip.AddrPort{}
}

// writeName writes an address for the socket's family, and gives its length; 0 where the family cannot reach it.
func (c *Conn) writeName(n *name, a netip.AddrPort) uint32 {
	if !c.inet6 {
		if !a.Addr().Is4() {
			return 0
		}
		n4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		*n4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swap(a.Port()), Addr: a.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	*n = name{Family: unix.AF_INET6, Port: swap(a.Port()), Addr: a.Addr().As16()}
	if z := a.Addr().Zone(); z != "" {
		n.Scope_id = scope(z)
	}
	return unix.SizeofSockaddrInet6
}

// closed gives a RawConn's error the name that package net has for it.
func closed(err error) error {
	if err != nil && errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	return err
}
