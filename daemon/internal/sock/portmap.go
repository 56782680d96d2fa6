package sock

import (
	"context"
	"net/netip"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/portmap"
)

// port is the router's port that leads to ours, where the router gives out any.
type port struct {
	ours  uint16             // that the router is asked to lead to; 0: none yet
	at    netip.AddrPort     // where it does; not valid: nowhere
	moved chan struct{}      // has one when it is to be asked anew
	stop  context.CancelFunc // gives it back
}

// led is where the router leads to a port of ours.
type led struct {
	ours uint16
	at   netip.AddrPort
}

// askPort has the router asked for a port, or for the one that we have anew: it may be another router.
func (l *loop) askPort() {
	p, ours := &l.port, l.Port()
	if ours == 0 || l.cfg.noLocal {
		return
	}
	if ours == p.ours {
		select {
		case p.moved <- struct{}{}:
		default:
		}
		return
	}
	if p.stop != nil {
		p.stop()
	}
	ctx, stop := context.WithCancel(context.Background())
	moved := make(chan struct{}, 1)
	*p = port{ours: ours, moved: moved, stop: stop}
	l.start(func(outer context.Context) {
		defer context.AfterFunc(outer, stop)()
		portmap.Keep(ctx, Marked(l.cfg.Mark), ours, moved, func(g *portmap.Grant) {
			is := led{ours: ours}
			if g != nil {
				l.log.Info("the router leads a port here", "protocol", g.Protocol, "at", g.External, "for", g.Lifetime)
				is.at = g.External
			}
			l.post(func(m *mail) { m.led = &is })
		})
	})
}

// takePort takes the router's answer, unless it is about a port that is ours no more.
func (l *loop) takePort(is led) {
	if is.ours == l.port.ours {
		l.port.at = is.at
		l.setEndpoints()
	}
}

// portEndpoint is where others reach us by the router's port; none where it is not known on the internet either, behind a carrier's
// NAT.
func (l *loop) portEndpoint() []coord.Endpoint {
	at := l.port.at
	if !at.IsValid() || at.Addr().IsPrivate() || !l.valid(at) {
		return nil
	}
	return []coord.Endpoint{{Addr: at, Kind: coord.EndpointSTUN}}
}
