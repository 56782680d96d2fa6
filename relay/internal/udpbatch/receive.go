package udpbatch

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bufferSize holds the longest message. What of a buffer is never written to takes no memory.
const bufferSize = 1 << 16

// controlSize is room for one control message with an int, more than UDP_GRO and UDP_SEGMENT need.
const controlSize = 32

// fewInARow is how many batches come in a row to who is not busy.
const fewInARow = 4

// Receiver receives batches of messages. One goroutine may use it.
type Receiver struct {
	conn *Conn

	headers  []mmsghdr
	iovecs   []unix.Iovec
	names    []name
	controls [][controlSize]byte
	buffers  []byte

	got   int
	used  int // headers that the kernel may have written to
	row   int // calls in a row that gave something
	errno unix.Errno
	read  func(fd uintptr) bool // r.recvmmsg, made once so that nothing is allocated
}

// NewReceiver makes a receiver of up to n messages at a time.
func (c *Conn) NewReceiver(n int) *Receiver {
	r := &Receiver{
		conn:     c,
		headers:  make([]mmsghdr, n),
		iovecs:   make([]unix.Iovec, n),
		names:    make([]name, n),
		controls: make([][controlSize]byte, n),
		buffers:  make([]byte, n*bufferSize),
		used:     n,
	}
	for i := range r.headers {
		h := &r.headers[i]
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovecs[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i][0]
		r.iovecs[i].Base = &r.buffers[i*bufferSize]
		r.iovecs[i].SetLen(bufferSize)
	}
	r.read = r.recvmmsg
	return r
}

// Receive waits for at least one message and gives how many there are; Run has each until the next call.
// An error of the socket that is about an earlier send (unix.ECONNREFUSED) does not end the socket.
func (r *Receiver) Receive() (int, error) {
	if err := r.conn.raw.Read(r.read); err != nil {
		return 0, closed(err)
	}
	if r.errno != 0 {
		return 0, r.errno
	}
	return r.got, nil
}

// recvmmsg takes what there is, and reports false where that is nothing.
func (r *Receiver) recvmmsg(fd uintptr) bool {
	for i := range r.used { // the others are as they were
		r.headers[i].Namelen = unix.SizeofSockaddrInet6
		r.headers[i].SetControllen(controlSize)
	}
	r.used = 1
	for {
		n, errno := r.call(fd)
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			if r.row >= fewInARow {
				r.conn.busy.Store(false)
			}
			r.row = 0
			return false
		}
		if errno != 0 {
			n = 0
		}
		if r.row++; r.row == fewInARow {
			r.conn.busy.Store(true)
		}
		r.got, r.used, r.errno = int(n), min(int(n)+1, len(r.headers)), errno
		return true
	}
}

// call never waits, so that the scheduler need not know of it: being told wakes its watchdog thread, which costs a relay that
// is not busy more than the call itself. A busy one tells it: that thread has others' turn come, too.
func (r *Receiver) call(fd uintptr) (n uintptr, errno unix.Errno) {
	if r.row < fewInARow {
		n, _, errno = unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])), uintptr(len(r.headers)), unix.MSG_DONTWAIT, 0, 0)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])), uintptr(len(r.headers)), unix.MSG_DONTWAIT, 0, 0)
	}
	return n, errno
}

// Run gives the i-th message: one or more datagrams of size bytes, end to end; the last may be shorter.
// A message that the kernel cut off is empty.
func (r *Receiver) Run(i int) (from netip.AddrPort, data []byte, size int) {
	h := &r.headers[i]
	if h.Flags&unix.MSG_TRUNC != 0 {
		return from, nil, 0
	}
	data = r.buffers[i*bufferSize:][:h.n:bufferSize]
	size = len(data)
	if h.Controllen > 0 {
		if s := groSize(r.controls[i][:h.Controllen]); s > 0 {
			size = s
		}
	}
	return readName(&r.names[i]), data, size
}

// groSize reads the one control message that we asked for (UDP_GRO, an int), and 0 from any other.
func groSize(control []byte) int {
	if len(control) < unix.CmsgLen(2) {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	if h.Level != unix.IPPROTO_UDP || h.Type != unix.UDP_GRO {
		return 0
	}
	return int(binary.NativeEndian.Uint16(control[unix.CmsgLen(0):]))
}

// Passing reports whether an error is about a datagram that was sent earlier, and the socket can go on.
func Passing(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno)
}

// Refused reports whether an error says that nothing listened where an earlier datagram went.
func Refused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }
