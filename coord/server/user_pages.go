package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// userRow is an account as the console shows it.
type userRow struct {
	ID                       int64
	Login, Role, Since, Seen string
	Machines                 int
	Self                     bool
}

// userList is the page of people.
type userList struct {
	Users       []userRow
	Invitations []invitationRow
	Roles       []account.Role // that the visitor may invite as
	Change      bool
}

// userDetail is an account's own page.
type userDetail struct {
	userRow
	Devices []machineRow
	Roles   []account.Role // that the visitor may give it
	Second  bool           // it has a second step
}

// userRows makes the rows of the users within a transaction.
func (s *Server) userRows(tx store.Tx, v *visit, users ...store.User) (rows []userRow, err error) {
	machines := map[int64]int{}
	for m := range s.hub.view().Members() {
		machines[m.Node.User.ID]++
	}
	for _, u := range users {
		row := userRow{
			ID: u.ID, Login: u.Login, Role: string(u.Role), Since: u.Created.Format("2 Jan 2006"), Machines: machines[u.ID],
			Self: u.ID == v.user.ID, Seen: "never",
		}
		sessions, err := tx.WebSessions(u.ID)
		if err != nil {
			return nil, err
		}
		if len(sessions) > 0 {
			row.Seen = ago(s.now(), sessions[0].Seen)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (s *Server) usersPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	l := userList{Change: authorize(v.caller(), account.Change, false) == nil, Roles: rolesOf(v.caller())}
	err := s.store.Read(r.Context(), func(tx store.Tx) error {
		users, err := tx.Users()
		if err != nil {
			return err
		}
		if l.Users, err = s.userRows(tx, v, users...); err != nil {
			return err
		}
		l.Invitations, err = s.invitationRows(tx)
		return err
	})
	if err != nil {
		return err
	}
	return s.showConsole(w, http.StatusOK, "users", "/users", v, page{Title: textPeople, Body: l})
}

// rolesOf are the roles that the caller may give.
func rolesOf(c caller) (roles []account.Role) {
	for _, r := range account.Roles {
		right := account.Change
		if r == account.Owner {
			right = account.Govern
		}
		if authorize(c, right, false) == nil {
			roles = append(roles, r)
		}
	}
	return roles
}

func byNumber(id int64) finder {
	return func(tx store.Tx) (store.User, error) {
		u, err := tx.User(id)
		if errors.Is(err, store.ErrNotFound) {
			return u, errNoUser
		}
		return u, err
	}
}

func (s *Server) userInPath(r *http.Request) (u store.User, err error) {
	err = s.store.Read(r.Context(), func(tx store.Tx) error {
		u, err = byNumber(pathNumber(r))(tx)
		return err
	})
	return u, err
}

func (s *Server) userPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.showUser(w, r, http.StatusOK, v, "")
}

func (s *Server) showUser(w http.ResponseWriter, r *http.Request, status int, v *visit, problem string) error {
	u, err := s.userInPath(r)
	if err != nil {
		return err
	}
	d := userDetail{}
	err = s.store.Read(r.Context(), func(tx store.Tx) error {
		rows, err := s.userRows(tx, v, u)
		if err != nil {
			return err
		}
		d.userRow = rows[0]
		st, err := s.secondStepsOf(tx, u.ID)
		d.Second = st.any()
		return err
	})
	if err != nil {
		return err
	}
	now := s.now()
	for m := range s.hub.view().Members() {
		if m.Node.User.ID == u.ID && len(d.Devices) < maxRows {
			d.Devices = append(d.Devices, rowOf(now, m))
		}
	}
	if u.Role != account.Owner || authorize(v.caller(), account.Govern, false) == nil {
		d.Roles = rolesOf(v.caller())
	}
	return s.showConsole(w, status, "user", "/users", v, page{Title: u.Login, Problem: problem, Body: d})
}

func (s *Server) rolePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	role := r.PostForm.Get("role")
	err := s.setRole(r.Context(), v.caller(), byNumber(pathNumber(r)), role)
	switch {
	case errors.Is(err, errLastOwner):
		return s.showUser(w, r, http.StatusConflict, v, errLastOwner.Message+".")
	case errors.Is(err, account.ErrPassword):
		return badRequest("%s", sentence(err))
	case err != nil:
		return err
	}
	if pathNumber(r) == v.user.ID {
		return redirect(w, r, "/") // it may be no longer allowed to see where it was
	}
	return redirect(w, r, "/users/"+r.PathValue("id"))
}

func (s *Server) askRemoveUser(w http.ResponseWriter, r *http.Request, v *visit) error {
	u, err := s.userInPath(r)
	if err != nil {
		return err
	}
	return s.confirm(w, "/users", v, confirmation{
		Ask: fmt.Sprintf(textRemoveUserAsk, u.Login), What: textRemoveUserWhat, Action: r.URL.Path, Button: textRemoveUser,
		Back: "/users/" + r.PathValue("id"),
	})
}

func (s *Server) removeUserPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	u, err := s.userInPath(r)
	if err == nil {
		err = s.removeUser(r.Context(), v.caller(), byNumber(u.ID))
	}
	if errors.Is(err, errLastOwner) {
		return s.showUser(w, r, http.StatusConflict, v, errLastOwner.Message+".")
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/users")
}

// days reads a number of days from a form, of those that it offers.
func days(text string, offered ...int) (time.Duration, error) {
	n, err := strconv.Atoi(text)
	for _, o := range offered {
		if err == nil && n == o {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	return 0, badRequest("Choose one of the days that the form offers")
}
