package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
)

// The admin API answers on a socket in the state directory that only the server's user can open. It is
// warren-coord's own: the program and the server are of one version.

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
	Login    string    `json:"login"`
	Role     string    `json:"role"`
	Created  time.Time `json:"created"`
	Machines int       `json:"machines"`
}

// UserRequest adds an account, or replaces its password or its role.
type UserRequest struct {
	Login    string `json:"login"`
	Password string `json:"password,omitempty"`
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
}

type adminRoute struct {
	method, path string
	right        account.Right
	handle       func(*http.Request) (any, error)
}

func (s *Server) adminRoutes() []adminRoute {
	get, post, del := http.MethodGet, http.MethodPost, http.MethodDelete
	return []adminRoute{
		{get, "/status", account.See, func(r *http.Request) (any, error) { return s.Status(r.Context()) }},
		{post, "/setup", account.Govern, func(r *http.Request) (any, error) { return s.newSetup(r.Context()) }},
		{get, "/users", account.See, func(r *http.Request) (any, error) { return s.Users(r.Context()) }},
		{post, "/users", account.Change, body(func(r *http.Request, q UserRequest) error { return s.AddUser(r.Context(), q.Login, q.Password, q.Role) })},
		{post, "/users/role", account.Change, body(func(r *http.Request, q UserRequest) error { return s.SetRole(r.Context(), q.Login, q.Role) })},
		{post, "/users/password", account.Change, body(func(r *http.Request, q UserRequest) error { return s.SetPassword(r.Context(), q.Login, q.Password) })},
		{post, "/users/second/reset", account.Change, body(func(r *http.Request, q UserRequest) error { return s.ResetSecond(r.Context(), q.Login) })},
		{del, "/users/{login}", account.Change, func(r *http.Request) (any, error) { return nil, s.RemoveUser(r.Context(), r.PathValue("login")) }},
		{get, "/keys", account.See, func(r *http.Request) (any, error) { return s.Keys(r.Context()) }},
		{post, "/keys", account.Change, s.newKey},
		{del, "/keys/{id}", account.Change, func(r *http.Request) (any, error) { return nil, s.RevokeKey(r.Context(), r.PathValue("id")) }},
		{get, "/machines", account.See, func(*http.Request) (any, error) { return s.Machines(), nil }},
		{del, "/machines/{name}", account.Change, func(r *http.Request) (any, error) { return nil, s.RemoveMachine(r.Context(), r.PathValue("name")) }},
		{post, "/machines/{name}/expire", account.Change, func(r *http.Request) (any, error) { return nil, s.ExpireMachine(r.Context(), r.PathValue("name")) }},
		{post, "/machines/{name}/rename", account.Change, body(func(r *http.Request, q RenameRequest) error {
			return s.RenameMachine(r.Context(), r.PathValue("name"), q.Name)
		})},
		{post, "/machines/{name}/approve", account.Change, func(r *http.Request) (any, error) { return nil, s.ApproveMachine(r.Context(), r.PathValue("name")) }},
		{post, "/machines/{name}/deny", account.Change, func(r *http.Request) (any, error) { return nil, s.DenyMachine(r.Context(), r.PathValue("name")) }},
		{post, "/machines/{name}/extend", account.Change, body(func(r *http.Request, q ExtendRequest) error {
			return s.ExtendMachine(r.Context(), r.PathValue("name"), q.Forever)
		})},
		{get, "/relays", account.See, func(*http.Request) (any, error) { return append([]coord.Relay{}, s.hub.view().Relays...), nil }},
		{post, "/relays", account.Change, body(func(r *http.Request, q coord.Relay) error { return s.PutRelay(r.Context(), q) })},
		{del, "/relays/{name}", account.Change, func(r *http.Request) (any, error) { return nil, s.RemoveRelay(r.Context(), r.PathValue("name")) }},
	}
}

// Admin serves the admin API.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.adminRoutes() {
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) {
			var v any
			err := authorize(operator, rt.right, false)
			if err == nil {
				s.hub.fresh(r.Context())
				v, err = rt.handle(r)
			}
			if v == nil {
				v = struct{}{}
			}
			if err == nil {
				err = writeJSON(w, v)
			}
			if err != nil {
				s.fail(w, r, "admin", adminError(err))
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, "admin", errNotFound) })
	return mux
}

// adminError tells the administrator everything.
func adminError(err error) error {
	var e *coord.Error
	switch {
	case errors.As(err, &e), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrAway), errors.Is(err, store.ErrNoNumber):
		return refusal(err)
	case errors.Is(err, store.ErrNotFound):
		return refuse(http.StatusNotFound, "not-found", err.Error())
	}
	return refuse(http.StatusBadRequest, coord.CodeBadRequest, err.Error())
}

func body[T any](do func(*http.Request, T) error) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var q T
		if err := readJSON(nil, r, &q); err != nil {
			return nil, err
		}
		return nil, do(r, q)
	}
}

func (s *Server) newKey(r *http.Request) (any, error) {
	var o KeyOptions
	if err := readJSON(nil, r, &o); err != nil {
		return nil, err
	}
	secret, id, err := s.CreateKey(r.Context(), o)
	return NewKey{ID: id, Key: secret}, err
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
			out = append(out, UserInfo{Login: u.Login, Role: string(u.Role), Created: u.Created, Machines: machines[u.ID]})
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

// ForgetRelay is RemoveRelay for what may not be there.
func (s *Server) ForgetRelay(ctx context.Context, name string) error {
	if !slices.ContainsFunc(s.hub.view().Relays, func(l coord.Relay) bool { return l.Name == name }) {
		return nil
	}
	return s.RemoveRelay(ctx, name)
}
