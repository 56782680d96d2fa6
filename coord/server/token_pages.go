package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
)

// tokenRow is a token as the console shows it.
type tokenRow struct {
	ID                                int64
	Name, User, Since, Expires, State string
	Used                              string
	Scopes                            []string
}

type tokenPage struct {
	Rows   []tokenRow // the visitor's first; of everybody for owners
	Owner  bool
	Fresh  bool // one can be made now
	Scopes []scopeChoice
}

type scopeChoice struct {
	Name, What string
	Chosen     bool
}

func (s *Server) tokensPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.showTokens(w, r, http.StatusOK, v, "")
}

func (s *Server) showTokens(w http.ResponseWriter, r *http.Request, status int, v *visit, problem string) error {
	p := tokenPage{Owner: authorize(v.caller(), account.Govern, false) == nil, Fresh: s.fresh(v)}
	of := v.user.ID
	if p.Owner {
		of = 0
	}
	all, err := s.tokens(r.Context(), of)
	if err != nil {
		return err
	}
	now := s.now()
	var others []tokenRow
	for i := len(all) - 1; i >= 0; i-- { // the newest first
		t := all[i]
		row := tokenRow{
			ID: t.ID, Name: t.Name, User: t.User, Scopes: t.Scopes, Since: ago(now, t.Created), Used: ago(now, t.Used), State: "usable",
			Expires: t.Expires.Format("2 Jan 2006"),
		}
		if t.Expired {
			row.State = "expired"
		}
		switch {
		case t.User == v.user.Login:
			p.Rows = append(p.Rows, row)
		case len(others) < maxRows:
			others = append(others, row)
		}
	}
	p.Rows = append(p.Rows, others...)
	chosen := r.PostForm["scope"]
	if len(chosen) == 0 {
		chosen = []string{string(account.ScopeRead)}
	}
	for _, sc := range account.Scopes {
		c := scopeChoice{Name: string(sc), What: textScopes[sc]}
		for _, name := range chosen {
			c.Chosen = c.Chosen || name == c.Name
		}
		p.Scopes = append(p.Scopes, c)
	}
	return s.showConsole(w, status, "tokens", "/profile", v, page{
		Title: textTokens, Problem: problem, Typed: cleanText(r.PostForm.Get("name"), maxTokenName), Body: p,
	})
}

// addTokenPage makes a token. Who does must have signed in lately: a token outlives the sign-in.
func (s *Server) addTokenPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !s.fresh(v) {
		return s.showTokens(w, r, http.StatusForbidden, v, textSignInAgain)
	}
	life, err := days(r.PostForm.Get("days"), 7, 30, 90, 365)
	if err != nil {
		return err
	}
	n, err := s.addToken(r.Context(), v.caller(), TokenRequest{
		Name: strings.TrimSpace(r.PostForm.Get("name")), Scopes: r.PostForm["scope"], Days: int(life.Hours() / 24),
	})
	var e *coord.Error
	switch {
	case errors.Is(err, coord.ErrInvalid), errors.Is(err, account.ErrPassword):
		return s.showTokens(w, r, http.StatusUnprocessableEntity, v, sentence(err))
	case errors.Is(err, errManyTokens) && errors.As(err, &e):
		return s.showTokens(w, r, e.Status, v, e.Message+".")
	case err != nil:
		return err
	}
	return s.showConsole(w, http.StatusOK, "secret", "/profile", v, page{Title: textTokenReady, Body: secretShown{
		Title: textTokenReady, What: textTokenReadyWhat, Secret: n.Token, Until: n.Expires.UTC().Format("2 Jan 2006"), Back: "/tokens", BackName: textTokens,
	}})
}

func (s *Server) removeTokenPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	err := s.removeToken(r.Context(), v.caller(), pathNumber(r))
	if err != nil && !errors.Is(err, errNoSuchToken) { // it is gone: as wished
		return err
	}
	return redirect(w, r, "/tokens")
}

// tagMachinePage replaces a machine's tags.
func (s *Server) tagMachinePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	m, err := s.machineInPath(r)
	if err == nil {
		err = s.tagMachine(r.Context(), v.caller(), m, splitWords(r.PostForm.Get("tags")))
	}
	if errors.Is(err, coord.ErrInvalid) {
		return s.showMachine(w, http.StatusUnprocessableEntity, v, m, "", sentence(err))
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/machines/"+r.PathValue("id"))
}
