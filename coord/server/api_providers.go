package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/idp"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// ProviderInfo is a sign-in provider without its secret.
type ProviderInfo struct {
	ID      int64     `json:"id"`
	Name    string    `json:"name"`
	Issuer  string    `json:"issuer"`
	Client  string    `json:"client"`
	Created time.Time `json:"created"`
	ProviderOptions
}

// ProviderList is a page of sign-in providers.
type ProviderList struct {
	Providers []ProviderInfo `json:"providers"`
	Next      string         `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
}

// ProviderRequest adds a sign-in provider.
type ProviderRequest struct {
	Name    string   `json:"name" maxLength:"40"`
	Issuer  string   `json:"issuer" maxLength:"300"`
	Client  string   `json:"client" maxLength:"1024"`
	Secret  string   `json:"secret" maxLength:"1024" doc:"or file:NAME, a file in the state directory's folder secrets"`
	SignUp  bool     `json:"signUp,omitempty" doc:"whom it sends gets an account if they have none"`
	Domains []string `json:"domains,omitempty" maxItems:"32" doc:"of verified e-mail addresses; none: all"`
	Groups  []string `json:"groups,omitempty" maxItems:"32" doc:"of the claim groups, one of which they must have; none: all"`
}

func (s *Server) providerOperations() []operation {
	return []operation{
		gives(operation{
			id: "listProviders", method: http.MethodGet, path: "/providers", about: "List the sign-in providers", scope: account.ScopeSettings, right: account.See,
		}, s.listProviders),
		does(operation{
			id: "addProvider", method: http.MethodPost, path: "/providers", about: "Add a sign-in provider that answers", scope: account.ScopeSettings,
			right: account.Govern,
		}, func(ctx context.Context, by caller, in *struct{ Body ProviderRequest }) error {
			q := in.Body
			return providerFailure(s.addProvider(ctx, by, NewProvider{
				Name: q.Name, Issuer: q.Issuer, Client: q.Client, Secret: q.Secret,
				ProviderOptions: ProviderOptions{SignUp: q.SignUp, Domains: q.Domains, Groups: q.Groups},
			}))
		}),
		does(operation{
			id: "setProvider", method: http.MethodPatch, path: "/providers/{id}", about: "Change what is named of a sign-in provider", scope: account.ScopeSettings,
			right: account.Govern,
		}, func(ctx context.Context, by caller, in *struct {
			IDPath
			Body ProviderChange
		},
		) error {
			return providerFailure(s.setProvider(ctx, by, in.ID, in.Body))
		}),
		does(operation{
			id: "removeProvider", method: http.MethodDelete, path: "/providers/{id}", about: "Remove a sign-in provider", scope: account.ScopeSettings,
			right: account.Govern,
		}, func(ctx context.Context, by caller, in *IDPath) error { return s.removeProvider(ctx, by, in.ID) }),
	}
}

// providerFailure says to programs what the console says to people.
func providerFailure(err error) error {
	switch {
	case errors.Is(err, idp.ErrAway):
		return refuse(http.StatusBadGateway, "provider-away", textProviderAway)
	case errors.Is(err, idp.ErrIssuer):
		return badRequest("%s", sentence(err))
	case errors.Is(err, store.ErrTaken):
		return refuse(http.StatusConflict, "taken", textProviderTaken)
	}
	return err
}

func (s *Server) listProviders(ctx context.Context, _ caller, in *PageQuery) (l ProviderList, err error) {
	var rows []ProviderInfo
	err = s.store.Read(ctx, func(tx store.Tx) error {
		rows = nil
		all, err := tx.Providers()
		for _, p := range all {
			i := ProviderInfo{ID: p.ID, Name: p.Name, Issuer: p.Issuer, Client: p.Client, Created: p.Created}
			if err := json.Unmarshal([]byte(p.Options), &i.ProviderOptions); err != nil {
				return err
			}
			rows = append(rows, i)
		}
		return err
	})
	if err != nil {
		return l, err
	}
	slices.SortFunc(rows, func(a, b ProviderInfo) int { return int(a.ID - b.ID) })
	l.Providers, l.Next, err = pageOf(*in, slices.Values(rows), func(p ProviderInfo) int64 { return p.ID })
	return l, err
}
