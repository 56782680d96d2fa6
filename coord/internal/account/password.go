// Package account knows who people are: their roles, passwords, one-time and recovery codes, throttled guesses.
//
// Browser sessions have a small table of their own in the store (store.WebSession) in place of a session library's
// blobs: they can then be listed and revoked by account, end with the password in one transaction, and only the
// hash of the cookie is on disk.
package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Cost of a password's hash: RFC 9106, section 4, second recommended option (64 MiB, 3 passes), on one lane.
const (
	memoryKiB = 64 << 10
	passes    = 3
	lanes     = 1
	saltSize  = 16
	hashSize  = 32
)

// Bounds of a password: at least so many characters, and at most so many bytes, which bounds what is hashed.
const (
	MinPassword = 10
	MaxPassword = 512
	MaxLogin    = 63
)

// ErrPassword is wrapped by refusals of a new password or login.
var ErrPassword = errors.New("not accepted")

// Hasher hashes passwords, no more at a time than there are cores: a flood of logins waits, and takes no more memory.
type Hasher struct {
	slots chan struct{}
	dummy string // is compared where there is no such account, so that it takes as long
}

// NewHasher makes a Hasher.
func NewHasher() *Hasher {
	h := &Hasher{slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	h.dummy = encode(make([]byte, saltSize), make([]byte, hashSize))
	return h
}

// Hash encodes a password for the store, as PHC strings do.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt)
	hash, err := h.run(ctx, password, salt)
	return encode(salt, hash), err
}

// Check reports whether the password is the one that was encoded. An empty text stands for an account that does not
// exist: the answer is no, after the same time.
func (h *Hasher) Check(ctx context.Context, password, encoded string) (bool, error) {
	real := encoded != ""
	if !real {
		encoded = h.dummy
	}
	salt, want, err := decode(encoded)
	if err != nil {
		return false, err
	}
	got, err := h.run(ctx, password, salt)
	return subtle.ConstantTimeCompare(got, want) == 1 && real, err
}

func (h *Hasher) run(ctx context.Context, password string, salt []byte) ([]byte, error) {
	if len(password) > MaxPassword {
		password = password[:MaxPassword]
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), salt, passes, memoryKiB, lanes, hashSize), nil
}

func encode(salt, hash []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memoryKiB, passes, lanes,
		b64.EncodeToString(salt), b64.EncodeToString(hash))
}

// decode reads what encode wrote. Other parameters are refused: none have ever been stored.
func decode(text string) (salt, hash []byte, err error) {
	head, rest, ok := strings.Cut(text, fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, memoryKiB, passes, lanes))
	saltText, hashText, ok2 := strings.Cut(rest, "$")
	if !ok || !ok2 || head != "" {
		return nil, nil, errors.New("stored password is not readable")
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(saltText)
	hash, err2 := base64.RawStdEncoding.Strict().DecodeString(hashText)
	if err := errors.Join(err1, err2); err != nil || len(salt) != saltSize || len(hash) != hashSize {
		return nil, nil, errors.New("stored password is not readable")
	}
	return salt, hash, nil
}

// CheckLogin refuses what cannot be an account's name: anything but 1 to 63 lower-case letters, digits and . _ - @,
// beginning with a letter or digit.
func CheckLogin(login string) error {
	if login == "" || len(login) > MaxLogin {
		return fmt.Errorf("name %w: it needs 1 to %d characters", ErrPassword, MaxLogin)
	}
	for i, c := range []byte(login) {
		plain := (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
		if !plain && (i == 0 || !strings.ContainsRune("._-@", rune(c))) {
			return fmt.Errorf("name %w: use lower-case letters, digits and . _ - @", ErrPassword)
		}
	}
	return nil
}

// CleanLogin makes a name for an account of what somebody is called elsewhere; "user" where nothing of it can serve. It
// is short enough for a number behind it.
func CleanLogin(text string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(text) {
		plain := (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
		switch {
		case b.Len() >= MaxLogin-10:
		case plain, b.Len() > 0 && strings.ContainsRune("._-@", c):
			b.WriteRune(c)
		case b.Len() > 0 && c == ' ':
			b.WriteRune('.')
		}
	}
	if login := strings.TrimRight(b.String(), "._-@"); login != "" {
		return login
	}
	return "user"
}
