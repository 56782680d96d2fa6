// Package passkey registers passkeys and signs people in with them (WebAuthn, level 3). A passkey is discoverable, so that
// nobody types a name, and used only by somebody who unlocked it: it is two things at once, the device and the finger or
// PIN that opens it.
//
// What a ceremony has to know at its end is opaque text for the caller to keep: it must come back unchanged, once, and
// from the same browser.
package passkey

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

// Errors that callers tell apart.
var (
	// ErrNoName: browsers know passkeys by a host's name, and this one has only an address.
	ErrNoName = errors.New("passkeys need a server with a name, not only an address")
	// ErrAnswer is wrapped by refusals of what a browser answered.
	ErrAnswer = errors.New("the passkey's answer is not valid")
	// ErrUnknown is for a caller's find to return.
	ErrUnknown = errors.New("the passkey is not known here")
)

// MaxAnswer bounds what a browser answers, in bytes.
const MaxAnswer = 12 << 10

// Desk is where passkeys are shown. It serves one origin.
type Desk struct{ w *webauthn.WebAuthn }

// Person is whom passkeys belong to.
type Person struct {
	Handle []byte // what passkeys know them by: 1 to 64 bytes that say nothing about them
	Login  string
	Keys   []Key
}

// Key is a passkey that is registered.
type Key struct {
	ID   []byte
	Data string // for this package to read again
}

// New makes the desk of the server at the address. The relying party's id is its host.
func New(address, network string) (*Desk, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil || u.Hostname() == "" {
		return nil, ErrNoName
	}
	yes := true
	w, err := webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: "Warren " + network, RPOrigins: []string{u.Scheme + "://" + u.Host},
		AttestationPreference: protocol.PreferNoAttestation, // which maker's device it is, is none of our business
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: &yes, UserVerification: protocol.VerificationRequired,
		},
	})
	return &Desk{w: w}, err
}

// user is a Person as the library wants it.
type user struct {
	Person
	keys []webauthn.Credential
}

func (u *user) WebAuthnID() []byte                         { return u.Handle }
func (u *user) WebAuthnName() string                       { return u.Login }
func (u *user) WebAuthnDisplayName() string                { return u.Login }
func (u *user) WebAuthnCredentials() []webauthn.Credential { return u.keys }

func userOf(p Person) (*user, error) {
	u := &user{Person: p}
	for _, k := range p.Keys {
		var c webauthn.Credential
		if err := json.Unmarshal([]byte(k.Data), &c); err != nil {
			return nil, fmt.Errorf("stored passkey: %w", err)
		}
		u.keys = append(u.keys, c)
	}
	return u, nil
}

// BeginRegister gives what the browser asks an authenticator for, and what FinishRegister must have. A device that has a
// passkey of the person makes no second one.
func (d *Desk) BeginRegister(p Person) (options, keep string, err error) {
	u, err := userOf(p)
	if err != nil {
		return "", "", err
	}
	creation, session, err := d.w.BeginRegistration(u, webauthn.WithExclusions(webauthn.Credentials(u.keys).CredentialDescriptors()))
	if err != nil {
		return "", "", err
	}
	return both(creation.Response, session)
}

// FinishRegister checks the answer.
func (d *Desk) FinishRegister(p Person, keep, answer string) (k Key, err error) {
	var session webauthn.SessionData
	if err := json.Unmarshal([]byte(keep), &session); err != nil {
		return k, err
	}
	u, err := userOf(p)
	if err != nil {
		return k, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(answer))
	if err != nil {
		return k, refused(err)
	}
	c, err := d.w.CreateCredential(u, session, parsed)
	if err != nil {
		return k, refused(err)
	}
	return keyOf(c)
}

// BeginSignIn gives what the browser asks for: a passkey of these, or with none, any that it has for this server.
func (d *Desk) BeginSignIn(only []Key) (options, keep string, err error) {
	assertion, session, err := d.w.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return "", "", err
	}
	for _, k := range only {
		assertion.Response.AllowedCredentials = append(assertion.Response.AllowedCredentials,
			protocol.CredentialDescriptor{Type: protocol.PublicKeyCredentialType, CredentialID: k.ID})
	}
	return both(assertion.Response, session)
}

// FinishSignIn checks the answer. find gives the person whose passkey it is, by the passkey's id. The key that comes back
// is to be stored; copied reports that another device seems to use it too (level 3, section 6.1.1: signature counter).
func (d *Desk) FinishSignIn(keep, answer string, find func(id []byte) (Person, error)) (p Person, k Key, copied bool, err error) {
	var session webauthn.SessionData
	if err := json.Unmarshal([]byte(keep), &session); err != nil {
		return p, k, false, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(answer))
	if err != nil {
		return p, k, false, refused(err)
	}
	var trouble error // of ours, which the library would hide
	_, c, err := d.w.ValidatePasskeyLogin(func(id, handle []byte) (webauthn.User, error) {
		var u *user
		if p, trouble = find(id); trouble == nil {
			u, trouble = userOf(p)
		}
		if trouble != nil {
			return nil, trouble
		}
		if subtle.ConstantTimeCompare(handle, p.Handle) != 1 {
			return nil, errors.New("it is another person's")
		}
		return u, nil
	}, session, parsed)
	switch {
	case trouble != nil:
		return p, k, false, trouble
	case err != nil:
		return p, k, false, refused(err)
	}
	k, err = keyOf(c)
	return p, k, c.Authenticator.CloneWarning, err
}

// Copied reports whether a stored passkey was once seen to be used by another device too.
func (k *Key) Copied() bool {
	var c webauthn.Credential
	return json.Unmarshal([]byte(k.Data), &c) == nil && c.Authenticator.CloneWarning
}

func both(options, session any) (string, string, error) {
	a, err1 := json.Marshal(options)
	b, err2 := json.Marshal(session)
	return string(a), string(b), errors.Join(err1, err2)
}

// keyOf keeps what signing in needs: what the device said of its maker is not kept.
func keyOf(c *webauthn.Credential) (Key, error) {
	kept := *c
	kept.Attestation = webauthn.CredentialAttestation{}
	text, err := json.Marshal(&kept)
	return Key{ID: c.ID, Data: string(text)}, err
}

// refused has the library's own words for the log, which stand in two places.
func refused(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.DevInfo != "" {
		return fmt.Errorf("%w: %s: %s", ErrAnswer, e.Details, e.DevInfo)
	}
	return fmt.Errorf("%w: %w", ErrAnswer, err)
}
