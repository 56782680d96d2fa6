package server

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
)

// KeyList is a page of pre-auth keys.
type KeyList struct {
	Keys []KeyInfo `json:"keys"`
	Next string    `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
}

// KeyRequest makes a pre-auth key.
type KeyRequest struct {
	User          string   `json:"user,omitempty" maxLength:"128" doc:"whose machines it lets in; none, and no tags: the caller's own"`
	Reusable      bool     `json:"reusable,omitempty" doc:"for any number of machines"`
	Ephemeral     bool     `json:"ephemeral,omitempty" doc:"its machines are removed a while after they went offline"`
	Approval      bool     `json:"approval,omitempty" doc:"its machines wait for an admin's approval"`
	Tags          []string `json:"tags,omitempty" maxItems:"32" doc:"of its machines, which belong to nobody"`
	ExpirySeconds int64    `json:"expirySeconds,omitempty" minimum:"1" maximum:"31536000" default:"3600"`
}

func (r *KeyRequest) options() KeyOptions {
	return KeyOptions{
		User: r.User, Reusable: r.Reusable, Ephemeral: r.Ephemeral, Approval: r.Approval, Tags: r.Tags,
		Expires: time.Duration(r.ExpirySeconds) * time.Second,
	}
}

func (s *Server) keyOperations() []operation {
	return []operation{
		gives(operation{
			id: "listKeys", method: http.MethodGet, path: "/keys", about: "List the pre-auth keys", scope: account.ScopeKeys, right: account.See, own: true,
		}, s.listKeys),
		gives(operation{
			id: "getKey", method: http.MethodGet, path: "/keys/{id}", about: "Show a pre-auth key, without its secret", scope: account.ScopeKeys,
			right: account.See, of: s.keyOwner,
		}, func(ctx context.Context, _ caller, in *IDPath) (KeyInfo, error) {
			all, err := s.Keys(ctx)
			for _, k := range all {
				if k.ID == in.ID {
					return k, err
				}
			}
			if err == nil {
				err = errNoKey
			}
			return KeyInfo{}, err
		}),
		gives(operation{
			id: "addKey", method: http.MethodPost, path: "/keys", about: "Make a pre-auth key; it is shown once", scope: account.ScopeKeys,
			right: account.Change, own: true,
		}, func(ctx context.Context, by caller, in *struct{ Body KeyRequest }) (NewKey, error) {
			secret, id, err := s.createKey(ctx, by, in.Body.options())
			return NewKey{ID: id, Key: secret}, err
		}),
		does(operation{
			id: "revokeKey", method: http.MethodDelete, path: "/keys/{id}", about: "Make a pre-auth key useless; machines that it let in stay",
			scope: account.ScopeKeys, right: account.Change, of: s.keyOwner,
		}, func(ctx context.Context, by caller, in *IDPath) error {
			return s.revokeKey(ctx, by, strconv.FormatInt(in.ID, 10))
		}),
	}
}

func (s *Server) listKeys(ctx context.Context, by caller, in *PageQuery) (l KeyList, err error) {
	all, err := s.Keys(ctx)
	if err != nil {
		return l, err
	}
	if authorize(by, account.See, false) != nil {
		all = slices.DeleteFunc(all, func(k KeyInfo) bool { return by.user == 0 || k.User != by.login })
	}
	l.Keys, l.Next, err = pageOf(*in, slices.Values(all), func(k KeyInfo) int64 { return k.ID })
	return l, err
}
