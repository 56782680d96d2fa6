package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/idp"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// providerRow is a provider as the console shows it.
type providerRow struct {
	ID                                    int64
	Name, Issuer, Client, Domains, Groups string
	SignUp                                bool
}

func rowOfProvider(p store.Provider) (row providerRow, err error) {
	var o ProviderOptions
	err = json.Unmarshal([]byte(p.Options), &o)
	return providerRow{
		ID: p.ID, Name: p.Name, Issuer: p.Issuer, Client: p.Client, SignUp: o.SignUp,
		Domains: strings.Join(o.Domains, " "), Groups: strings.Join(o.Groups, ", "),
	}, err
}

// providerList is the page of providers.
type providerList struct {
	Rows     []providerRow
	Change   bool
	Callback string
	Typed    NewProvider
}

func (s *Server) providersPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.showProviders(w, r, http.StatusOK, v, NewProvider{}, "")
}

func (s *Server) showProviders(w http.ResponseWriter, r *http.Request, status int, v *visit, typed NewProvider, problem string) error {
	l := providerList{Change: authorize(v.caller(), account.Govern, false) == nil, Callback: s.url + pathCallback, Typed: typed}
	err := s.store.Read(r.Context(), func(tx store.Tx) error {
		all, err := tx.Providers()
		for _, p := range all {
			row, err := rowOfProvider(p)
			if err != nil {
				return err
			}
			l.Rows = append(l.Rows, row)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.showConsole(w, status, "providers", "/settings", v, page{Title: textProviders, Problem: problem, Body: l})
}

// typedProvider is what somebody wrote into the form.
func typedProvider(r *http.Request) NewProvider {
	f := r.PostForm
	return NewProvider{
		Name: strings.TrimSpace(f.Get("name")), Issuer: strings.TrimSpace(f.Get("issuer")), Client: strings.TrimSpace(f.Get("client")),
		Secret: strings.TrimSpace(f.Get("secret")), ProviderOptions: ProviderOptions{
			SignUp: f.Get("signup") == "yes", Domains: splitWords(strings.ToLower(f.Get("domains"))), Groups: splitGroups(f.Get("groups")),
		},
	}
}

func (s *Server) addProviderPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	p := typedProvider(r)
	err := s.addProvider(r.Context(), v.caller(), p)
	problem := ""
	switch {
	case errors.Is(err, idp.ErrAway):
		problem = textProviderAway
		s.log.Info("a provider does not answer", "issuer", bounded(p.Issuer, maxQuery), "err", err)
	case errors.Is(err, idp.ErrIssuer), errors.Is(err, coord.ErrInvalid):
		problem = sentence(err)
	case errors.Is(err, store.ErrTaken):
		problem = textProviderTaken
	case err != nil:
		return err
	default:
		return redirect(w, r, "/providers")
	}
	p.Secret = ""
	return s.showProviders(w, r, http.StatusUnprocessableEntity, v, p, problem)
}

// splitGroups takes names apart that commas part: they may hold blanks.
func splitGroups(text string) (groups []string) {
	for g := range strings.SplitSeq(text, ",") {
		if g = cleanText(strings.TrimSpace(g), maxQuery); g != "" && !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	return groups
}

// providerPage is the form that changes a provider.
func (s *Server) providerPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	var row providerRow
	err := s.store.Read(r.Context(), func(tx store.Tx) error {
		p, err := tx.Provider(pathNumber(r))
		if err == nil {
			row, err = rowOfProvider(p)
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return errNoProvider
	}
	if err != nil {
		return err
	}
	return s.showProvider(w, http.StatusOK, v, row, "")
}

func (s *Server) showProvider(w http.ResponseWriter, status int, v *visit, row providerRow, problem string) error {
	return s.showConsole(w, status, "provider", "/settings", v, page{Title: row.Name, Problem: problem, Body: row})
}

func (s *Server) setProviderPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	p, id := typedProvider(r), pathNumber(r)
	q := ProviderChange{Name: &p.Name, Client: &p.Client, SignUp: &p.SignUp, Domains: &p.Domains, Groups: &p.Groups}
	if p.Secret != "" {
		q.Secret = &p.Secret
	}
	err := s.setProvider(r.Context(), v.caller(), id, q)
	problem := ""
	switch {
	case errors.Is(err, coord.ErrInvalid):
		problem = sentence(err)
	case errors.Is(err, store.ErrTaken):
		problem = textProviderTaken
	case err != nil:
		return err
	default:
		return redirect(w, r, "/providers")
	}
	return s.showProvider(w, http.StatusUnprocessableEntity, v, providerRow{
		ID: id, Name: cleanText(p.Name, maxProviderName), Issuer: cleanText(p.Issuer, maxQuery), Client: cleanText(p.Client, maxSecret), SignUp: p.SignUp,
		Domains: cleanText(strings.Join(p.Domains, " "), maxForm), Groups: cleanText(strings.Join(p.Groups, ", "), maxForm),
	}, problem)
}

func (s *Server) askRemoveProvider(w http.ResponseWriter, r *http.Request, v *visit) error {
	p, err := s.findProvider(r.Context(), pathNumber(r))
	if err != nil && !errors.Is(err, coord.ErrInvalid) { // its secret's file may be gone
		return err
	}
	return s.confirm(w, "/settings", v, confirmation{
		Ask: fmt.Sprintf(textRemoveProviderAsk, p.Name), What: textRemoveProviderWhat, Action: r.URL.Path, Button: textRemoveProvider, Back: "/providers",
	})
}

func (s *Server) removeProviderPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	err := s.removeProvider(r.Context(), v.caller(), pathNumber(r))
	if err != nil && !errors.Is(err, errNoProvider) { // it is gone: as wished
		return err
	}
	return redirect(w, r, "/providers")
}
