package portmap

import (
	"context"
	"net/netip"
	"time"
)

const (
	askTime     = 15 * time.Second // for asking a router by all protocols
	releaseTime = time.Second      // for giving a port back at the end
	renewLeast  = time.Minute      // between two renewals, whatever lifetime the router grants
)

// Keep has the router lead a port to ours until ctx ends, and then gives it back. told gets the one that leads here
// whenever its address is another; nil: there is none. It asks anew when half of the port's time is over, and when moved has one:
// the router may be another. A router that gives out no ports is asked again only then.
func Keep(ctx context.Context, control Control, port uint16, moved <-chan struct{}, told func(*Grant)) {
	k := keeping{router: Router{Control: control}, port: port}
	defer k.release(ctx)
	for at := (netip.AddrPort{}); ; {
		k.ask(ctx)
		select {
		case <-moved: // meanwhile: that was another router's, perhaps
			continue
		default:
		}
		now, renew := netip.AddrPort{}, (<-chan time.Time)(nil)
		if k.grant != nil {
			now, renew = k.grant.External, time.After(max(k.grant.Lifetime/2, renewLeast))
		}
		if now != at {
			at = now
			told(k.grant)
		}
		select {
		case <-ctx.Done():
			return
		case <-moved:
		case <-renew:
		}
	}
}

type keeping struct {
	router Router
	port   uint16
	grant  *Grant // nil: none
}

// ask asks the router that there is now. Another than before knows nothing of what that one granted.
func (k *keeping) ask(ctx context.Context) {
	gw, err := FindGateway()
	if err != nil {
		k.grant = nil
		return
	}
	if gw.Addr != k.router.Addr {
		k.grant = nil
	}
	k.router.Gateway = gw
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if grant, err := k.router.Map(asking, k.port, k.grant); err == nil || ctx.Err() == nil {
		k.grant = grant
	}
}

func (k *keeping) release(ctx context.Context) {
	if k.grant == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	_ = k.router.Release(ctx, k.grant) // else its time ends by itself
}
