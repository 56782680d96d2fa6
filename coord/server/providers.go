package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/idp"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// Bounds of providers.
const (
	maxProviders    = 16
	maxProviderName = 40
	maxSecret       = 1024
	maxGroups       = 32

	// dirSecrets is the folder in the state directory whose files a client secret may name. A path that an owner types in
	// a browser must not lead to any other file: what is in it goes to the provider.
	dirSecrets  = "secrets"
	secretInDir = "file:"
)

// ProviderOptions narrow down whom a provider may send.
type ProviderOptions struct {
	SignUp  bool     `json:"signUp"`            // whom it sends gets an account if they have none
	Domains []string `json:"domains,omitempty"` // of verified e-mail addresses; none: all
	Groups  []string `json:"groups,omitempty"`  // of the claim "groups", one of which they must have; none: all
}

// NewProvider is a provider as an owner describes it.
type NewProvider struct {
	Name, Issuer, Client string
	Secret               string // or file:NAME, a file in the state directory's folder "secrets"
	ProviderOptions
}

func (p *NewProvider) validate() error {
	switch {
	case p.Name == "" || cleanText(p.Name, maxProviderName) != p.Name:
		return fmt.Errorf("%w name: give it 1 to %d characters", coord.ErrInvalid, maxProviderName)
	case p.Client == "" || cleanText(p.Client, maxSecret) != p.Client:
		return fmt.Errorf("%w client id: copy it from the provider", coord.ErrInvalid)
	case len(p.Secret) > maxSecret:
		return fmt.Errorf("%w client secret: it is too long", coord.ErrInvalid)
	case len(p.Groups) > maxGroups:
		return fmt.Errorf("%w groups: %d at the most", coord.ErrInvalid, maxGroups)
	}
	return validDomains(p.Domains)
}

// allows reports whether somebody may come by this provider.
func (o *ProviderOptions) allows(who *idp.Person) bool {
	return (len(o.Domains) == 0 || slices.Contains(o.Domains, who.Domain())) &&
		(len(o.Groups) == 0 || slices.ContainsFunc(o.Groups, func(g string) bool { return slices.Contains(who.Groups, g) }))
}

// AddProvider adds a provider, as the host's administrator.
func (s *Server) AddProvider(ctx context.Context, p NewProvider) error {
	return s.addProvider(ctx, operator, p)
}

// addProvider adds a provider that answers.
func (s *Server) addProvider(ctx context.Context, by caller, p NewProvider) error {
	if err := p.validate(); err != nil {
		return err
	}
	if _, err := s.secretText(p.Secret); err != nil {
		return err
	}
	if err := s.idps.Check(ctx, p.Issuer); err != nil {
		return err
	}
	options, err := json.Marshal(p.ProviderOptions)
	if err != nil {
		return err
	}
	return s.store.Write(ctx, func(tx store.Tx) error {
		if err := authorizeNow(tx, by, account.Govern, false); err != nil {
			return err
		}
		all, err := tx.Providers()
		if err != nil {
			return err
		}
		if len(all) >= maxProviders {
			return fmt.Errorf("%w number of providers: %d at the most", coord.ErrInvalid, maxProviders)
		}
		id, err := tx.AddProvider(store.Provider{
			Name: p.Name, Issuer: p.Issuer, Client: p.Client, Secret: s.vault.seal(secretPurpose(p.Issuer), []byte(p.Secret)),
			Options: string(options), Created: s.now(),
		})
		if err != nil {
			return err
		}
		return s.record(tx, by, actProviderAdd, p.Name, facts{
			"id": id, "issuer": p.Issuer, "client": p.Client, "signUp": p.SignUp, "domains": p.Domains, "groups": p.Groups,
		})
	})
}

func secretPurpose(issuer string) string { return "client secret for " + issuer }

// secretText is the secret, or what the file has that it names.
func (s *Server) secretText(secret string) (string, error) {
	name, inDir := strings.CutPrefix(secret, secretInDir)
	if !inDir {
		return secret, nil
	}
	if name != filepath.Base(name) || name == "." || name == ".." {
		return "", fmt.Errorf("%w file: name one that lies in the folder %s of the state directory", coord.ErrInvalid, dirSecrets)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, dirSecrets, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%w file: there is no %s in the folder %s of the state directory", coord.ErrInvalid, cleanText(name, 80), dirSecrets)
	case err != nil:
		return "", fmt.Errorf("%w file: it cannot be read: %w", coord.ErrInvalid, err)
	case len(text) > maxSecret:
		return "", fmt.Errorf("%w file: it is too long for a client secret", coord.ErrInvalid)
	}
	return strings.TrimSpace(string(text)), nil
}

// provider is one that can be asked.
type provider struct {
	store.Provider
	ProviderOptions
	config idp.Config
}

// providerOf opens what the store has of a provider.
func (s *Server) providerOf(p store.Provider) (out provider, err error) {
	out.Provider = p
	if err := json.Unmarshal([]byte(p.Options), &out.ProviderOptions); err != nil {
		return out, err
	}
	sealed, err := s.vault.open(secretPurpose(p.Issuer), p.Secret)
	if err != nil {
		return out, err
	}
	secret, err := s.secretText(string(sealed))
	out.config = idp.Config{Issuer: p.Issuer, Client: p.Client, Secret: secret, Redirect: s.url + pathCallback}
	return out, err
}

func (s *Server) findProvider(ctx context.Context, id int64) (out provider, err error) {
	var p store.Provider
	err = s.store.Read(ctx, func(tx store.Tx) error {
		p, err = tx.Provider(id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return out, errNoProvider
	}
	if err != nil {
		return out, err
	}
	return s.providerOf(p)
}

// providerRow is a provider as the console shows it.
type providerRow struct {
	ID                                    int64
	Name, Issuer, Client, Domains, Groups string
	SignUp                                bool
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
			var o ProviderOptions
			if err := json.Unmarshal([]byte(p.Options), &o); err != nil {
				return err
			}
			l.Rows = append(l.Rows, providerRow{
				ID: p.ID, Name: p.Name, Issuer: p.Issuer, Client: p.Client, SignUp: o.SignUp,
				Domains: strings.Join(o.Domains, " "), Groups: strings.Join(o.Groups, ", "),
			})
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.showConsole(w, status, "providers", "/settings", v, page{Title: textProviders, Problem: problem, Body: l})
}

func (s *Server) addProviderPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := r.PostForm
	p := NewProvider{
		Name: strings.TrimSpace(f.Get("name")), Issuer: strings.TrimSpace(f.Get("issuer")), Client: strings.TrimSpace(f.Get("client")),
		Secret: strings.TrimSpace(f.Get("secret")), ProviderOptions: ProviderOptions{
			SignUp: f.Get("signup") == "yes", Domains: splitWords(strings.ToLower(f.Get("domains"))), Groups: splitGroups(f.Get("groups")),
		},
	}
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

func (s *Server) removeProvider(ctx context.Context, by caller, id int64) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		if err := authorizeNow(tx, by, account.Govern, false); err != nil {
			return err
		}
		p, err := tx.Provider(id)
		if errors.Is(err, store.ErrNotFound) {
			return errNoProvider
		}
		if err != nil {
			return err
		}
		if err := tx.RemoveProvider(p.ID); err != nil {
			return err
		}
		return s.record(tx, by, actProviderRemove, p.Name, facts{"id": p.ID, "issuer": p.Issuer})
	})
}
