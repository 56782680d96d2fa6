package engine

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/sock"
)

// lookups finds the coordination server and relays by name. While there is an exit node or a lockdown, it asks the host's own
// nameservers past it: names that are needed for a way to the exit node cannot be looked up through it.
type lookups struct {
	servers atomic.Pointer[[]netip.AddrPort] // nil or none: whom the host's programs ask
	turn    atomic.Uint32
}

// lookupTime is how long one nameserver may take; Go's resolver then asks again, and so the next one.
const lookupTime = 5 * time.Second

// ask says whom to ask from now on.
func (l *lookups) ask(servers []netip.AddrPort) { l.servers.Store(&servers) }

func (l *lookups) resolver() *net.Resolver { return &net.Resolver{PreferGo: true, Dial: l.dial} }

func (l *lookups) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: lookupTime, Control: sock.Marked(core.Mark)}
	if servers := l.servers.Load(); servers != nil && len(*servers) > 0 {
		address = (*servers)[int(l.turn.Add(1)-1)%len(*servers)].String()
	}
	return d.DialContext(ctx, network, address)
}
