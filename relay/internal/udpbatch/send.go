package udpbatch

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lookBack is how many waiting messages Add searches for one to the same destination: as many flows may alternate
// without breaking each other's runs.
const lookBack = 8

// quickSend is how many bytes are sent within some 100 µs, also where the receiver is on the same host.
const quickSend = 2 * maxDatagram

// Sender gathers datagrams and sends them together. One goroutine may use it at a time.
type Sender struct {
	conn *Conn

	messages []message
	headers  []mmsghdr
	n        int

	// What sendmmsg works on between two waits for room in the socket.
	at      int
	quick   bool // no more than quickSend
	dropped int
	err     error
	write   func(fd uintptr) bool // s.sendmmsg, made once so that nothing is allocated
}

// message is one or more datagrams of one size to one destination.
type message struct {
	to    netip.AddrPort
	size  int  // of each datagram but the last
	total int  // bytes
	count int  // datagrams
	ended bool // the last is shorter: nothing may follow

	nameLen uint32
	name    name
	control [controlSize]byte
	iovecs  [maxSegments]unix.Iovec // each holds whole datagrams
	parts   int
}

// NewSender makes a sender that gathers up to n messages (not datagrams) before it flushes by itself.
func (c *Conn) NewSender(n int) *Sender {
	s := &Sender{conn: c, messages: make([]message, n), headers: make([]mmsghdr, n)}
	for i := range s.messages {
		m, h := &s.messages[i], &s.headers[i]
		h.Name = (*byte)(unsafe.Pointer(&m.name))
		h.Iov = &m.iovecs[0]
		c := (*unix.Cmsghdr)(unsafe.Pointer(&m.control[0]))
		c.Level, c.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
	}
	s.write = s.sendmmsg
	return s
}

// Add takes a datagram, which must stay as it is until Flush. to does not matter on a socket of Dial.
// Datagrams to one destination keep their order.
func (s *Sender) Add(to netip.AddrPort, b []byte) {
	if len(b) == 0 || len(b) > maxDatagram {
		s.dropped++
		return
	}
	for i := s.n - 1; i >= 0 && i >= s.n-lookBack; i-- {
		if m := &s.messages[i]; m.to == to {
			if len(b) <= int(s.conn.gsoLimit.Load()) && m.extend(b) {
				return
			}
			break
		}
	}
	if s.n == len(s.messages) {
		s.flush()
	}
	m := &s.messages[s.n]
	if !s.conn.connected {
		if m.nameLen = s.conn.writeName(&m.name, to); m.nameLen == 0 {
			s.dropped++
			return
		}
	}
	m.to, m.size, m.total, m.count, m.ended, m.parts = to, len(b), len(b), 1, false, 1
	m.iovecs[0].Base = &b[0]
	m.iovecs[0].SetLen(len(b))
	s.n++
}

func (m *message) extend(b []byte) bool {
	if m.ended || len(b) > m.size || m.count == maxSegments || m.total+len(b) > maxDatagram {
		return false
	}
	last := &m.iovecs[m.parts-1]
	if end := unsafe.Add(unsafe.Pointer(last.Base), int(last.Len)); end == unsafe.Pointer(&b[0]) {
		last.SetLen(int(last.Len) + len(b)) // they lie end to end, as they came
	} else {
		m.iovecs[m.parts].Base = &b[0]
		m.iovecs[m.parts].SetLen(len(b))
		m.parts++
	}
	m.total += len(b)
	m.count++
	m.ended = len(b) < m.size
	return true
}

// Flush sends what was added. It waits while the socket has no room. It gives how many datagrams were lost since
// the last Flush, and an error that says why the last of them was; net.ErrClosed means that the socket is.
func (s *Sender) Flush() (dropped int, err error) {
	s.flush()
	dropped, err = s.dropped, s.err
	s.dropped, s.err = 0, nil
	return dropped, err
}

func (s *Sender) flush() {
	bytes := 0
	for i := range s.n {
		m, h := &s.messages[i], &s.headers[i]
		bytes += m.total
		h.Namelen = m.nameLen
		h.SetIovlen(m.parts)
		h.Control = nil
		h.SetControllen(0)
		if m.count > 1 {
			binary.NativeEndian.PutUint16(m.control[unix.CmsgLen(0):], uint16(m.size))
			h.Control = &m.control[0]
			h.SetControllen(unix.CmsgSpace(2))
		}
	}
	s.at, s.quick = 0, bytes <= quickSend
	if s.n > 0 {
		if err := s.conn.raw.Write(s.write); err != nil {
			s.err = closed(err)
			for _, m := range s.messages[s.at:s.n] {
				s.dropped += m.count
			}
		}
	}
	for i := range s.n { // hold on to nobody's memory
		m := &s.messages[i]
		clear(m.iovecs[:m.parts])
	}
	s.n = 0
}

// sendmmsg sends from s.at on. It reports false to wait for room.
func (s *Sender) sendmmsg(fd uintptr) bool {
	retried := false
	for s.at < s.n {
		n, errno := s.call(fd)
		if errno == 0 {
			s.at += int(n)
			continue
		}
		m := &s.messages[s.at]
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			return false
		case errno == unix.ECONNREFUSED && !retried:
			retried = true // the error is of an earlier datagram, and taken by this call
			continue
		case m.count > 1 && (errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE):
			s.uncut(errno, m)
			s.singly(fd, m)
		default:
			s.dropped += m.count
			s.err = errno
		}
		retried = false
		s.at++
	}
	return true
}

// call sends from s.at on. The scheduler is told where it takes a while, or the socket is busy; see Receiver.call.
func (s *Sender) call(fd uintptr) (n uintptr, errno unix.Errno) {
	rest := uintptr(s.n - s.at)
	if s.quick && !s.conn.busy.Load() {
		n, _, errno = unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.headers[s.at])), rest, unix.MSG_DONTWAIT, 0, 0)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.headers[s.at])), rest, unix.MSG_DONTWAIT, 0, 0)
	}
	return n, errno
}

// uncut learns from a message that the kernel would not cut: the network card cannot (EIO, the checksum), or the
// datagrams are longer than the path's MTU, where only single ones may be fragmented.
func (s *Sender) uncut(errno unix.Errno, m *message) {
	if errno == unix.EIO {
		s.conn.gsoLimit.Store(0)
	} else if s.conn.connected {
		s.conn.gsoLimit.Store(int32(m.size - 1))
	}
}

// singly sends a message's datagrams one by one. What has no room is lost: this path is rare, and not to be waited in.
func (s *Sender) singly(fd uintptr, m *message) {
	var h mmsghdr
	var v unix.Iovec
	h.Msghdr = s.headers[s.at].Msghdr
	h.Control = nil
	h.SetControllen(0)
	h.Iov = &v
	h.SetIovlen(1)
	for _, part := range m.iovecs[:m.parts] {
		b := unsafe.Slice(part.Base, int(part.Len))
		for len(b) > 0 {
			d := b[:min(m.size, len(b))]
			b = b[len(d):]
			v.Base = &d[0]
			v.SetLen(len(d))
			_, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&h)), 1, unix.MSG_DONTWAIT, 0, 0)
			if errno != 0 {
				s.dropped++
				s.err = errno
			}
		}
	}
}
