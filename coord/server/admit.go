package server

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
)

const (
	addressQuiet = 30 * 24 * time.Hour // an address of a removed machine goes to nobody else for so long
	authPrefix   = "wk_"
)

// notToUse is an address that others of our kind serve DNS at, and that people would expect to be special.
var notToUse = netip.AddrFrom4([4]byte{100, 100, 100, 100})

// admission is a machine on its way in.
type admission struct {
	machine key.MachinePublic
	node    key.NodePublic
	host    string
	os      string
	version string

	user    int64 // who logged in, or
	authKey string
}

// admit makes the machine a node, together with what else belongs to it.
func (s *Server) admit(ctx context.Context, by caller, a admission, also func(store.Tx) error) error {
	now := s.now()
	err := s.store.Write(ctx, func(tx store.Tx) error {
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		return s.enter(tx, now, by, a)
	})
	if err != nil {
		return err
	}
	s.count.registrations.Inc()
	return nil
}

// enter is the transaction: the key used, the address taken, the machine written, or none of it.
func (s *Server) enter(tx store.Tx, now time.Time, by caller, a admission) error {
	n, err := tx.NodeByMachine(a.machine)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	k, again := store.AuthKey{User: a.user}, false // of a login by a person, what a key would say
	c, err := settingsOf(tx)
	if err != nil {
		return err
	}
	if k.Approval = c.Approval; a.authKey != "" {
		if k, again, err = s.useKey(tx, now, by, a, n); err != nil {
			return err
		}
		by.user = k.User
	} else if _, err := tx.User(a.user); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return errNoUser // any more
		}
		return err
	}
	switch owner, err := tx.NodeByKey(a.node); {
	case err == nil && owner.Machine != a.machine:
		return errNodeKeyTaken
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	}
	if again && n.Key == a.node {
		return nil
	}
	if known && n.User != k.User { // another person's now: nothing of what it was goes over
		known = false
		if err := tx.RemoveNode(n.ID, now); err != nil {
			return err
		}
		if err := s.record(tx, by, actMachineRemove, n.Name, facts{"id": n.ID, "why": "another account's now"}); err != nil {
			return err
		}
	}
	if !known {
		n = store.Node{Machine: a.machine, User: k.User, Created: now, Pending: true}
		if err := s.place(tx, &n, a.host); err != nil {
			return err
		}
	}
	was := n
	n.Key, n.Tags, n.AuthKey, n.Ephemeral = a.node, k.Tags, k.ID, k.Ephemeral
	n.OS, n.Version, n.Ticket = a.os, a.version, now.Add(ticketLife)
	n.Pending = n.Pending && k.Approval // who was let in once is let in
	switch {
	case again: // and no longer than the key gave it
	case n.User != 0 && len(n.Tags) == 0 && !n.Lasting:
		n.Expires = c.keyEnd(now)
	default:
		n.Expires = time.Time{}
	}
	what := actMachineLogin
	if known {
		if err = s.approveByTags(tx, &was, &n); err == nil {
			err = tx.SetNode(n)
		}
	} else {
		if what = actMachineAdd; n.Pending {
			what = actMachineWait
		}
		n.Said = coord.NodeUpdate{OS: a.os, Version: a.version}
		n.ID, err = tx.AddNode(n)
	}
	if err != nil {
		return err
	}
	details := facts{"id": n.ID, "os": n.OS, "version": n.Version, "machine": shortKey(a.machine)}
	if k.ID != 0 {
		details["key"] = k.ID
	}
	if len(n.Tags) > 0 {
		details["tags"] = n.Tags
	}
	return s.record(tx, by, what, n.Name, details)
}

// useKey consumes the pre-auth key. Where it is of no use any more, a machine that is in by this very key has not heard
// the answer: it is told again, and gains nothing by it.
func (s *Server) useKey(tx store.Tx, now time.Time, by caller, a admission, n store.Node) (k store.AuthKey, again bool, err error) {
	k, err = tx.AuthKeyByHash(sha256.Sum256([]byte(a.authKey)))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return k, false, errKeyUnknown
	case err != nil:
		return k, false, err
	}
	ok, err := tx.UseAuthKey(k.ID, a.machine, now)
	switch {
	case err != nil:
		return k, false, err
	case !ok && n.AuthKey == k.ID && !n.Key.IsZero() && (n.Expires.IsZero() || n.Expires.After(now)):
		return k, true, nil
	case ok:
		by.user = k.User
		return k, false, s.record(tx, by, actKeyUse, keyName(k.ID), facts{"id": k.ID, "machine": shortKey(a.machine), "host": a.host})
	case k.Revoked:
		return k, false, errKeyRevoked
	case !k.Expires.IsZero() && !k.Expires.After(now):
		return k, false, errKeyExpired
	}
	return k, false, errKeyUsed
}

// place gives a new machine its name and its address.
func (s *Server) place(tx store.Tx, n *store.Node, host string) error {
	if err := tx.ReleaseNumbers(n.Created.Add(-addressQuiet)); err != nil {
		return err
	}
	v4 := s.network.IPv4
	last := uint32(1)<<(32-v4.Bits()) - 2 // the last one is the broadcast address
	var err error
	resolver := s.network.Resolver()
	skip := func(number uint32) bool {
		a := addresses(s.network, number)[0]
		return a == notToUse || slices.Contains(resolver, a)
	}
	n.Number, err = tx.FreeNumber(last, skip)
	if errors.Is(err, store.ErrNoNumber) {
		if err = s.evict(tx, n.Created); err == nil {
			n.Number, err = tx.FreeNumber(last, skip)
		}
	}
	if err != nil {
		return err
	}
	return name(tx, n, coord.CleanName(host))
}

// evict makes room in a network that is full: of the machines that keep their place after a logout, the one that has been
// away the longest loses it.
func (s *Server) evict(tx store.Tx, now time.Time) error {
	gone, err := tx.LongestGone()
	if errors.Is(err, store.ErrNotFound) {
		return store.ErrNoNumber
	}
	if err != nil {
		return err
	}
	if err := tx.RemoveNode(gone.ID, now); err != nil {
		return err
	}
	return s.record(tx, caller{via: viaServer}, actMachineRemove, gone.Name, facts{"id": gone.ID, "why": "it had logged out, and its address was needed"})
}

// name gives a machine a name that no other has: the base, or the base and a number.
func name(tx store.Tx, n *store.Node, base string) error {
	n.Base, n.Name = base, base
	for i := 2; ; i++ {
		taken, err := tx.NameTaken(n.Name)
		if err != nil || !taken {
			return err
		}
		if i == 10 { // many of one name: begin where the free ones should be
			if count, err := tx.CountBase(n.Base); err == nil {
				i = max(i, count)
			}
		}
		n.Name = numbered(n.Base, i)
	}
}

// numbered makes a name unique, within the bounds of a name.
func numbered(base string, i int) string {
	suffix := "-" + strconv.Itoa(i)
	if len(base)+len(suffix) > coord.MaxNameLength {
		base = strings.TrimRight(base[:coord.MaxNameLength-len(suffix)], "-")
	}
	return base + suffix
}

// addresses are those of a machine's number.
func addresses(n coord.Network, number uint32) []netip.Addr {
	v4, v6 := n.IPv4.Addr().As4(), n.IPv6.Addr().As16()
	binary.BigEndian.PutUint32(v4[:], binary.BigEndian.Uint32(v4[:])+number)
	binary.BigEndian.PutUint32(v6[12:], number)
	return []netip.Addr{netip.AddrFrom4(v4), netip.AddrFrom16(v6)}
}

// nodeOf makes of what the store knows what peers see.
func (s *Server) nodeOf(n store.Node, u store.User) coord.Node {
	out := coord.Node{
		ID: n.ID, Name: n.Name, Key: n.Key, Addrs: addresses(s.network, n.Number), Tags: slices.Clone(n.Tags),
		OS: n.OS, Version: n.Version, Created: n.Created, Expires: n.Expires, LastSeen: n.LastSeen,
		Disco: n.Said.Disco, Endpoints: n.Said.Endpoints, Relay: n.Said.Relay, Doubt: n.Said.Doubt, Routes: n.Routes(), Cut: n.Cut(), Relaying: n.Relaying(),
	}
	if n.Replica != 0 {
		out.Online, out.LastSeen = true, time.Time{}
	}
	if u.ID != 0 {
		out.User = coord.User{ID: u.ID, Login: u.Login}
	}
	return out
}

// memberOf is nodeOf with what peers do not see.
func (s *Server) memberOf(n store.Node, u store.User) state.Member {
	return state.Member{
		Machine: n.Machine, Node: s.nodeOf(n, u), Expired: n.Expired, Pending: n.Pending, Ephemeral: n.Ephemeral, Role: string(u.Role),
		Offered: n.Said.Routes, Cut: n.Said.Cut, Approved: n.Approved, OffersRelay: n.Said.Relaying, MayRelay: n.MayRelay, TicketUntil: n.Ticket, TicketSeq: n.TicketSeq,
	}
}

// rename gives a member the name that it says its host has now.
func (s *Server) rename(ctx context.Context, from netip.Addr, m key.MachinePublic, base string) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		node, err := tx.NodeByMachine(m)
		if err != nil {
			return err
		}
		if node.Base == base {
			return nil // somebody gave it another name than its host's
		}
		was := node.Name
		if err = name(tx, &node, base); err != nil {
			return err
		}
		if err := tx.SetNode(node); err != nil {
			return err
		}
		return s.record(tx, ofMachine(node, from), actMachineRename, was, facts{"id": node.ID, "from": was, "to": node.Name})
	})
}

// ofMachine is a machine that changes something of its own.
func ofMachine(n store.Node, from netip.Addr) caller {
	return caller{user: n.User, via: viaMachine, address: from.String()}
}

// namedAfter reports whether the name is the base, or the base and a number.
func namedAfter(name, base string) bool {
	rest, ok := strings.CutPrefix(name, base)
	if !ok || rest == "" {
		return ok
	}
	number, err := strconv.ParseUint(strings.TrimPrefix(rest, "-"), 10, 31)
	return err == nil && rest == "-"+strconv.FormatUint(number, 10)
}

// rekey gives a member another node key.
func (s *Server) rekey(ctx context.Context, from netip.Addr, m key.MachinePublic, k key.NodePublic) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		if owner, err := tx.NodeByKey(k); err == nil && owner.Machine != m {
			return errNodeKeyTaken
		}
		node, err := tx.NodeByMachine(m)
		if err != nil {
			return err
		}
		node.Key, node.Ticket = k, s.now().Add(ticketLife)
		if err := tx.SetNode(node); err != nil {
			return err
		}
		return s.record(tx, ofMachine(node, from), actMachineWireKey, node.Name, facts{"id": node.ID})
	})
}

// leave ends a machine's membership. It keeps its place for when its owner logs in again; but for one that was never
// let in, or was not to stay.
func (s *Server) leave(ctx context.Context, from netip.Addr, m key.MachinePublic) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		n, err := tx.NodeByMachine(m)
		if errors.Is(err, store.ErrNotFound) {
			return nil // it has left already
		}
		if err != nil {
			return err
		}
		if n.Ephemeral || n.Pending {
			if err := tx.RemoveNode(n.ID, s.now()); err != nil {
				return err
			}
			return s.record(tx, ofMachine(n, from), actMachineRemove, n.Name, facts{"id": n.ID, "why": "it logged out"})
		}
		n.Key, n.AuthKey = key.NodePublic{}, 0
		if err := tx.SetNode(n); err != nil {
			return err
		}
		return s.record(tx, ofMachine(n, from), actMachineLogout, n.Name, facts{"id": n.ID})
	})
}
