package store

import (
	"errors"
	"time"
)

// SecondFactor is what makes an account's one-time codes.
type SecondFactor struct {
	User    int64
	Secret  []byte // sealed
	Step    int64  // the last one whose code was taken (RFC 6238, section 4.2: T)
	Created time.Time
}

// Passkey is a WebAuthn credential.
type Passkey struct {
	ID         int64
	User       int64
	Credential []byte // its id
	Name       string
	Data       string // JSON of the one who checks it
	Created    time.Time
	Used       time.Time
}

// Provider is an OpenID Connect provider that people sign in with.
type Provider struct {
	ID      int64
	Name    string
	Issuer  string
	Client  string
	Secret  []byte // sealed
	Options string // JSON of the one who asks it
	Created time.Time
}

// Identity is what a provider knows an account by.
type Identity struct {
	ID      int64
	User    int64
	Issuer  string
	Subject string
	Name    string // to be shown
	Created time.Time
	Used    time.Time
}

// SignIns is the part of Tx that is about how people prove who they are, beside passwords.
type SignIns interface {
	SecondFactor(user int64) (SecondFactor, error)
	SetSecondFactor(f SecondFactor) error // in place of the one before
	// UseStep takes a code's step: ErrNotFound where it, or a later one, was taken before.
	UseStep(user, step int64) error
	RemoveSecondFactor(user int64) error // and the recovery codes
	SetRecoveryCodes(user int64, hashes [][32]byte) error
	RecoveryCodes(user int64) (left int64, err error)
	UseRecoveryCode(user int64, hash [32]byte) error // ErrNotFound where it is none, or was used

	Passkeys(user int64) ([]Passkey, error)
	Passkey(credential []byte) (Passkey, error)
	AddPasskey(p Passkey) (int64, error)
	SetPasskey(p Passkey) error // its Name, Data and Used
	RemovePasskey(user, id int64) error

	Providers() ([]Provider, error)
	Provider(id int64) (Provider, error)
	AddProvider(p Provider) (int64, error)
	SetProvider(p Provider) error
	RemoveProvider(id int64) error

	Identities(user int64) ([]Identity, error)
	Identity(issuer, subject string) (Identity, error)
	AddIdentity(i Identity) (int64, error)
	SetIdentity(i Identity) error // its Name and Used
	RemoveIdentity(user, id int64) error

	// Spend marks as used what serves once: ErrTaken where it was already. It is forgotten at its end.
	Spend(hash [32]byte, now, expires time.Time) error
}

func (t *tx) SecondFactor(user int64) (SecondFactor, error) {
	return one(t, func(r row) (f SecondFactor, err error) {
		var created int64
		err = r.Scan(&f.User, &f.Secret, &f.Step, &created)
		f.Created = when(created)
		return f, err
	}, "SELECT user_id, secret, step, created FROM second_factors WHERE user_id = ?", user)
}

func (t *tx) SetSecondFactor(f SecondFactor) error {
	return t.must("INSERT INTO second_factors (user_id, secret, step, created) VALUES (?, ?, ?, ?) "+
		"ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, step = excluded.step, created = excluded.created",
		f.User, f.Secret, f.Step, ms(f.Created))
}

func (t *tx) UseStep(user, step int64) error {
	return t.must("UPDATE second_factors SET step = ? WHERE user_id = ? AND step < ?", step, user, step)
}

func (t *tx) RemoveSecondFactor(user int64) error {
	if _, err := t.exec("DELETE FROM recovery_codes WHERE user_id = ?", user); err != nil {
		return translate(err)
	}
	return t.must("DELETE FROM second_factors WHERE user_id = ?", user)
}

func (t *tx) SetRecoveryCodes(user int64, hashes [][32]byte) error {
	if _, err := t.exec("DELETE FROM recovery_codes WHERE user_id = ?", user); err != nil {
		return translate(err)
	}
	for _, h := range hashes {
		if err := t.must("INSERT INTO recovery_codes (user_id, hash) VALUES (?, ?)", user, h[:]); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) RecoveryCodes(user int64) (int64, error) {
	return one(t, func(r row) (n int64, err error) { return n, r.Scan(&n) }, "SELECT count(*) FROM recovery_codes WHERE user_id = ?", user)
}

func (t *tx) UseRecoveryCode(user int64, hash [32]byte) error {
	return t.must("DELETE FROM recovery_codes WHERE user_id = ? AND hash = ?", user, hash[:])
}

const passkeyColumns = "id, user_id, credential, name, data, created, used"

func scanPasskey(r row) (p Passkey, err error) {
	var created, used int64
	err = r.Scan(&p.ID, &p.User, &p.Credential, &p.Name, &p.Data, &created, &used)
	p.Created, p.Used = when(created), when(used)
	return p, err
}

func (t *tx) Passkeys(user int64) ([]Passkey, error) {
	return many(t, scanPasskey, "SELECT "+passkeyColumns+" FROM passkeys WHERE user_id = ? ORDER BY id", user)
}

func (t *tx) Passkey(credential []byte) (Passkey, error) {
	return one(t, scanPasskey, "SELECT "+passkeyColumns+" FROM passkeys WHERE credential = ?", credential)
}

func (t *tx) AddPasskey(p Passkey) (int64, error) {
	return t.insert("INSERT INTO passkeys (user_id, credential, name, data, created, used) VALUES (?, ?, ?, ?, ?, ?)",
		p.User, p.Credential, p.Name, p.Data, ms(p.Created), ms(p.Used))
}

func (t *tx) SetPasskey(p Passkey) error {
	return t.must("UPDATE passkeys SET name = ?, data = ?, used = ? WHERE id = ?", p.Name, p.Data, ms(p.Used), p.ID)
}

func (t *tx) RemovePasskey(user, id int64) error {
	return t.must("DELETE FROM passkeys WHERE user_id = ? AND id = ?", user, id)
}

const providerColumns = "id, name, issuer, client, secret, options, created"

func scanProvider(r row) (p Provider, err error) {
	var created int64
	err = r.Scan(&p.ID, &p.Name, &p.Issuer, &p.Client, &p.Secret, &p.Options, &created)
	p.Created = when(created)
	return p, err
}

func (t *tx) Providers() ([]Provider, error) {
	return many(t, scanProvider, "SELECT "+providerColumns+" FROM providers ORDER BY id")
}

func (t *tx) Provider(id int64) (Provider, error) {
	return one(t, scanProvider, "SELECT "+providerColumns+" FROM providers WHERE id = ?", id)
}

func (t *tx) AddProvider(p Provider) (int64, error) {
	return t.insert("INSERT INTO providers (name, issuer, client, secret, options, created) VALUES (?, ?, ?, ?, ?, ?)",
		p.Name, p.Issuer, p.Client, p.Secret, p.Options, ms(p.Created))
}

func (t *tx) SetProvider(p Provider) error {
	return t.must("UPDATE providers SET name = ?, issuer = ?, client = ?, secret = ?, options = ? WHERE id = ?",
		p.Name, p.Issuer, p.Client, p.Secret, p.Options, p.ID)
}

func (t *tx) RemoveProvider(id int64) error { return t.must("DELETE FROM providers WHERE id = ?", id) }

const identityColumns = "id, user_id, issuer, subject, name, created, used"

func scanIdentity(r row) (i Identity, err error) {
	var created, used int64
	err = r.Scan(&i.ID, &i.User, &i.Issuer, &i.Subject, &i.Name, &created, &used)
	i.Created, i.Used = when(created), when(used)
	return i, err
}

func (t *tx) Identities(user int64) ([]Identity, error) {
	return many(t, scanIdentity, "SELECT "+identityColumns+" FROM identities WHERE user_id = ? ORDER BY id", user)
}

func (t *tx) Identity(issuer, subject string) (Identity, error) {
	return one(t, scanIdentity, "SELECT "+identityColumns+" FROM identities WHERE issuer = ? AND subject = ?", issuer, subject)
}

func (t *tx) AddIdentity(i Identity) (int64, error) {
	return t.insert("INSERT INTO identities (user_id, issuer, subject, name, created, used) VALUES (?, ?, ?, ?, ?, ?)",
		i.User, i.Issuer, i.Subject, i.Name, ms(i.Created), ms(i.Used))
}

func (t *tx) SetIdentity(i Identity) error {
	return t.must("UPDATE identities SET name = ?, used = ? WHERE id = ?", i.Name, ms(i.Used), i.ID)
}

func (t *tx) RemoveIdentity(user, id int64) error {
	return t.must("DELETE FROM identities WHERE user_id = ? AND id = ?", user, id)
}

func (t *tx) Spend(hash [32]byte, now, expires time.Time) error {
	if _, err := t.exec("DELETE FROM spent WHERE expires < ?", ms(now)); err != nil {
		return translate(err)
	}
	err := t.must("INSERT INTO spent (hash, expires) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING", hash[:], ms(expires))
	if errors.Is(err, ErrNotFound) {
		return ErrTaken
	}
	return err
}
