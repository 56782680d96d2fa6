package server

import (
	"errors"
	"net/http"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// keyRow is a pre-auth key as the console shows it.
type keyRow struct {
	ID, Uses                   int64
	User, State, Expires, Kind string
	Tags                       []string
	Revocable                  bool
}

type keyList struct {
	Rows         []keyRow
	Change, Tags bool   // the visitor may make keys, and such for tagged machines
	Typed        string // tags
}

type relayRow struct{ Name, UDP, URL, Key string }

func (s *Server) keysPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.showKeys(w, r, http.StatusOK, v, "")
}

func (s *Server) showKeys(w http.ResponseWriter, r *http.Request, status int, v *visit, problem string) error {
	keys, err := s.Keys(r.Context())
	if err != nil {
		return err
	}
	l := keyList{
		Change: authorize(v.caller(), account.Change, true) == nil, Tags: authorize(v.caller(), account.Change, false) == nil,
		Typed: cleanText(r.PostForm.Get("tags"), maxQuery),
	}
	for i := len(keys) - 1; i >= 0 && len(l.Rows) < maxRows; i-- { // the newest first
		k := keys[i]
		own := k.User == v.user.Login
		if authorize(v.caller(), account.See, own) != nil {
			continue
		}
		row := keyRow{
			ID: k.ID, Uses: k.Uses, User: k.User, State: k.State, Tags: k.Tags, Kind: textKeyOnce,
			Expires:   k.Expires.Format("2 Jan 2006 15:04 MST"),
			Revocable: k.State == "usable" && authorize(v.caller(), account.Change, own) == nil,
		}
		if k.Reusable {
			row.Kind = textKeyMany
		}
		if k.Ephemeral {
			row.Kind += textKeyEphemeral
		}
		if k.Approval {
			row.Kind += textKeyApproval
		}
		l.Rows = append(l.Rows, row)
	}
	return s.showConsole(w, status, "keys", "/keys", v, page{Title: textKeys, Problem: problem, Body: l})
}

// createKeyPage makes a key for the visitor's own machines or, where they may, for tagged ones.
func (s *Server) createKeyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := r.PostForm
	o := KeyOptions{User: v.user.Login, Reusable: f.Get("reusable") == "yes", Ephemeral: f.Get("ephemeral") == "yes", Approval: f.Get("approval") == "yes"}
	if f.Get("for") == "tags" {
		if err := authorize(v.caller(), account.Change, false); err != nil {
			return err
		}
		o.User, o.Tags = "", splitWords(f.Get("tags"))
		if len(o.Tags) == 0 {
			return s.showKeys(w, r, http.StatusUnprocessableEntity, v, textTagsMissing)
		}
	}
	o.Expires = time.Hour
	if f.Get("days") != "0" {
		life, err := days(f.Get("days"), 1, 7, 90)
		if err != nil {
			return err
		}
		o.Expires = life
	}
	until := s.now().Add(o.Expires)
	secret, _, err := s.createKey(r.Context(), v.caller(), o)
	if errors.Is(err, coord.ErrInvalid) {
		return s.showKeys(w, r, http.StatusUnprocessableEntity, v, sentence(err))
	}
	if err != nil {
		return err
	}
	return s.showConsole(w, http.StatusOK, "secret", "/keys", v, page{Title: textKeyReady, Body: secretShown{
		Title: textKeyReady, What: textKeyReadyWhat, Secret: secret, Until: until.UTC().Format("2 Jan 2006 15:04 MST"),
		Back: "/keys", BackName: textKeys,
	}})
}

// keyOwner is an ownerOf.
func (s *Server) keyOwner(r *http.Request) (owner int64, err error) {
	err = s.store.Read(r.Context(), func(tx store.Tx) error {
		keys, err := tx.AuthKeys()
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.ID == pathNumber(r) {
				owner = k.User
				return nil
			}
		}
		return errNoKey
	})
	return owner, err
}

func (s *Server) revokeKeyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if err := s.revokeKey(r.Context(), v.caller(), r.PathValue("id")); err != nil {
		return err
	}
	return redirect(w, r, "/keys")
}

func (s *Server) relaysPage(w http.ResponseWriter, _ *http.Request, v *visit) error {
	var rows []relayRow
	for _, l := range s.hub.view().Relays {
		rows = append(rows, relayRow{Name: l.Name, UDP: l.UDP, URL: l.URL, Key: l.Key.String()})
	}
	return s.showConsole(w, http.StatusOK, "relays", "/relays", v, page{Title: textRelays, Body: rows})
}
