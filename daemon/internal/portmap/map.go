package portmap

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Grant is a port that a router gave us.
type Grant struct {
	Mapping
	Protocol string
	Ends     time.Time

	port    uint16 // ours
	nonce   nonce
	service service
}

// ErrNoMapping says that the router gives out no ports, by any protocol.
var ErrNoMapping = errors.New("the router gives out no ports (PCP, NAT-PMP, UPnP-IGD)")

// Map asks for a port that leads to ours, by each protocol in turn until one serves. What is granted before, if anything, is
// renewed: the same port by the same protocol, if the router still can. It takes some seconds where nothing answers.
func (r Router) Map(ctx context.Context, port uint16, before *Grant) (*Grant, error) {
	g := &Grant{port: port, nonce: newNonce()}
	protocols := []string{PCP, NATPMP, UPnP}
	if before != nil && before.port == port {
		g.nonce, g.Mapping, g.service = before.nonce, before.Mapping, before.service
		protocols = append([]string{before.Protocol}, protocols...)
	}
	for _, g.Protocol = range protocols {
		m, err := r.request(ctx, g)
		if err == nil {
			g.Mapping, g.Ends = m, time.Now().Add(m.Lifetime)
			return g, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, ErrNoMapping
}

func (r Router) request(ctx context.Context, g *Grant) (Mapping, error) {
	suggest := g.External
	if !suggest.IsValid() {
		suggest = netip.AddrPortFrom(netip.IPv4Unspecified(), g.port)
	}
	switch g.Protocol {
	case PCP:
		return r.mapPCP(ctx, g.nonce, g.port, g.External, lifetimeWanted)
	case NATPMP:
		return r.mapNATPMP(ctx, g.port, suggest.Port(), lifetimeWanted)
	}
	if g.service.url == nil {
		ctx, cancel := context.WithTimeout(ctx, upnpTime)
		defer cancel()
		var err error
		if g.service, err = r.findService(ctx); err != nil {
			return Mapping{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, upnpTime)
	defer cancel()
	m, err := r.mapUPnP(ctx, g.service, g.port, suggest.Port())
	if err != nil {
		g.service = service{}
	}
	return m, err
}

// upnpTime is for looking for a service, and for asking it.
const upnpTime = 3 * time.Second

// Release gives a port back.
func (r Router) Release(ctx context.Context, g *Grant) error {
	switch g.Protocol {
	case PCP:
		_, err := r.mapPCP(ctx, g.nonce, g.port, g.External, 0)
		if errors.Is(err, errRefused) { // it is granted no lifetime, which is what was asked for
			err = nil
		}
		return err
	case NATPMP:
		err := r.ask(ctx, appendNATPMPMap(nil, g.port, 0, 0), func(b []byte) error {
			_, _, err := parseNATPMPMap(b, g.port)
			return err
		})
		return err
	}
	return r.deleteUPnP(ctx, g.service, g.External.Port())
}
