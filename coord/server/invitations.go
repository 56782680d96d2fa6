package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// An invitation is a link that lets a person make an account, once. It is worth what its maker may do when it is used:
// it ends with the maker's account, and with the right to give the role.
const (
	pathInvite = "/invite/"
	inviteKept = 7 * 24 * time.Hour // an expired invitation stays in the list for so long
)

type invitationRow struct {
	ID                int64
	Role, By, Expires string
	Over              bool
}

func (s *Server) invitationRows(tx store.Tx) (rows []invitationRow, err error) {
	all, err := tx.Invitations()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		login, err := inviter(tx, i)
		if err != nil {
			return nil, err
		}
		rows = append(rows, invitationRow{
			ID: i.ID, Role: string(i.Role), By: login, Expires: i.Expires.Format("2 Jan 2006 15:04 MST"), Over: !s.now().Before(i.Expires),
		})
	}
	return rows, nil
}

// invitationName is what the log calls an invitation.
func invitationName(id int64) string { return fmt.Sprint("invitation ", id) }

// mayGive holds a role to what the caller may make of others.
func mayGive(tx store.Tx, c caller, role account.Role) error {
	right := account.Change
	if role == account.Owner {
		right = account.Govern
	}
	return authorizeNow(tx, c, right, false)
}

// invitePage makes an invitation. Its link is in no other place than the answer.
func (s *Server) invitePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	life, err := days(r.PostForm.Get("days"), 1, 7, 30)
	if err != nil {
		return err
	}
	n, err := s.addInvitation(r.Context(), v.caller(), InvitationRequest{Role: r.PostForm.Get("role"), Days: int(life.Hours() / 24)})
	if errors.Is(err, account.ErrPassword) {
		return badRequest("%s", sentence(err))
	}
	if err != nil {
		return err
	}
	return s.showConsole(w, http.StatusOK, "secret", "/users", v, page{Title: textInvited, Body: secretShown{
		Title: textInvited, What: textInvitedWhat, Secret: n.Link, Until: n.Expires.Format("2 Jan 2006 15:04 MST"),
		Back: "/users", BackName: textPeople,
	}})
}

// addInvitation makes an invitation by a person, who answers for it.
func (s *Server) addInvitation(ctx context.Context, by caller, q InvitationRequest) (n NewInvitation, err error) {
	role, err := account.ParseRole(q.Role)
	if err != nil {
		return n, err
	}
	secret, now := rand.Text(), s.now() // 128 random bits at the least
	n.Link, n.Expires = s.url+pathInvite+secret, now.Add(time.Duration(q.Days)*24*time.Hour)
	i := store.Invitation{Hash: sha256.Sum256([]byte(secret)), Role: role, Created: now, Expires: n.Expires}
	err = s.store.Write(ctx, func(tx store.Tx) error {
		if err := mayGive(tx, by, role); err != nil {
			return err
		}
		if i.User, err = onBehalf(tx, by, q.By, "invitation"); err != nil {
			return err
		}
		if err := mayGive(tx, caller{user: i.User}, role); errors.Is(err, errNotAllowed) && by.user == 0 { // or the link would be void
			return refuse(http.StatusForbidden, errNotAllowed.Code, fmt.Sprintf(textMayNotInvite, q.By, role))
		} else if err != nil {
			return err
		}
		if n.ID, err = tx.AddInvitation(i); err != nil {
			return err
		}
		return s.record(tx, by, actInvite, invitationName(n.ID), facts{"id": n.ID, "role": role, "expires": i.Expires})
	})
	return n, err
}

// secretShown is what is shown once.
type secretShown struct{ Title, What, Secret, Until, Back, BackName string }

func (s *Server) revokeInvitationPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	err := s.removeInvitation(r.Context(), v.caller(), pathNumber(r))
	if err != nil && !errors.Is(err, errNoInvitation) { // it is gone: as wished
		return err
	}
	return redirect(w, r, "/users")
}

func (s *Server) removeInvitation(ctx context.Context, by caller, id int64) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		if err := tx.RemoveInvitation(id); errors.Is(err, store.ErrNotFound) {
			return errNoInvitation
		} else if err != nil {
			return err
		}
		return s.record(tx, by, actInviteRevoke, invitationName(id), facts{"id": id})
	})
}

// invitation finds what the path's secret is good for.
func (s *Server) invitation(tx store.Tx, secret string) (store.Invitation, error) {
	i, err := tx.InvitationByHash(sha256.Sum256([]byte(secret)))
	if errors.Is(err, store.ErrNotFound) || (err == nil && !s.now().Before(i.Expires)) {
		return i, errInviteOver
	}
	if err == nil && mayGive(tx, caller{user: i.User}, i.Role) != nil {
		return i, errInviteOver
	}
	return i, err
}

// invitedPage uses nothing up: whatever fetches links ahead of people may fetch it.
func (s *Server) invitedPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	i, err := s.invitationInPath(r)
	if err != nil {
		return err
	}
	return s.showNewAccount(w, r, http.StatusOK, v, newcomer{role: i.Role, invite: r.PathValue("id")}, "")
}

func (s *Server) invitationInPath(r *http.Request) (i store.Invitation, err error) {
	err = s.store.Read(r.Context(), func(tx store.Tx) error {
		i, err = s.invitation(tx, r.PathValue("id"))
		return err
	})
	return i, err
}

func (s *Server) acceptPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	i, err := s.invitationInPath(r)
	if err != nil {
		return err
	}
	return s.newAccount(w, r, v, newcomer{role: i.Role, invite: r.PathValue("id")}, func(tx store.Tx) error {
		_, err := s.useInvitation(tx, r.PathValue("id"), v.from)
		return err
	})
}

// useInvitation uses an invitation up, and says as what it lets somebody in.
func (s *Server) useInvitation(tx store.Tx, secret, from string) (account.Role, error) {
	i, err := s.invitation(tx, secret)
	if err != nil {
		return "", err
	}
	if err := tx.RemoveInvitation(i.ID); errors.Is(err, store.ErrNotFound) {
		return "", errInviteOver
	} else if err != nil {
		return "", err
	}
	return i.Role, s.record(tx, caller{user: i.User, via: viaConsole, address: from}, actInviteUse, invitationName(i.ID), facts{"id": i.ID, "role": i.Role})
}
