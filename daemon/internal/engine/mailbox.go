package engine

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/sock"
)

// mailbox keeps the newest of what the socket's loop tells, so that neither waits for the other.
type mailbox struct {
	full chan struct{} // signalled after something was put in

	mu        sync.Mutex
	restarted map[key.NodePublic]bool // guarded by mu; whether there was traffic with them
	mtus      map[key.NodePublic]int  // guarded by mu; the newest of each
	local     sock.LocalEndpoints     // guarded by mu
	sited     []netip.Addr            // guarded by mu; what site gave last
}

func newMailbox() *mailbox {
	return &mailbox{full: make(chan struct{}, 1), restarted: map[key.NodePublic]bool{}, mtus: map[key.NodePublic]int{}}
}

func (m *mailbox) put(ev sock.Event) {
	m.mu.Lock()
	switch ev := ev.(type) {
	case sock.LocalEndpoints:
		m.local = ev
	case sock.PeerRestarted:
		m.restarted[ev.Key] = m.restarted[ev.Key] || ev.Active
	case sock.MTUChanged:
		m.mtus[ev.Key] = ev.MTU
	}
	m.mu.Unlock()
	m.look()
}

// look has the engine look at what there is.
func (m *mailbox) look() {
	select {
	case m.full <- struct{}{}:
	default:
	}
}

func (m *mailbox) reach() sock.LocalEndpoints {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.local
}

// site lists the addresses as which others on the internet see this machine: those of the routers before it.
func (m *mailbox) site() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sited = seenAs(m.local.Endpoints)
	return m.sited
}

// moved reports whether site would give others now.
func (m *mailbox) moved() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !slices.Equal(m.sited, seenAs(m.local.Endpoints))
}

func seenAs(endpoints []coord.Endpoint) (addrs []netip.Addr) {
	for _, e := range endpoints {
		if e.Kind != coord.EndpointLocal {
			addrs = append(addrs, e.Addr.Addr().Unmap())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

func (m *mailbox) takeMTUs() map[key.NodePublic]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.mtus
	m.mtus = make(map[key.NodePublic]int)
	return now
}

// takeRestarted gives the peers that have restarted, and whether there was traffic with them.
func (m *mailbox) takeRestarted() map[key.NodePublic]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.restarted
	m.restarted = make(map[key.NodePublic]bool)
	return now
}
