package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/passkey"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// AccountInfo is the caller's own account, and what the call was signed with.
type AccountInfo struct {
	UserInfo
	Password   bool       `json:"password" doc:"there is one"`
	Codes      int64      `json:"recoveryCodes" doc:"that are left"`
	Passkeys   []WayIn    `json:"passkeys"`
	Identities []WayIn    `json:"identities" doc:"at providers"`
	Token      *TokenInfo `json:"token,omitempty"`
}

// WayIn is a passkey, or what a provider knows the account by. Who adds or removes one has just signed in with a browser.
type WayIn struct {
	ID      int64     `json:"id"`
	Name    string    `json:"name"`
	Issuer  string    `json:"issuer,omitempty" doc:"of an identity"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used,omitzero" doc:"when last"`
	Copied  bool      `json:"copied,omitempty" doc:"two devices have used the passkey, it seems"`
}

// SignInInfo is a browser that is signed in to the account.
type SignInInfo struct {
	ID      string    `json:"id"`
	Browser string    `json:"browser"`
	Address string    `json:"address,omitempty"`
	Since   time.Time `json:"since"`
	Seen    time.Time `json:"seen" doc:"within an hour"`
}

// SignInList is the account's sign-ins.
type SignInList struct {
	SignIns []SignInInfo `json:"signIns"`
}

// TokenList is a page of tokens.
type TokenList struct {
	Tokens []TokenInfo `json:"tokens"`
	Next   string      `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
}

// OwnPasswordRequest replaces one's own password.
type OwnPasswordRequest struct {
	Password string `json:"password" maxLength:"512" doc:"as it is now"`
	Next     string `json:"next" maxLength:"512"`
}

// accountOperations are those on the caller's own account. The host's administrator has none.
func (s *Server) accountOperations() []operation {
	get, post, del := http.MethodGet, http.MethodPost, http.MethodDelete
	own := operation{scope: account.ScopeAccount, right: account.Self, own: true}
	at := func(method, id, path, about string) operation {
		o := own.as(id, path, about)
		o.method = method
		return o
	}
	who := at(get, "getAccount", "/account", "The caller's own account and token")
	who.scope = account.ScopeRead
	return []operation{
		gives(who, s.accountInfo),
		does(at(post, "setOwnPassword", "/account/password", "Replace one's own password, which signs all browsers out"), s.setOwnPassword),
		gives(at(get, "listSignIns", "/account/sessions", "List the browsers that are signed in"), s.listSignIns),
		does(at(del, "removeSignIn", "/account/sessions/{id}", "Sign a browser out"), func(ctx context.Context, by caller, in *struct {
			ID string `path:"id" minLength:"64" maxLength:"64"`
		},
		) error {
			return s.removeSignIn(ctx, by, in.ID)
		}),
		does(at(del, "removeSignIns", "/account/sessions", "Sign all browsers out"), func(ctx context.Context, by caller, _ *none) error {
			return s.removeSignIns(ctx, by, [sha256.Size]byte{})
		}),
		gives(at(get, "listTokens", "/tokens", "List one's own tokens, or all"), s.listTokens),
		gives(at(post, "addToken", "/tokens", "Make a token of no more than the one that asks; it is shown once"),
			func(ctx context.Context, by caller, in *struct{ Body TokenRequest }) (NewToken, error) {
				return s.addToken(ctx, by, in.Body)
			}),
		does(at(del, "removeToken", "/tokens/{id}", "Make a token useless"),
			func(ctx context.Context, by caller, in *IDPath) error { return s.removeToken(ctx, by, in.ID) }),
	}
}

// person refuses who has no account of their own.
func person(by caller) error {
	if by.user == 0 {
		return errNoAccount
	}
	return nil
}

func (s *Server) accountInfo(ctx context.Context, by caller, _ *none) (i AccountInfo, err error) {
	if err := person(by); err != nil {
		return i, err
	}
	err = s.store.Read(ctx, func(tx store.Tx) error {
		u, err := tx.User(by.user)
		if err != nil {
			return err
		}
		if i.UserInfo, err = s.infoOf(tx, u); err == nil {
			err = i.fillWays(tx, u)
		}
		if err != nil || by.token == 0 {
			return err
		}
		t, err := tx.Token(by.token)
		info := s.tokenInfo(t, u.Login)
		i.Token = &info
		return err
	})
	for m := range s.hub.view().Members() {
		if m.Node.User.ID == by.user {
			i.Machines++
		}
	}
	return i, err
}

// fillWays reads how the account is signed in to.
func (i *AccountInfo) fillWays(tx store.Tx, u store.User) (err error) {
	i.Password, i.Passkeys, i.Identities = u.Password != "", []WayIn{}, []WayIn{}
	if i.Codes, err = tx.RecoveryCodes(u.ID); err != nil {
		return err
	}
	keys, err := tx.Passkeys(u.ID)
	if err != nil {
		return err
	}
	for _, p := range keys {
		k := passkey.Key{Data: p.Data}
		i.Passkeys = append(i.Passkeys, WayIn{ID: p.ID, Name: p.Name, Created: p.Created, Used: p.Used, Copied: k.Copied()})
	}
	ids, err := tx.Identities(u.ID)
	for _, d := range ids {
		i.Identities = append(i.Identities, WayIn{ID: d.ID, Name: d.Name, Issuer: d.Issuer, Created: d.Created, Used: d.Used})
	}
	return err
}

func (s *Server) setOwnPassword(ctx context.Context, by caller, in *struct{ Body OwnPasswordRequest }) error {
	if err := person(by); err != nil {
		return err
	}
	if err := account.CheckNew(by.login, in.Body.Next, s.network.Name); err != nil {
		return err
	}
	user, wait, err := s.checkOwnPassword(ctx, by, in.Body.Password)
	switch {
	case err != nil:
		return err
	case wait > 0:
		return refuse(http.StatusTooManyRequests, "slow-down", sayWait(wait))
	case user.ID != by.user:
		return errWrongCurrent
	}
	return s.setPassword(ctx, by, byNumber(by.user), in.Body.Next)
}

func (s *Server) listSignIns(ctx context.Context, by caller, _ *none) (l SignInList, err error) {
	if err := person(by); err != nil {
		return l, err
	}
	l.SignIns = []SignInInfo{}
	now := s.now()
	err = s.store.Read(ctx, func(tx store.Tx) error {
		all, err := tx.WebSessions(by.user)
		for _, ws := range all {
			if now.Sub(ws.Created) <= webLife && now.Sub(ws.Seen) <= webIdle {
				l.SignIns = append(l.SignIns, SignInInfo{
					ID: hex.EncodeToString(ws.Hash[:]), Browser: browserName(ws.Agent), Address: ws.Address, Since: ws.Created, Seen: ws.Seen,
				})
			}
		}
		return err
	})
	return l, err
}

func (s *Server) listTokens(ctx context.Context, by caller, in *struct {
	PageQuery
	All bool `query:"all" doc:"everybody's: for owners"`
},
) (l TokenList, err error) {
	of := by.user
	if in.All {
		if err := authorize(by, account.Govern, false); err != nil {
			return l, err
		}
		of = 0
	} else if err := person(by); err != nil {
		return l, err
	}
	all, err := s.tokens(ctx, of)
	if err != nil {
		return l, err
	}
	l.Tokens, l.Next, err = pageOf(in.PageQuery, slices.Values(all), func(t TokenInfo) int64 { return t.ID })
	return l, err
}
