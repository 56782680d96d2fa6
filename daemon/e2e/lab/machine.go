package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
)

// Machine is a host or a router: a namespace with one link to a segment.
type Machine struct {
	net    *Net
	name   string
	ns     string
	dev    string  // the interface of its link: eth0, or a router's wan
	id     int     // marks its packets for faults between two machines
	behind *Router // the router that this machine is, or nil

	// Where it is now: changed by Readdress and MoveTo.
	uplink      *Segment
	addr, addr6 netip.Addr
}

// takenNames are those of interfaces and namespaces that a lab has itself.
var takenNames = []string{"lo", "lan", "wan", "eth0", "internet"}

func (n *Net) addMachine(name, dev string, settings map[string]string) *Machine {
	n.t.Helper()
	if !validName.MatchString(name) || slices.Contains(takenNames, name) {
		n.t.Fatalf("lab: a machine's name must be up to 12 lower-case letters, digits and dashes, and none of %v, but this is %q", takenNames, name)
	}
	m := &Machine{net: n, name: name, ns: n.id + name, dev: dev}
	n.mu.Lock()
	n.machines = append(n.machines, m)
	m.id = len(n.machines)
	n.mu.Unlock()
	n.addNamespace(m.ns, settings)
	return m
}

// Name returns the name given to Host or Router.
func (m *Machine) Name() string { return m.name }

// Namespace returns the name that `ip netns exec` takes.
func (m *Machine) Namespace() string { return m.ns }

// Device returns the name of the interface to its segment.
func (m *Machine) Device() string { return m.dev }

// Addr returns its IPv4 address on its segment; for a router that is its public side.
func (m *Machine) Addr() netip.Addr { return m.addr }

// Addr6 returns its global IPv6 address; it is not valid if the segment has none.
func (m *Machine) Addr6() netip.Addr { return m.addr6 }

// Dir returns a directory of the machine's own, removed at the end. Its path is
// short enough for a Unix socket.
func (m *Machine) Dir() string {
	m.net.t.Helper()
	dir := filepath.Join(m.net.dir, m.name)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		m.net.t.Fatalf("lab: %v", err)
	}
	return dir
}

// Do runs f on the machine's network. Sockets that f opens belong to the machine for
// good; goroutines that f starts do not run there.
func (m *Machine) Do(f func() error) error { return inNamespace(m.ns, f) }

// DialContext connects from the machine to an address (not a name, which would be
// looked up elsewhere). It fits http.Transport.
func (m *Machine) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = m.Do(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Dial is DialContext without a context.
func (m *Machine) Dial(network, address string) (net.Conn, error) {
	return m.DialContext(context.Background(), network, address)
}

// Listen listens for streams on the machine.
func (m *Machine) Listen(network, address string) (l net.Listener, err error) {
	err = m.Do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// ListenUDP opens a UDP socket on the machine; port 0 is any.
func (m *Machine) ListenUDP(port uint16) (conn *net.UDPConn, err error) {
	err = m.Do(func() error {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
		return err
	})
	return conn, err
}

// Ping sends an echo request and waits a second for its answer, Patience times at the most.
func (m *Machine) Ping(to netip.Addr) (err error) {
	for range Patience {
		if _, err = m.Run("ping", "-n", "-c", "1", "-W", "1", to.String()); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s gets no answer from %v: %w", m.name, to, err)
}
