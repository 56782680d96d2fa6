package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// UserList is a page of accounts.
type UserList struct {
	Users []UserInfo `json:"users"`
	Next  string     `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
}

// RoleRequest gives an account another role.
type RoleRequest struct {
	Role string `json:"role" maxLength:"20" doc:"owner, admin, auditor or member"`
}

// PasswordRequest replaces a password.
type PasswordRequest struct {
	Password string `json:"password" maxLength:"512"`
}

// InvitationInfo is an invitation without its secret.
type InvitationInfo struct {
	ID      int64     `json:"id"`
	Role    string    `json:"role" doc:"of the account that it makes"`
	By      string    `json:"by"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// InvitationList is a page of invitations.
type InvitationList struct {
	Invitations []InvitationInfo `json:"invitations"`
	Next        string           `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
}

// InvitationRequest makes an invitation.
type InvitationRequest struct {
	Role string `json:"role" maxLength:"20" doc:"owner, admin, auditor or member"`
	Days int    `json:"days,omitempty" minimum:"1" maximum:"30" default:"7" doc:"how long its link works"`
	By   string `json:"by,omitempty" maxLength:"128" doc:"who invites; only the host's administrator names somebody"`
}

// NewInvitation is an invitation as its maker sees it, once.
type NewInvitation struct {
	ID      int64     `json:"id"`
	Link    string    `json:"link"`
	Expires time.Time `json:"expires"`
}

func (s *Server) userOperations() []operation {
	get, post := http.MethodGet, http.MethodPost
	see := operation{method: get, scope: account.ScopeUsers, right: account.See}
	change := operation{method: post, scope: account.ScopeUsers, right: account.Change}
	return []operation{
		gives(see.as("listUsers", "/users", "List the accounts"), s.listUsers),
		gives(see.as("getUser", "/users/{id}", "Show an account"), func(ctx context.Context, _ caller, in *NamePath) (UserInfo, error) {
			return s.userInfo(ctx, in.Name)
		}),
		does(change.as("addUser", "/users", "Make an account"), func(ctx context.Context, by caller, in *struct{ Body UserRequest }) error {
			return s.addUser(ctx, by, in.Body.Login, in.Body.Password, in.Body.Role)
		}),
		does(change.as("setUserRole", "/users/{id}/role", "Give an account another role"), func(ctx context.Context, by caller, in *struct {
			NamePath
			Body RoleRequest
		},
		) error {
			return s.setRole(ctx, by, byRef(in.Name), in.Body.Role)
		}),
		does(operation{
			id: "setUserPassword", method: post, path: "/users/{id}/password", about: "Replace an account's password, which signs its browsers out",
			scope: account.ScopeUsers, right: account.Govern,
		}, func(ctx context.Context, by caller, in *struct {
			NamePath
			Body PasswordRequest
		},
		) error {
			return s.setPassword(ctx, by, byRef(in.Name), in.Body.Password)
		}),
		does(change.as("resetUserSecond", "/users/{id}/second/reset", "Take an account's second steps away, for who has lost them"),
			func(ctx context.Context, by caller, in *NamePath) error {
				return s.resetSecond(ctx, by, byRef(in.Name))
			}),
		does(operation{
			id: "removeUser", method: http.MethodDelete, path: "/users/{id}", about: "Remove an account with its machines and keys",
			scope: account.ScopeUsers, right: account.Change,
		}, func(ctx context.Context, by caller, in *NamePath) error { return s.removeUser(ctx, by, byRef(in.Name)) }),

		gives(see.as("listInvitations", "/invitations", "List the invitations"), s.listInvitations),
		gives(change.as("addInvitation", "/invitations", "Make an invitation; its link is shown once"),
			func(ctx context.Context, by caller, in *struct{ Body InvitationRequest }) (NewInvitation, error) {
				return s.addInvitation(ctx, by, in.Body)
			}),
		does(operation{
			id: "removeInvitation", method: http.MethodDelete, path: "/invitations/{id}", about: "Take an invitation back",
			scope: account.ScopeUsers, right: account.Change,
		}, func(ctx context.Context, by caller, in *IDPath) error { return s.removeInvitation(ctx, by, in.ID) }),
	}
}

// as is the operation under an id, at a path.
func (o operation) as(id, path, about string) operation {
	o.id, o.path, o.about = id, path, about
	return o
}

// byRef finds an account by its login, or by its number: 7, or #7. A login may look like another's number, so that 7
// alone is refused where it could mean two.
func byRef(ref string) finder {
	return func(tx store.Tx) (store.User, error) {
		number, only := strings.CutPrefix(ref, "#")
		id, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return userNamed(tx, ref)
		}
		numbered, err := tx.User(id)
		switch {
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return numbered, err
		case only:
			return byNumber(id)(tx)
		}
		named, err2 := tx.UserByLogin(ref)
		switch {
		case err2 != nil && !errors.Is(err2, store.ErrNotFound):
			return named, err2
		case err == nil && err2 == nil && numbered.ID != named.ID:
			return named, fmt.Errorf("%w user: %q is the login of account %d, and the number of %s: give '#%d' or '#%d'",
				coord.ErrInvalid, ref, named.ID, numbered.Login, named.ID, numbered.ID)
		case err == nil:
			return numbered, nil
		case err2 == nil:
			return named, nil
		}
		return userNamed(tx, ref)
	}
}

func (s *Server) listUsers(ctx context.Context, _ caller, in *PageQuery) (l UserList, err error) {
	all, err := s.Users(ctx)
	if err != nil {
		return l, err
	}
	slices.SortFunc(all, func(a, b UserInfo) int { return int(a.ID - b.ID) })
	l.Users, l.Next, err = pageOf(*in, slices.Values(all), func(u UserInfo) int64 { return u.ID })
	return l, err
}

func (s *Server) userInfo(ctx context.Context, ref string) (i UserInfo, err error) {
	err = s.store.Read(ctx, func(tx store.Tx) error {
		u, err := byRef(ref)(tx)
		if err == nil {
			i, err = s.infoOf(tx, u)
		}
		return err
	})
	for m := range s.hub.view().Members() {
		if m.Node.User.ID == i.ID && i.ID != 0 {
			i.Machines++
		}
	}
	return i, err
}

func (s *Server) infoOf(tx store.Tx, u store.User) (i UserInfo, err error) {
	i = UserInfo{ID: u.ID, Login: u.Login, Role: string(u.Role), Created: u.Created}
	st, err := s.secondStepsOf(tx, u.ID)
	if err != nil {
		return i, err
	}
	i.Second = st.any()
	sessions, err := tx.WebSessions(u.ID)
	if len(sessions) > 0 {
		i.Seen = sessions[0].Seen
	}
	return i, err
}

func (s *Server) listInvitations(ctx context.Context, _ caller, in *PageQuery) (l InvitationList, err error) {
	var rows []InvitationInfo
	err = s.store.Read(ctx, func(tx store.Tx) error {
		rows = nil
		all, err := tx.Invitations()
		if err != nil {
			return err
		}
		for _, i := range all {
			row := InvitationInfo{ID: i.ID, Role: string(i.Role), Created: i.Created, Expires: i.Expires}
			if row.By, err = inviter(tx, i); err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	if err != nil {
		return l, err
	}
	l.Invitations, l.Next, err = pageOf(*in, slices.Values(rows), func(i InvitationInfo) int64 { return i.ID })
	return l, err
}

func inviter(tx store.Tx, i store.Invitation) (string, error) {
	u, err := tx.User(i.User)
	return u.Login, err
}
