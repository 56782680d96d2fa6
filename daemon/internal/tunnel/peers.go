package tunnel

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/device"

	"github.com/warren-mesh/warren/coord/key"
)

// Peer is a machine that the tunnel talks to.
type Peer struct {
	Key        key.NodePublic
	AllowedIPs []netip.Prefix // what it may send from, and what is sent to it; no two peers have one in common
	Endpoint   string         // for the Bind's ParseEndpoint; empty: none
}

// PeerStats is what the device counted of a peer since the peer was set.
type PeerStats struct {
	LastHandshake time.Time // zero: none
	Rx, Tx        uint64    // bytes of WireGuard messages
}

// ErrNoPeer is returned for a key that no peer has.
var ErrNoPeer = errors.New("the tunnel has no such peer")

// SetPeers makes the device have exactly these peers. It asks the device what it has, so that what somebody changed with
// the wg tool is mended too, and changes the difference only: sessions of peers that stay hold. On an error nothing was
// changed, unless the error comes from the device; then the next call mends it.
func (t *Tunnel) SetPeers(peers []Peer) error {
	wished, err := index(peers, t.self)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return ErrClosed
	}
	if err := t.refresh(); err != nil {
		return err
	}
	var gone []key.NodePublic
	for k := range t.peers {
		if wished[k] == nil {
			gone = append(gone, k)
		}
	}
	return t.apply(wished, gone)
}

// Update sets some peers and removes others, at the cost of those only. AllowedIPs may move from one peer to another in
// one call, whatever the order, also from one that is not named: the last to get them has them.
func (t *Tunnel) Update(set []Peer, remove []key.NodePublic) error {
	wished, err := index(set, t.self)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return ErrClosed
	}
	return t.apply(wished, remove)
}

// apply sends the difference to the device. It is called with mu held.
func (t *Tunnel) apply(wished map[key.NodePublic]*Peer, gone []key.NodePublic) error {
	text := script(t.peers, wished, gone)
	if text == "" {
		return nil
	}
	if err := t.dev.IpcSet(text); err != nil {
		return errors.Join(fmt.Errorf("cannot set the tunnel's peers: %w", err), t.refresh())
	}
	t.tellFirst(wished, gone)
	for _, k := range gone {
		if wished[k] == nil {
			delete(t.peers, k)
		}
	}
	// An allowed IP has one owner: who got it took it from whoever had it.
	owner := make(map[netip.Prefix]key.NodePublic)
	for k, p := range wished {
		for _, a := range p.AllowedIPs {
			owner[a] = k
		}
	}
	if len(owner) > 0 {
		t.disown(owner)
	}
	maps.Copy(t.peers, wished)
	return nil
}

// tellFirst tells the Bind who goes first where handshakes cross.
func (t *Tunnel) tellFirst(wished map[key.NodePublic]*Peer, gone []key.NodePublic) {
	var left []string
	for _, k := range gone {
		if p := t.peers[k]; p != nil && p.Endpoint != "" {
			left = append(left, p.Endpoint)
		}
	}
	first := make(map[string]bool)
	for k, p := range wished {
		if was := t.peers[k]; was != nil && was.Endpoint != "" && was.Endpoint != p.Endpoint {
			left = append(left, was.Endpoint)
		}
		if p.Endpoint != "" {
			first[p.Endpoint] = t.self.Compare(k) > 0
		}
	}
	t.bind.know(first, left)
}

// disown takes the allowed IPs from the peers that lost them.
func (t *Tunnel) disown(owner map[netip.Prefix]key.NodePublic) {
	for k, p := range t.peers {
		lost := func(a netip.Prefix) bool { o, taken := owner[a]; return taken && o != k }
		if slices.ContainsFunc(p.AllowedIPs, lost) {
			q := *p
			q.AllowedIPs = slices.DeleteFunc(slices.Clone(p.AllowedIPs), lost)
			t.peers[k] = &q
		}
	}
}

// refresh asks the device what it has.
func (t *Tunnel) refresh() error {
	have, _, err := t.read()
	if err != nil {
		return err
	}
	for k, p := range have {
		// The Bind may show an endpoint in another way than it was set; what was asked for is what counts.
		if was := t.peers[k]; was != nil {
			p.Endpoint = was.Endpoint
		}
	}
	t.peers = have
	return nil
}

// index checks peers and puts them in the device's form.
func index(peers []Peer, self key.NodePublic) (map[key.NodePublic]*Peer, error) {
	byKey := make(map[key.NodePublic]*Peer, len(peers))
	owner := make(map[netip.Prefix]key.NodePublic, 2*len(peers))
	for _, p := range peers {
		switch {
		case p.Key.IsZero() || p.Key == self:
			return nil, fmt.Errorf("a peer has the key %s", short(p.Key))
		case byKey[p.Key] != nil:
			return nil, fmt.Errorf("two peers have the key %s", short(p.Key))
		case strings.ContainsAny(p.Endpoint, "\n\r\x00"):
			return nil, fmt.Errorf("the endpoint of peer %s is no line", short(p.Key))
		}
		q := Peer{Key: p.Key, Endpoint: p.Endpoint}
		for _, a := range p.AllowedIPs {
			if a.Addr().Is4In6() && a.Bits() >= 96 {
				a = netip.PrefixFrom(a.Addr().Unmap(), a.Bits()-96)
			}
			if !a.IsValid() || a.Addr().Zone() != "" {
				return nil, fmt.Errorf("an allowed IP of peer %s is no prefix", short(p.Key))
			}
			a = a.Masked()
			if other, taken := owner[a]; taken && other != p.Key {
				return nil, fmt.Errorf("peers %s and %s both claim %s", short(other), short(p.Key), a)
			}
			owner[a] = p.Key
			q.AllowedIPs = append(q.AllowedIPs, a)
		}
		slices.SortFunc(q.AllowedIPs, netip.Prefix.Compare)
		q.AllowedIPs = slices.Compact(q.AllowedIPs)
		byKey[p.Key] = &q
	}
	return byKey, nil
}

// script writes the way from have to wished in the configuration protocol (wireguard.com/xplatform). Whoever leaves or
// loses an allowed IP comes first, so that the one that gets it has it in the end.
func script(have, wished map[key.NodePublic]*Peer, gone []key.NodePublic) string {
	var drop, add strings.Builder
	for _, k := range gone {
		if have[k] != nil && wished[k] == nil {
			fmt.Fprintf(&drop, "public_key=%x\nremove=true\n", k[:])
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(wished), key.NodePublic.Compare) {
		w, h := wished[k], have[k]
		isNew := h == nil
		if isNew {
			h = &Peer{}
		}
		if lost := without(h.AllowedIPs, w.AllowedIPs); len(lost) > 0 {
			fmt.Fprintf(&drop, "public_key=%s\nupdate_only=true\n", hex.EncodeToString(k[:]))
			for _, a := range lost {
				fmt.Fprintf(&drop, "allowed_ip=-%s\n", a)
			}
		}
		got := without(w.AllowedIPs, h.AllowedIPs)
		if !isNew && len(got) == 0 && w.Endpoint == h.Endpoint {
			continue
		}
		fmt.Fprintf(&add, "public_key=%s\n", hex.EncodeToString(k[:]))
		if w.Endpoint != "" && w.Endpoint != h.Endpoint {
			fmt.Fprintf(&add, "endpoint=%s\n", w.Endpoint)
		}
		for _, a := range got {
			fmt.Fprintf(&add, "allowed_ip=%s\n", a)
		}
	}
	return drop.String() + add.String()
}

// without gives what is in a and not in b; both are sorted.
func without(a, b []netip.Prefix) []netip.Prefix {
	var rest []netip.Prefix
	for _, p := range a {
		if _, found := slices.BinarySearchFunc(b, p, netip.Prefix.Compare); !found {
			rest = append(rest, p)
		}
	}
	return rest
}

// Wake starts a handshake with the peer if there is no session with it; else it sends an empty packet. WireGuard sends
// no second first message within 5 s of the last: if that one was lost, only Rehandshake is sooner.
func (t *Tunnel) Wake(k key.NodePublic) error {
	return t.with(k, func(p *device.Peer) error { p.SendKeepalive(); return nil })
}

// Expire drops the sessions with the peer: the next packet to it starts a handshake at once, however short ago the last
// one was. Packets that wait for a session go on waiting.
func (t *Tunnel) Expire(k key.NodePublic) error {
	return t.anew(k, func(*device.Peer) error { return nil })
}

// Rehandshake is Expire, and starts the handshake itself. Both ends may call it at once: the one handshake serves both.
// The peer takes one in 50 ms.
func (t *Tunnel) Rehandshake(k key.NodePublic) error {
	return t.anew(k, func(p *device.Peer) error { return p.SendHandshakeInitiation(false) })
}

// anew drops the sessions with the peer and does what is next, unless one was made just now.
func (t *Tunnel) anew(k key.NodePublic, next func(*device.Peer) error) error {
	return t.with(k, func(p *device.Peer) error {
		free, ok := t.bind.hold(t.endpoint(k))
		if !ok {
			return nil
		}
		defer free()
		p.ExpireCurrentKeypairs()
		return next(p)
	})
}

// endpoint is the peer's, as it was set.
func (t *Tunnel) endpoint(k key.NodePublic) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.peers[k]; p != nil {
		return p.Endpoint
	}
	return ""
}

func (t *Tunnel) with(k key.NodePublic, f func(*device.Peer) error) error {
	p := t.dev.LookupPeer(device.NoisePublicKey(k))
	if p == nil {
		return fmt.Errorf("%w: %s", ErrNoPeer, short(k))
	}
	return f(p)
}

// short abbreviates a key as logs show it: the first 8 digits.
func short(k key.NodePublic) string { return hex.EncodeToString(k[:4]) + "…" }
