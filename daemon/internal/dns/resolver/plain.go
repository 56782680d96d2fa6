package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// maxGarbage is how many wrong datagrams are read over while the right one is waited for: more is an attack.
const maxGarbage = 64

// errGarbage is what an upstream's answer is that is none to the question.
var errGarbage = errors.New("the nameserver's answers do not belong to the question")

// plain asks over UDP, and over TCP where that does not do.
type plain struct {
	addr netip.AddrPort
	mark uint32
}

// Plain is a nameserver as RFC 1035 has it.
func Plain(addr netip.AddrPort) Upstream { return plain{addr: addr} }

// Marked is Plain, asked from sockets with a mark (SO_MARK), for which the host has routes of their own.
func Marked(addr netip.AddrPort, mark uint32) Upstream { return plain{addr, mark} }

// String implements Upstream.
func (p plain) String() string {
	if p.addr.Port() == 53 {
		return p.addr.Addr().String()
	}
	return p.addr.String()
}

// Exchange implements Upstream. The socket is connected and used once, so that the kernel picks a random port for each
// question and takes answers from the server only (RFC 5452, section 9.2).
func (p plain) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	asked := q.Copy()
	asked.Question[0].Name = mixCase(q.Question[0].Name)
	m, err := p.overUDP(ctx, asked)
	switch {
	case err != nil && !errors.Is(err, errGarbage):
		return nil, err
	case err == nil && m.Rcode == dns.RcodeFormatError && q.IsEdns0() != nil: // a server that knows no EDNS (RFC 6891, section 7)
		asked.Extra = nil
		if m, err = p.overUDP(ctx, asked); err != nil {
			return nil, err
		}
	}
	if err == nil && !m.Truncated {
		return m, nil
	}
	asked.Question[0].Name = q.Question[0].Name // a server that does not keep the case is fine over TCP
	return p.overTCP(ctx, asked)
}

// mixCase gives each letter a random case: one more secret that an answer has to repeat (draft-vixie-dnsext-dns0x20).
func mixCase(name string) string {
	b := []byte(name)
	bits := rand.Uint64()
	for i, c := range b {
		if i%64 == 0 && i > 0 {
			bits = rand.Uint64()
		}
		if lower := c | 0x20; lower >= 'a' && lower <= 'z' && bits>>(i%64)&1 == 1 {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}

func (p plain) overUDP(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	conn, release, err := p.dial(ctx, "udp")
	if err != nil {
		return nil, err
	}
	defer release()
	raw, err := q.Pack()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(raw); err != nil {
		return nil, spoken(ctx, err)
	}
	buf := make([]byte, maxUDP)
	for range maxGarbage {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, spoken(ctx, err)
		}
		m, verdict := matches(q, buf[:n])
		switch verdict {
		case isAnswer:
			return m, nil
		case isRespelled:
			return nil, errGarbage
		}
	}
	return nil, errGarbage
}

func (p plain) overTCP(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	conn, release, err := p.dial(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	defer release()
	raw, err := q.Pack()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)); err != nil {
		return nil, spoken(ctx, err)
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, spoken(ctx, err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, spoken(ctx, err)
	}
	m, verdict := matches(q, answer)
	if verdict == isStranger || m.Truncated { // a part that passes for the whole would be believed, and kept
		return nil, errGarbage
	}
	return m, nil
}

// dial connects, for as long as ctx lives.
func (p plain) dial(ctx context.Context, network string) (net.Conn, func(), error) {
	d := net.Dialer{Control: p.control}
	conn, err := d.DialContext(ctx, network, p.addr.String())
	if err != nil {
		return nil, nil, spoken(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() { stop(); _ = conn.Close() }, nil
}

// control gives the socket its mark.
func (p plain) control(_, _ string, c syscall.RawConn) error {
	if p.mark == 0 {
		return nil
	}
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(p.mark))
	}); e != nil {
		return e
	}
	return err
}

// spoken says of an error of the network what matters: that time was up, or what the system said.
func spoken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	return err
}

// verdict says whether a message answers a question.
type verdict int

const (
	isStranger  verdict = iota // it does not
	isRespelled                // it does, but for the case of the name's letters
	isAnswer
)

func matches(q *dns.Msg, raw []byte) (*dns.Msg, verdict) {
	m := new(dns.Msg)
	if len(raw) < 12 || binary.BigEndian.Uint16(raw) != q.Id {
		return nil, isStranger
	}
	if err := m.Unpack(raw); err != nil && !m.Truncated { // what is cut off may be cut in the middle of a record
		return nil, isStranger
	}
	if !m.Response || m.Opcode != dns.OpcodeQuery {
		return nil, isStranger
	}
	want := q.Question[0]
	if len(m.Question) == 0 && m.Rcode == dns.RcodeFormatError {
		return m, isAnswer
	}
	if len(m.Question) != 1 || m.Question[0].Qtype != want.Qtype || m.Question[0].Qclass != want.Qclass ||
		!strings.EqualFold(m.Question[0].Name, want.Name) {
		return nil, isStranger
	}
	if m.Question[0].Name != want.Name {
		return m, isRespelled
	}
	return m, isAnswer
}
