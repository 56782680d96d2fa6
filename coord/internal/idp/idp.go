// Package idp asks OpenID Connect providers who somebody is: the authorization code flow (OpenID Connect Core 1.0, section
// 3.1) with PKCE (RFC 7636, S256), a nonce, and the issuer in the answer (RFC 9207) where the provider sends it.
//
//	Begin ─▶ the browser asks the provider ─▶ a code in the browser's hand ─▶ Finish: the code, once, for a Person
//
// The state, which binds an answer to the browser that asked, is the caller's. What a provider says is a stranger's
// text: it is bounded here, and of it only issuer and subject say who somebody is.
package idp

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Errors that callers tell apart. Each wraps a cause for the log.
var (
	ErrIssuer  = errors.New("the issuer is no address of a provider")
	ErrAway    = errors.New("the provider does not answer as a provider does")
	ErrClient  = errors.New("the provider does not take this client id and secret")
	ErrDenied  = errors.New("the provider let nobody in")
	ErrAnswer  = errors.New("the provider's answer is not valid")
	ErrExpired = errors.New("the provider's answer is too old, or a clock is wrong")
)

// Bounds.
const (
	answerTimeout = 10 * time.Second // for one request
	maxAnswer     = 1 << 20
	maxAsked      = 32              // requests to providers at a time
	discoveryLife = time.Hour       // then the provider is asked for its endpoints again
	failureLife   = 3 * time.Second // so long one that is away is not asked again
	maxSubject    = 255             // Core 1.0, section 2: sub
	maxText       = 256             // of any other claim
	maxGroups     = 200
)

// Config is a provider as this server is known to it.
type Config struct {
	Issuer, Client, Secret string
	Redirect               string // the address to which it sends the browser back
}

// Journey is what one sign-in needs to know again at its end. All are secrets of at least 128 random bits.
type Journey struct{ State, Nonce, Verifier string }

// Person is who the provider says it is. Issuer and Subject name somebody for ever; all else is what they call
// themselves today, of which only a verified e-mail address was looked at by anybody.
type Person struct {
	Issuer, Subject string
	Login, Name     string
	Email           string
	Verified        bool // Email is the person's, the provider says
	Groups          []string
}

// Directory asks providers, and remembers their endpoints.
type Directory struct {
	now    func() time.Time
	client *http.Client
	slots  chan struct{}

	mu    sync.Mutex
	known map[string]*known // by issuer
}

type known struct {
	mu       sync.Mutex // held while the provider is asked
	provider *oidc.Provider
	meta     metadata
	err      error
	until    time.Time
}

// metadata is what this package reads of a provider's own description (OpenID Connect Discovery 1.0, section 3).
type metadata struct {
	Authorization string   `json:"authorization_endpoint"`
	Methods       []string `json:"token_endpoint_auth_methods_supported"`
	SendsIssuer   bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207, section 3
}

// New makes a Directory. now is the clock that tokens are held to.
func New(now func() time.Time) *Directory {
	return &Directory{
		now: now, known: map[string]*known{}, slots: make(chan struct{}, maxAsked),
		client: &http.Client{
			Timeout: answerTimeout, Transport: &careful{http.DefaultTransport.(*http.Transport).Clone()},
			CheckRedirect: func(_ *http.Request, via []*http.Request) error {
				if len(via) > 3 {
					return errors.New("it redirects again and again")
				}
				return nil
			},
		},
	}
}

// Close ends idle connections.
func (d *Directory) Close() { d.client.CloseIdleConnections() }

// careful is a transport that asks over TLS only, and reads no more than it must.
type careful struct{ next *http.Transport }

func (c *careful) CloseIdleConnections() { c.next.CloseIdleConnections() }

func (c *careful) RoundTrip(r *http.Request) (*http.Response, error) {
	if !safe(r.URL) {
		return nil, fmt.Errorf("%s is not https", r.URL.Host)
	}
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// safe reports whether nobody on the way reads or changes what goes to the address: TLS, or this very host.
func safe(u *url.URL) bool {
	if u.Host == "" || u.User != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// CheckIssuer refuses what cannot be an issuer (Discovery 1.0, section 3).
func CheckIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || !safe(u) || u.RawQuery != "" || u.Fragment != "" || len(issuer) > maxText {
		return fmt.Errorf("%w: give it as the provider does, such as https://login.example.org", ErrIssuer)
	}
	return nil
}

// Check asks the provider for its description.
func (d *Directory) Check(ctx context.Context, issuer string) error {
	_, _, err := d.discover(ctx, issuer)
	return err
}

// discover finds the provider, from memory if it was asked lately.
func (d *Directory) discover(ctx context.Context, issuer string) (*oidc.Provider, metadata, error) {
	if err := CheckIssuer(issuer); err != nil {
		return nil, metadata{}, err
	}
	d.mu.Lock()
	k := d.known[issuer]
	if k == nil {
		if len(d.known) > 1000 { // issuers are typed by owners: these are attempts
			clear(d.known)
		}
		k = &known{}
		d.known[issuer] = k
	}
	d.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if d.now().Before(k.until) {
		return k.provider, k.meta, k.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout) // others wait for it too
	defer cancel()
	k.provider, k.err = oidc.NewProvider(d.context(ctx), issuer)
	k.meta = metadata{}
	if k.err == nil {
		k.err = k.provider.Claims(&k.meta)
	}
	if k.err == nil {
		if u, err := url.Parse(k.meta.Authorization); err != nil || !safe(u) {
			k.err = errors.New("its authorization endpoint is not https")
		}
	}
	k.until = d.now().Add(discoveryLife)
	if k.err != nil {
		k.err, k.until = fmt.Errorf("%w: %w", ErrAway, k.err), d.now().Add(failureLife)
	}
	return k.provider, k.meta, k.err
}

func (d *Directory) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, d.client)
}

// ask bounds how many requests wait for providers; leave must be called.
func (d *Directory) ask(ctx context.Context) (leave func(), err error) {
	select {
	case d.slots <- struct{}{}:
		return func() { <-d.slots }, nil
	default:
		return nil, fmt.Errorf("%w: too many wait for it", ErrAway)
	}
}

func (c *Config) oauth2(p *oidc.Provider, m metadata) *oauth2.Config {
	end := p.Endpoint()
	end.AuthStyle = oauth2.AuthStyleInHeader // what a provider that says nothing takes (Core 1.0, section 9)
	if len(m.Methods) > 0 && !slices.Contains(m.Methods, "client_secret_basic") || c.Secret == "" {
		end.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: c.Client, ClientSecret: c.Secret, Endpoint: end, RedirectURL: c.Redirect,
		Scopes: []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail},
	}
}

// Begin gives the address at which the provider asks the person.
func (d *Directory) Begin(ctx context.Context, c Config, j Journey) (string, error) {
	leave, err := d.ask(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	p, m, err := d.discover(ctx, c.Issuer)
	if err != nil {
		return "", err
	}
	return c.oauth2(p, m).AuthCodeURL(j.State, oidc.Nonce(j.Nonce), oauth2.S256ChallengeOption(j.Verifier)), nil
}

// Finish makes of what the browser brought back who it is. The caller has looked at the state, and taken it once.
func (d *Directory) Finish(ctx context.Context, c Config, j Journey, answer url.Values) (who Person, err error) {
	leave, err := d.ask(ctx)
	if err != nil {
		return who, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	p, m, err := d.discover(ctx, c.Issuer)
	if err != nil {
		return who, err
	}
	// Another provider's answer must not be taken for this one's: mix-up (RFC 9700, section 4.4).
	if answer.Get("iss") != c.Issuer && (answer.Has("iss") || m.SendsIssuer) {
		return who, fmt.Errorf("%w: it comes from another issuer", ErrAnswer)
	}
	if answer.Has("error") || answer.Get("code") == "" {
		return who, fmt.Errorf("%w: %q", ErrDenied, clip(answer.Get("error")))
	}
	token, err := c.oauth2(p, m).Exchange(d.context(ctx), answer.Get("code"), oauth2.VerifierOption(j.Verifier))
	if err != nil {
		return who, exchangeError(err)
	}
	return d.verify(ctx, p, c, j, token)
}

func exchangeError(err error) error {
	var said *oauth2.RetrieveError
	switch {
	case !errors.As(err, &said):
		return fmt.Errorf("%w: %w", ErrAway, err)
	case said.ErrorCode == "invalid_client" || said.ErrorCode == "unauthorized_client" || said.Response.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w: %q", ErrClient, said.ErrorCode)
	case said.Response.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("%w: %s", ErrAway, said.Response.Status)
	}
	return fmt.Errorf("%w: %q", ErrDenied, clip(said.ErrorCode)) // its body may hold what it was sent
}

// verify holds the token to this client, this journey and this moment, and reads who it is.
func (d *Directory) verify(ctx context.Context, p *oidc.Provider, c Config, j Journey, token *oauth2.Token) (who Person, err error) {
	raw, _ := token.Extra("id_token").(string)
	id, err := p.Verifier(&oidc.Config{ClientID: c.Client, Now: d.now}).Verify(d.context(ctx), raw)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return who, ErrExpired
	case err != nil:
		return who, fmt.Errorf("%w: %w", ErrAnswer, err)
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(j.Nonce)) != 1:
		return who, fmt.Errorf("%w: it was for another sign-in (nonce)", ErrAnswer)
	case !validSubject(id.Subject):
		return who, fmt.Errorf("%w: its subject is none", ErrAnswer)
	}
	var cl claims
	if err := id.Claims(&cl); err != nil {
		return who, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if cl.Party != "" && cl.Party != c.Client || cl.Party == "" && len(id.Audience) > 1 { // Core 1.0, section 3.1.3.7
		return who, fmt.Errorf("%w: it is for another client", ErrAnswer)
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return who, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
	}
	if p.UserInfoEndpoint() != "" && (cl.Email == "" || cl.Login == "") { // many keep these out of the token
		info, err := p.UserInfo(d.context(ctx), oauth2.StaticTokenSource(token))
		switch {
		case err != nil:
			return who, fmt.Errorf("%w: %w", ErrAway, err)
		case info.Subject != id.Subject: // Core 1.0, section 5.3.2: or else it is somebody else's
			return who, fmt.Errorf("%w: it speaks of two people", ErrAnswer)
		}
		if err := info.Claims(&cl); err != nil {
			return who, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
	}
	return cl.person(c.Issuer, id.Subject), nil
}

// validSubject holds a subject to what the standard allows, and to what every database keeps as it is.
func validSubject(sub string) bool {
	return sub != "" && len(sub) <= maxSubject && !strings.ContainsFunc(sub, func(r rune) bool { return r < ' ' || r > '~' })
}
