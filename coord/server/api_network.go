package server

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/key"
)

// RelayList is the network's relays.
type RelayList struct {
	Relays []coord.Relay `json:"relays"`
	Next   string        `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
}

// RelayRequest adds a relay.
type RelayRequest struct {
	Key  key.RelayPublic `json:"key" doc:"the relay's public key, as it prints it"`
	UDP  string          `json:"udp,omitempty" maxLength:"300" doc:"host:port of relaying and STUN over UDP"`
	URL  string          `json:"url,omitempty" maxLength:"300" doc:"https://host:port/relay of relaying over WebSocket"`
	Cert string          `json:"cert,omitempty" maxLength:"64" doc:"SHA-256 of its TLS certificate in hexadecimal, where no public authority vouches for it"`
}

// SettingsRequest changes the settings that it names.
type SettingsRequest struct {
	SignUp       *SignUp   `json:"signUp,omitempty" enum:"invitation,open,domains"`
	Domains      *[]string `json:"domains,omitempty" maxItems:"32" nullable:"false"`
	Approval     *bool     `json:"approval,omitempty"`
	KeyDays      *int      `json:"keyDays,omitempty" minimum:"0" maximum:"730"`
	SecondFactor *bool     `json:"secondFactor,omitempty"`
}

func (q *SettingsRequest) apply(c *Settings) {
	set(&c.SignUp, q.SignUp)
	set(&c.Domains, q.Domains)
	set(&c.Approval, q.Approval)
	set(&c.KeyDays, q.KeyDays)
	set(&c.SecondFactor, q.SecondFactor)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// networkOperations are those on what is one for all: status, relays, settings, the set-up link.
func (s *Server) networkOperations() []operation {
	get, post := http.MethodGet, http.MethodPost
	return []operation{
		gives(operation{id: "getStatus", method: get, path: "/status", about: "What there is at a glance", scope: account.ScopeRead, right: account.See},
			func(ctx context.Context, _ caller, _ *none) (Status, error) { return s.Status(ctx) }),
		gives(operation{
			id: "addSetupLink", method: post, path: "/setup-link", about: "Make the link to the page that makes the first owner", scope: account.ScopeUsers,
			right: account.Govern, local: true,
		}, func(ctx context.Context, _ caller, _ *none) (NewSetup, error) { return s.newSetup(ctx) }),
		gives(operation{
			id: "listRelays", method: get, path: "/relays", about: "List the relays", scope: account.ScopeSettings, right: account.See,
		}, func(_ context.Context, _ caller, in *PageQuery) (l RelayList, err error) {
			l.Relays, l.Next, err = pageOf(*in, slices.Values(s.hub.view().Relays), func(r coord.Relay) int64 { return int64(r.ID) })
			return l, err
		}),
		does(operation{
			id: "setRelay", method: http.MethodPut, path: "/relays/{id}", about: "Add a relay, or change the one of that name", scope: account.ScopeSettings,
			right: account.Change,
		}, func(ctx context.Context, by caller, in *struct {
			NamePath
			Body RelayRequest
		},
		) error {
			l := coord.Relay{Name: in.Name, Key: in.Body.Key, UDP: in.Body.UDP, URL: in.Body.URL}
			var err error
			if l.Cert, err = hex.DecodeString(in.Body.Cert); err != nil {
				return fmt.Errorf("%w relay: the certificate's SHA-256 has 64 hexadecimal digits", coord.ErrInvalid)
			}
			return s.putRelay(ctx, by, l)
		}),
		does(operation{
			id: "removeRelay", method: http.MethodDelete, path: "/relays/{id}", about: "Take a relay out of the network", scope: account.ScopeSettings,
			right: account.Change,
		}, func(ctx context.Context, by caller, in *NamePath) error { return s.removeRelay(ctx, by, in.Name) }),
		gives(operation{id: "getSettings", method: get, path: "/settings", about: "Show the settings", scope: account.ScopeSettings, right: account.See},
			func(ctx context.Context, _ caller, _ *none) (Settings, error) { return s.Settings(ctx) }),
		gives(operation{
			id: "setSettings", method: http.MethodPatch, path: "/settings", about: "Change the settings that are named", scope: account.ScopeSettings,
			right: account.Govern,
		}, func(ctx context.Context, by caller, in *struct{ Body SettingsRequest }) (Settings, error) {
			return s.setSettings(ctx, by, in.Body.apply)
		}),
	}
}
