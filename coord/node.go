package coord

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

// Bounds on what a machine may say of itself and a server of a machine. Both ends hold them.
const (
	MaxNameLength = 63 // one DNS label (RFC 1035, section 2.3.4)
	MaxEndpoints  = 16 // more candidates than that is no machine but a scan order
	MaxVersion    = 64 // bytes of Node.Version and Node.OS
	MaxAddrs      = 2  // one IPv4, one IPv6
	MaxTags       = 32
	MaxRoutes     = 64 // subnets behind one machine
	MaxRelayAddrs = 8  // at which one machine relays: each is asked by whoever may need it
)

// NodeID numbers a machine within its network. It is never used again.
type NodeID int64

// RelayID numbers a relay within its network. 0 is none.
type RelayID int32

// User is the account that a machine belongs to, as others see it.
type User struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
}

// EndpointKind says how a machine learned of one of its endpoints.
type EndpointKind string

// The kinds of endpoints.
const (
	EndpointLocal EndpointKind = "local" // an address of one of its interfaces
	EndpointSTUN  EndpointKind = "stun"  // as a STUN server saw it (RFC 8489)
)

// Endpoint is an address at which a machine may be reached.
type Endpoint struct {
	Addr netip.AddrPort `json:"addr"`
	Kind EndpointKind   `json:"kind"`
}

// Node is a machine of the network, as the others see it.
type Node struct {
	ID    NodeID         `json:"id"`
	Name  string         `json:"name"` // one DNS label, unique in the network
	Key   key.NodePublic `json:"key"`
	User  User           `json:"user,omitzero"`
	Addrs []netip.Addr   `json:"addrs"` // its addresses in the network, IPv4 first
	Tags  []string       `json:"tags,omitempty"`

	// Routes are what lies behind the machine, as approved: subnets of its site, and 0.0.0.0/0 and ::/0 if it is an
	// exit node. Several machines may lead to one subnet. Of a peer they are those that Self may use, or be reached from.
	Routes []netip.Prefix `json:"routes,omitempty"`
	// Cut are those of Routes that the machine says it does not reach itself now.
	Cut []netip.Prefix `json:"cut,omitempty"`

	OS      string    `json:"os,omitempty"`
	Version string    `json:"version,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"` // zero: never

	// What the machine last said of itself, and what the server last saw of it.
	Disco     key.DiscoPublic `json:"disco,omitzero"`
	Endpoints []Endpoint      `json:"endpoints,omitempty"`
	Relay     RelayID         `json:"relay,omitempty"` // its home relay, where others reach it
	Doubt     RelayID         `json:"doubt,omitempty"` // a relay where it just looked in vain for a peer whose home that is; who is there asks it
	Online    bool            `json:"online,omitempty"`
	LastSeen  time.Time       `json:"lastSeen,omitzero"` // zero while online

	// Relaying is set where the machine relays for others: it offers to, and an admin allows it. It is nobody's home.
	Relaying *Relaying `json:"relaying,omitempty"`
}

// Relaying is how a machine relays, over UDP alone. Not everybody may reach it there: a pair of machines uses it after a
// packet of each has come through to the other.
type Relaying struct {
	Key   key.RelayPublic  `json:"key"`
	Addrs []netip.AddrPort `json:"addrs"` // where it may be reached, of which some may lead nowhere
}

// Validate refuses what nobody can relay with. n may be nil where the network is not known yet.
func (r *Relaying) Validate(n *Network) error {
	switch {
	case r == nil:
		return nil
	case r.Key.IsZero():
		return fmt.Errorf("%w relay: it has no key", ErrInvalid)
	case len(r.Addrs) > MaxRelayAddrs:
		return fmt.Errorf("%w relay: it has %d addresses, %d at the most", ErrInvalid, len(r.Addrs), MaxRelayAddrs)
	}
	for _, a := range r.Addrs {
		if !ValidEndpoint(a, n) {
			return fmt.Errorf("%w relay: %s cannot be a machine's", ErrInvalid, a)
		}
	}
	return nil
}

// Relay is a relay that the network's machines may use.
type Relay struct {
	ID   RelayID         `json:"id"`
	Name string          `json:"name"`
	Key  key.RelayPublic `json:"key"`
	UDP  string          `json:"udp,omitempty"`  // "host:port" of relaying and STUN over UDP
	URL  string          `json:"url,omitempty"`  // "https://host:port/…" of relaying over WebSocket
	Cert []byte          `json:"cert,omitempty"` // SHA-256 of its TLS certificate, where no public authority vouches for it
}

// Network is what is common to all machines.
type Network struct {
	Name   string       `json:"name"`
	Suffix string       `json:"suffix"` // machines answer as NAME.Suffix
	IPv4   netip.Prefix `json:"ipv4"`
	IPv6   netip.Prefix `json:"ipv6"`
}

// Validate refuses a network without addresses, and one whose addresses are as wide as the internet: a machine reaches
// them through the network, whatever exit node its person has chosen or not.
func (n *Network) Validate() error {
	switch {
	case !n.IPv4.IsValid() && !n.IPv6.IsValid():
		return fmt.Errorf("%w network: it has no address range", ErrInvalid)
	case n.IPv4.IsValid() && (!n.IPv4.Addr().Is4() || n.IPv4.Bits() < minRouteBits4):
		return fmt.Errorf("%w network: %s is no range of IPv4 addresses, or wider than /%d", ErrInvalid, n.IPv4, minRouteBits4)
	case n.IPv6.IsValid() && (!n.IPv6.Addr().Is6() || n.IPv6.Addr().Is4In6() || n.IPv6.Bits() < minRouteBits6):
		return fmt.Errorf("%w network: %s is no range of IPv6 addresses, or wider than /%d", ErrInvalid, n.IPv6, minRouteBits6)
	}
	return nil
}

// ErrInvalid is wrapped by every error of Validate.
var ErrInvalid = errors.New("invalid")

// ValidName reports whether s can name a machine: a lower-case DNS label of letters, digits and inner hyphens
// (RFC 1123, section 2.1).
func ValidName(s string) bool {
	if s == "" || len(s) > MaxNameLength || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// CleanName makes a valid name of a host's name, and "machine" where nothing of it can serve.
func CleanName(hostname string) string {
	hostname, _, _ = strings.Cut(strings.ToLower(hostname), ".")
	var b strings.Builder
	for _, c := range []byte(hostname) {
		if (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') {
			b.WriteByte(c)
		} else if b.Len() > 0 {
			b.WriteByte('-')
		}
		if b.Len() == MaxNameLength {
			break
		}
	}
	if name := strings.TrimRight(b.String(), "-"); name != "" {
		return name
	}
	return "machine"
}

// Validate holds a node against every bound that it must keep inside network n.
func (nd *Node) Validate(n *Network) error {
	switch {
	case nd.ID <= 0:
		return fmt.Errorf("%w node: its id is %d", ErrInvalid, nd.ID)
	case !ValidName(nd.Name):
		return fmt.Errorf("%w node %d: its name is no lower-case DNS label", ErrInvalid, nd.ID)
	case nd.Key.IsZero():
		return fmt.Errorf("%w node %s: it has no key", ErrInvalid, nd.Name)
	case len(nd.Addrs) == 0 || len(nd.Addrs) > MaxAddrs:
		return fmt.Errorf("%w node %s: it has %d addresses", ErrInvalid, nd.Name, len(nd.Addrs))
	case len(nd.Tags) > MaxTags:
		return fmt.Errorf("%w node %s: it has %d tags", ErrInvalid, nd.Name, len(nd.Tags))
	case len(nd.OS) > MaxVersion || len(nd.Version) > MaxVersion:
		return fmt.Errorf("%w node %s: its version is too long", ErrInvalid, nd.Name)
	}
	for _, a := range nd.Addrs {
		if !n.IPv4.Contains(a) && !n.IPv6.Contains(a) {
			return fmt.Errorf("%w node %s: its address %s is not of the network", ErrInvalid, nd.Name, a)
		}
	}
	if err := ValidateRoutes(nd.Routes, n); err != nil {
		return fmt.Errorf("node %s: %w", nd.Name, err)
	}
	if len(nd.Cut) > MaxRoutes {
		return fmt.Errorf("%w node %s: %d of its routes are cut, of %d", ErrInvalid, nd.Name, len(nd.Cut), len(nd.Routes))
	}
	if err := nd.Relaying.Validate(n); err != nil {
		return fmt.Errorf("node %s: %w", nd.Name, err)
	}
	return ValidateEndpoints(nd.Endpoints, n)
}

// IsExit reports whether the machine leads to the internet, over IPv4 or IPv6.
func (nd *Node) IsExit() bool {
	return slices.ContainsFunc(nd.Routes, IsExitRoute)
}

// IsExitRoute reports whether the route is 0.0.0.0/0 or ::/0: what an exit node offers.
func IsExitRoute(p netip.Prefix) bool { return p.IsValid() && p.Bits() == 0 }

// The shortest subnets that are no way around an exit node's approval, such as 0.0.0.0/1.
const (
	minRouteBits4 = 8
	minRouteBits6 = 16
)

// ValidateRoutes refuses routes that no machine can lead to: more than MaxRoutes, twice the same, with bits below the
// mask, IPv4 in IPv6; loopback, link-local, multicast and reserved addresses; what overlaps the network's own addresses;
// and, but for an exit node's own two, those that are as wide as the internet. n may be nil where the network is not known yet.
func ValidateRoutes(ps []netip.Prefix, n *Network) error {
	if len(ps) > MaxRoutes {
		return fmt.Errorf("%w routes: there are %d, %d at the most", ErrInvalid, len(ps), MaxRoutes)
	}
	for i, p := range ps {
		if why := badRoute(p, n); why != "" {
			return fmt.Errorf("%w route %s: %s", ErrInvalid, p, why)
		}
		if slices.Contains(ps[:i], p) {
			return fmt.Errorf("%w route %s: it is there twice", ErrInvalid, p)
		}
	}
	return nil
}

// notRoutable are addresses that mean something else on each host or each link (RFC 6890).
var notRoutable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/16"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// badRoute says why nobody can lead to p; empty: somebody may.
func badRoute(p netip.Prefix, n *Network) string {
	switch {
	case !p.IsValid():
		return "it is no prefix"
	case p.Addr().Is4In6():
		return "write it as IPv4"
	case p != p.Masked():
		return fmt.Sprintf("it has bits below its mask; is %s meant?", p.Masked())
	case IsExitRoute(p):
		return ""
	case p.Addr().Is4() && p.Bits() < minRouteBits4, p.Addr().Is6() && p.Bits() < minRouteBits6:
		return "it is wider than any site; what leads to the internet is an exit node"
	case n != nil && (p.Overlaps(n.IPv4) || p.Overlaps(n.IPv6)):
		return "it overlaps the network's own addresses"
	}
	for _, bad := range notRoutable {
		if p.Overlaps(bad) {
			return "such addresses are never routed"
		}
	}
	return ""
}

// ValidateEndpoints refuses endpoints that no machine can have, or that would aim probes at what is not a machine:
// more than MaxEndpoints, port 0, unspecified, loopback, multicast, broadcast, and the network's own addresses.
// n may be nil where the network is not known yet.
func ValidateEndpoints(eps []Endpoint, n *Network) error {
	if len(eps) > MaxEndpoints {
		return fmt.Errorf("%w endpoints: there are %d, %d at the most", ErrInvalid, len(eps), MaxEndpoints)
	}
	for _, e := range eps {
		if !ValidEndpoint(e.Addr, n) {
			return fmt.Errorf("%w endpoint: %s cannot be a machine's", ErrInvalid, e.Addr)
		}
	}
	return nil
}

// ValidEndpoint reports whether probes may be sent to the address; see ValidateEndpoints.
func ValidEndpoint(ap netip.AddrPort, n *Network) bool {
	a := ap.Addr()
	switch {
	case !ap.IsValid() || ap.Port() == 0 || a.Is4In6() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast():
		return false
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return false
	case a.Is4() && a.As4()[0] == 0:
		return false
	case a.Is6() && a.IsLinkLocalUnicast(): // useless without the zone, which only its own machine knows
		return false
	case n != nil && (n.IPv4.Contains(a) || n.IPv6.Contains(a)):
		return false
	}
	return true
}
