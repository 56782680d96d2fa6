package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
)

// Status is what there is at a glance.
type Status struct {
	Version  string           `json:"version"`
	URL      string           `json:"url"`
	Server   key.ServerPublic `json:"server"`
	Invite   string           `json:"invite"`
	Network  coord.Network    `json:"network"`
	Machines int              `json:"machines"` // members
	Pending  int              `json:"pending"`  // machines that wait for an admin's approval
	Online   int              `json:"online"`
	Users    int              `json:"users"`
	Relays   int              `json:"relays"`
	Started  time.Time        `json:"started"`
}

// UserInfo is an account.
type UserInfo struct {
	ID       int64     `json:"id"`
	Login    string    `json:"login"`
	Role     string    `json:"role"`
	Created  time.Time `json:"created"`
	Machines int       `json:"machines"`
	Second   bool      `json:"second" doc:"it takes a second step to sign in, or has passkeys"`
	Seen     time.Time `json:"seen,omitzero" doc:"when last on the server's pages, within an hour"`
}

// UserRequest adds an account. The empty role is a member's.
type UserRequest struct {
	Login    string `json:"login" maxLength:"128"`
	Password string `json:"password" maxLength:"512"`
	Role     string `json:"role,omitempty"`
}

// KeyInfo is a pre-auth key without its secret.
type KeyInfo struct {
	ID        int64     `json:"id"`
	User      string    `json:"user,omitempty"`
	Tags      []string  `json:"tags,omitempty"`
	Reusable  bool      `json:"reusable"`
	Ephemeral bool      `json:"ephemeral,omitempty"`
	Approval  bool      `json:"approval,omitempty"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires"`
	State     string    `json:"state"` // usable, used, expired, revoked
	Uses      int64     `json:"uses"`
	Used      time.Time `json:"used,omitzero"`
}

// NewKey is a pre-auth key as its maker sees it, once.
type NewKey struct {
	ID  int64  `json:"id"`
	Key string `json:"key"`
}

// MachineInfo is a machine.
type MachineInfo struct {
	coord.Node
	Expired   bool `json:"expired,omitempty"`
	Pending   bool `json:"pending,omitempty"`   // waits for an admin's approval
	Ephemeral bool `json:"ephemeral,omitempty"` // removed a while after it went offline

	// What the machine says that it leads to, and what it may lead to: routes are those that are both.
	OfferedRoutes  []netip.Prefix `json:"offeredRoutes,omitempty"`
	ApprovedRoutes []netip.Prefix `json:"approvedRoutes,omitempty"`

	// Whether it offers to relay for others, and whether it may: relaying is set if both.
	OffersRelay bool `json:"offersRelay,omitempty"`
	MayRelay    bool `json:"mayRelay,omitempty"`
}

// NewSetup is a set-up link as its maker sees it, once.
type NewSetup struct {
	Link string `json:"link"`
}

func (s *Server) newSetup(ctx context.Context) (NewSetup, error) {
	link, err := s.SetupLink(ctx)
	if err == nil && link == "" {
		err = errHasOwner
	}
	return NewSetup{Link: link}, err
}

// Status tells what there is.
func (s *Server) Status(ctx context.Context) (Status, error) {
	v := s.hub.view()
	st := Status{
		Version: s.opts.Version, URL: s.url, Server: s.Key(), Invite: coord.FormatInvite(s.url, s.Key()),
		Network: s.network, Relays: len(v.Relays), Started: s.started,
	}
	for m := range v.Members() {
		switch {
		case m.Pending:
			st.Pending++
			continue
		case m.Node.Online:
			st.Online++
		}
		st.Machines++
	}
	err := s.store.Read(ctx, func(tx store.Tx) error {
		users, err := tx.Users()
		st.Users = len(users)
		return err
	})
	return st, err
}

// waiting counts the machines that wait for an admin's approval.
func (s *Server) waiting() (n int) {
	for m := range s.hub.view().Members() {
		if m.Pending {
			n++
		}
	}
	return n
}

// Users lists the accounts.
func (s *Server) Users(ctx context.Context) ([]UserInfo, error) {
	machines := map[int64]int{}
	for m := range s.hub.view().Members() {
		machines[m.Node.User.ID]++
	}
	out := []UserInfo{}
	err := s.store.Read(ctx, func(tx store.Tx) error {
		users, err := tx.Users()
		for _, u := range users {
			i, err := s.infoOf(tx, u)
			if err != nil {
				return err
			}
			i.Machines = machines[u.ID]
			out = append(out, i)
		}
		return err
	})
	return out, err
}

// Keys lists the pre-auth keys.
func (s *Server) Keys(ctx context.Context) ([]KeyInfo, error) {
	out := []KeyInfo{}
	err := s.store.Read(ctx, func(tx store.Tx) error {
		keys, err := tx.AuthKeys()
		if err != nil {
			return err
		}
		for _, k := range keys {
			i := KeyInfo{
				ID: k.ID, Tags: k.Tags, Reusable: k.Reusable, Ephemeral: k.Ephemeral, Approval: k.Approval, Created: k.Created, Expires: k.Expires, Uses: k.Uses, Used: k.Used,
				State: "usable",
			}
			switch {
			case k.Revoked:
				i.State = "revoked"
			case k.Uses > 0 && !k.Reusable:
				i.State = "used"
			case !k.Expires.After(s.now()):
				i.State = "expired"
			}
			if k.User != 0 {
				u, err := tx.User(k.User)
				if err != nil {
					return err
				}
				i.User = u.Login
			}
			out = append(out, i)
		}
		return nil
	})
	return out, err
}

// RevokeKey makes a pre-auth key useless. Machines that it has let in stay.
func (s *Server) RevokeKey(ctx context.Context, id string) error {
	return s.revokeKey(ctx, operator, id)
}

func (s *Server) revokeKey(ctx context.Context, by caller, id string) error {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return fmt.Errorf("%w key: give its number from 'key list'", coord.ErrInvalid)
	}
	err = s.store.Write(ctx, func(tx store.Tx) error {
		if err := tx.RevokeAuthKey(n); err != nil {
			return err
		}
		return s.record(tx, by, actKeyRevoke, keyName(n), facts{"id": n})
	})
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("there is no key %d: %w", n, err)
	}
	return err
}

// PutRelay adds a relay, or replaces the one of that name.
func (s *Server) PutRelay(ctx context.Context, l coord.Relay) error {
	return s.putRelay(ctx, operator, l)
}

func sameRelay(a, b coord.Relay) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Key == b.Key && a.UDP == b.UDP && a.URL == b.URL && bytes.Equal(a.Cert, b.Cert)
}

func (s *Server) putRelay(ctx context.Context, by caller, l coord.Relay) error {
	switch {
	case !coord.ValidName(l.Name):
		return fmt.Errorf("%w relay name %q: use lower-case letters, digits and inner hyphens", coord.ErrInvalid, l.Name)
	case l.Key.IsZero():
		return fmt.Errorf("%w relay: it has no key", coord.ErrInvalid)
	case l.UDP == "" && l.URL == "":
		return fmt.Errorf("%w relay: give its UDP address, its URL, or both", coord.ErrInvalid)
	case l.UDP != "" && !validHostPort(l.UDP):
		return fmt.Errorf("%w relay: its UDP address %q is not host:port", coord.ErrInvalid, l.UDP)
	case l.URL != "" && !validRelayURL(l.URL):
		return fmt.Errorf("%w relay: its URL %q is not like https://host:port/relay", coord.ErrInvalid, l.URL)
	case len(l.Cert) != 0 && len(l.Cert) != 32:
		return fmt.Errorf("%w relay: the certificate's SHA-256 has 64 hexadecimal digits", coord.ErrInvalid)
	}
	return s.store.Write(ctx, func(tx store.Tx) error {
		all, err := tx.Relays()
		if err != nil {
			return err
		}
		id, err := tx.PutRelay(l)
		if err != nil {
			return err
		}
		if l.ID = id; slices.ContainsFunc(all, func(was coord.Relay) bool { return sameRelay(was, l) }) {
			return nil // the embedded one says it at each start
		}
		return s.record(tx, by, actRelaySet, l.Name, facts{"id": id, "udp": l.UDP, "url": l.URL, "key": l.Key.String()})
	})
}

// validHostPort takes what a server's address may be, with a port.
func validHostPort(text string) bool {
	_, port, err := net.SplitHostPort(text)
	if err != nil || port == "" {
		return false
	}
	_, _, err = coord.ParseServer("https://" + text)
	return err == nil
}

func validRelayURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	_, _, err = coord.ParseServer("https://" + u.Host)
	return err == nil
}

// RemoveRelay takes a relay out of the network.
func (s *Server) RemoveRelay(ctx context.Context, name string) error {
	return s.removeRelay(ctx, operator, name)
}

func (s *Server) removeRelay(ctx context.Context, by caller, name string) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		err := tx.RemoveRelay(name)
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("there is no relay %q: %w", name, err)
		}
		if err != nil {
			return err
		}
		return s.record(tx, by, actRelayRemove, name, nil)
	})
}

// OtherRelays reports whether the network has a relay beside the one of that name.
func (s *Server) OtherRelays(name string) bool {
	return slices.ContainsFunc(s.hub.view().Relays, func(l coord.Relay) bool { return l.Name != name })
}

// ForgetRelay is RemoveRelay for what may not be there. A relay of that name with another key is somebody else's, and stays.
func (s *Server) ForgetRelay(ctx context.Context, name string, k key.RelayPublic) error {
	if !slices.ContainsFunc(s.hub.view().Relays, func(l coord.Relay) bool { return l.Name == name && l.Key == k }) {
		return nil
	}
	return s.RemoveRelay(ctx, name)
}
