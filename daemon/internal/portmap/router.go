package portmap

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/ipc"
)

// Control prepares a socket, as in net.Dialer.
type Control = func(network, address string, c syscall.RawConn) error

// Router is a gateway that may be asked for ports.
type Router struct {
	Gateway
	Control Control // nil: none
}

const (
	// lifetimeWanted is RFC 6886's recommendation (section 3.3). It is renewed at half of it.
	lifetimeWanted = 2 * time.Hour
	lifetimeMost   = 24 * time.Hour
)

// waits are the times for an answer to each try of PCP and NAT-PMP: both begin with 250 ms and double (RFC 6886, section 3.1).
var waits = [...]time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}

// protocols in the order in which they are wanted: PCP says the most, UPnP costs the most.
const (
	PCP    = "PCP"
	NATPMP = "NAT-PMP"
	UPnP   = "UPnP-IGD"
)

func (r Router) listen(ctx context.Context) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: r.Control}
	pc, err := lc.ListenPacket(ctx, "udp4", net.JoinHostPort(r.Self.String(), "0"))
	if err != nil {
		return nil, err
	}
	return pc.(*net.UDPConn), nil
}

// ask sends a request to the router's port of PCP until parse takes an answer of the router's.
func (r Router) ask(ctx context.Context, request []byte, parse func([]byte) error) error {
	conn, err := r.listen(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	to := netip.AddrPortFrom(r.Addr, pcpPort)
	b := make([]byte, 1100) // RFC 6887, section 7: no message is longer
	for _, wait := range waits {
		if _, err := conn.WriteToUDPAddrPort(request, to); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				break
			}
			if netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != to {
				continue
			}
			if err := parse(b[:n]); err != errNoAnswer { //nolint:errorlint // the very value: anything else is an answer
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errNoAnswer
}

// Probe asks by which protocols the router gives out ports, without asking for one. It takes at most the time of waits.
func (r Router) Probe(ctx context.Context) []ipc.NetcheckPort {
	ctx, cancel := context.WithTimeout(ctx, waits[0]+waits[1]+waits[2])
	defer cancel()
	found := []ipc.NetcheckPort{{Protocol: PCP}, {Protocol: NATPMP}, {Protocol: UPnP}}
	var work sync.WaitGroup
	for i, probe := range []func(context.Context) (string, error){r.probePCP, r.probeNATPMP, r.probeUPnP} {
		work.Go(func() {
			detail, err := probe(ctx)
			found[i].Answers = ipc.Yes
			if ctx.Err() != nil && err != nil {
				err = errNoAnswer
			}
			if err != nil {
				found[i].Answers, detail = ipc.No, err.Error()
			}
			found[i].Detail = detail
		})
	}
	work.Wait()
	return found
}

func (r Router) probePCP(ctx context.Context) (string, error) {
	return "", r.ask(ctx, appendPCP(nil, pcpAnnounce, 0, r.Self), func(b []byte) error {
		_, err := pcpResult(b, pcpAnnounce)
		if len(b) >= 2 && b[0] != pcpVersion && b[1] == pcpReply|pcpAnnounce {
			return fmt.Errorf("%w: it speaks NAT-PMP only", errRefused)
		}
		return err
	})
}

func (r Router) probeNATPMP(ctx context.Context) (detail string, err error) {
	err = r.ask(ctx, []byte{natpmpVersion, natpmpExternal}, func(b []byte) error {
		addr, err := parseNATPMPExternal(b)
		if err == nil {
			detail = addr.String()
		}
		return err
	})
	return detail, err
}

func (r Router) probeUPnP(ctx context.Context) (string, error) {
	s, err := r.findService(ctx)
	return s.name, err
}

func (r Router) mapPCP(ctx context.Context, n nonce, port uint16, suggest netip.AddrPort, lifetime time.Duration) (m Mapping, err error) {
	err = r.ask(ctx, appendPCPMap(nil, n, netip.AddrPortFrom(r.Self, port), suggest, lifetime), func(b []byte) (err error) {
		m, err = parsePCPMap(b, n, port)
		return err
	})
	return m, err
}

func (r Router) mapNATPMP(ctx context.Context, port, suggest uint16, lifetime time.Duration) (Mapping, error) {
	var addr netip.Addr
	err := r.ask(ctx, []byte{natpmpVersion, natpmpExternal}, func(b []byte) (err error) {
		addr, err = parseNATPMPExternal(b)
		return err
	})
	if err != nil {
		return Mapping{}, err
	}
	var external uint16
	var got time.Duration
	err = r.ask(ctx, appendNATPMPMap(nil, port, suggest, lifetime), func(b []byte) (err error) {
		external, got, err = parseNATPMPMap(b, port)
		return err
	})
	if err != nil {
		return Mapping{}, err
	}
	return granted(addr, external, got)
}

func newNonce() (n nonce) {
	_, _ = rand.Read(n[:])
	return n
}
