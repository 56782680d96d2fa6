package sock

import (
	"context"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/portmap"
)

const (
	portTime    = 15 * time.Second // for asking a router by all protocols
	releaseTime = time.Second      // for giving a port back at the end
	renewLeast  = time.Minute      // between two renewals, whatever lifetime the router grants
)

// port is the router's port that leads to ours, where the router gives out any.
type port struct {
	router portmap.Router
	grant  *portmap.Grant // nil: none
	asking bool
	stale  bool      // the network changed while it was asked
	next   time.Time // when to ask, or renew; zero: never, before the network is another
}

// portReply is what the router said. A grant of nil stands for a refusal.
type portReply struct {
	router portmap.Router
	grant  *portmap.Grant
}

// askPort asks the router for a port, or for the one that we have anew. A router that gives none is asked again on the next
// network only.
func (l *loop) askPort() {
	p := &l.port
	p.next = time.Time{}
	local := l.Port()
	if local == 0 || l.cfg.noLocal {
		return
	}
	if p.asking {
		p.stale = true
		return
	}
	p.asking = true
	before, of := p.grant, p.router.Addr
	l.start(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, portTime)
		defer cancel()
		var reply portReply
		if gw, err := portmap.FindGateway(); err == nil {
			reply.router = portmap.Router{Gateway: gw, Control: Marked(l.cfg.Mark)}
			if gw.Addr != of {
				before = nil // another router knows nothing of it
			}
			reply.grant, err = reply.router.Map(ctx, local, before)
			if err != nil {
				l.log.Debug("no port of the router's", "router", gw.Addr, "err", err)
			}
		}
		l.post(func(m *mail) { m.port = &reply })
	})
}

// takePort takes the router's answer.
func (l *loop) takePort(r portReply) {
	p := &l.port
	p.asking = false
	if p.stale {
		p.stale = false
		l.askPort()
		return
	}
	p.router, p.grant = r.router, r.grant
	if r.grant != nil {
		l.log.Info("the router leads a port here", "protocol", r.grant.Protocol, "at", r.grant.External, "for", r.grant.Lifetime)
		p.next = l.now.Add(max(r.grant.Lifetime/2, renewLeast))
		l.local.next = earliest(l.local.next, p.next)
	}
	l.setEndpoints()
}

// portEndpoint is where others reach us by the router's port; none where it is not known on the internet either, behind a carrier's
// NAT.
func (l *loop) portEndpoint() []coord.Endpoint {
	g := l.port.grant
	if g == nil || g.External.Addr().IsPrivate() || !l.valid(g.External) {
		return nil
	}
	return []coord.Endpoint{{Addr: g.External, Kind: coord.EndpointSTUN}}
}

// releasePort gives the port back at the end.
func (l *loop) releasePort() {
	if l.port.grant == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
	defer cancel()
	if err := l.port.router.Release(ctx, l.port.grant); err != nil {
		l.log.Debug("the router keeps our port until its time is over", "err", err)
	}
}
