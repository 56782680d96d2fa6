package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

// ProviderChange changes what it names of a provider. The issuer is not among it: who somebody is, is said by that and
// the subject, and another issuer is another provider.
type ProviderChange struct {
	Name    *string   `json:"name,omitempty" maxLength:"40"`
	Client  *string   `json:"client,omitempty" maxLength:"1024"`
	Secret  *string   `json:"secret,omitempty" maxLength:"1024" doc:"or file:NAME, a file in the state directory's folder secrets"`
	SignUp  *bool     `json:"signUp,omitempty" doc:"whom it sends gets an account if they have none"`
	Domains *[]string `json:"domains,omitempty" maxItems:"32" nullable:"false" doc:"of verified e-mail addresses; none: all"`
	Groups  *[]string `json:"groups,omitempty" maxItems:"32" nullable:"false" doc:"of the claim groups, one of which they must have; none: all"`
}

// setProvider changes a provider, whether it answers now or not. Who has an account by it keeps that.
func (s *Server) setProvider(ctx context.Context, by caller, id int64, q ProviderChange) error {
	if q.Secret != nil {
		if _, err := s.secretText(*q.Secret); err != nil {
			return err
		}
	}
	return s.store.Write(ctx, func(tx store.Tx) error {
		if err := authorizeNow(tx, by, account.Govern, false); err != nil {
			return err
		}
		was, err := tx.Provider(id)
		if errors.Is(err, store.ErrNotFound) {
			return errNoProvider
		}
		if err != nil {
			return err
		}
		next := NewProvider{Name: was.Name, Client: was.Client}
		if err := json.Unmarshal([]byte(was.Options), &next.ProviderOptions); err != nil {
			return err
		}
		set(&next.Name, q.Name)
		set(&next.Client, q.Client)
		set(&next.Secret, q.Secret)
		set(&next.SignUp, q.SignUp)
		set(&next.Domains, q.Domains)
		set(&next.Groups, q.Groups)
		if err := next.validate(); err != nil {
			return err
		}
		options, err := json.Marshal(next.ProviderOptions)
		if err != nil {
			return err
		}
		p := was
		p.Name, p.Client, p.Options = next.Name, next.Client, string(options)
		details := facts{"id": id, "issuer": p.Issuer, "client": p.Client, "signUp": next.SignUp, "domains": next.Domains, "groups": next.Groups}
		if q.Secret != nil {
			p.Secret = s.vault.seal(secretPurpose(p.Issuer), []byte(next.Secret))
			details["secret"] = "replaced"
		} else if p.Name == was.Name && p.Client == was.Client && p.Options == was.Options {
			return nil
		}
		if err := tx.SetProvider(p); err != nil {
			return err
		}
		return s.record(tx, by, actProviderSet, was.Name, details)
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
