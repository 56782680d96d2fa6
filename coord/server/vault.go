package server

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
)

// vault seals what a stolen database must not give away, and what a browser carries for us. Its keys come from the
// server's identity, which lies beside the database and in backups, so that each server of a network has the same.
type vault struct {
	aead cipher.AEAD
	mac  [key.Size]byte
}

func newVault(identity key.Server) (*vault, error) {
	k := identity.Derive("warren-coord sealed v1")
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &vault{aead: aead, mac: identity.Derive("warren-coord codes v1")}, nil
}

var errUnsealed = errors.New("what was sealed cannot be opened: is it another server's?")

// seal encrypts for a purpose, in which it says whose it is: what is moved to another place cannot be opened there.
func (v *vault) seal(purpose string, secret []byte) []byte {
	return v.aead.Seal(nil, nil, secret, []byte(purpose))
}

func (v *vault) open(purpose string, sealed []byte) ([]byte, error) {
	secret, err := v.aead.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return nil, errUnsealed
	}
	return secret, nil
}

// hash hides a code that is too short for a plain hash.
func (v *vault) hash(purpose, code string) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, v.mac[:])
	m.Write([]byte(purpose + "\x00" + code))
	copy(sum[:], m.Sum(nil))
	return sum
}

// ticket is what a browser carries between two pages, sealed: the server keeps nothing of a stranger who only begins.
type ticket[T any] struct {
	ID    string    `json:"id"`
	Until time.Time `json:"until"`
	What  T         `json:"what"`
}

const maxTicket = 3 << 10 // a cookie may have 4 KiB (RFC 6265, section 6.1)

// writeTicket seals a ticket for one browser and one purpose.
func writeTicket[T any](s *Server, v *visit, purpose string, life time.Duration, what T) (string, error) {
	text, err := json.Marshal(ticket[T]{ID: rand.Text(), Until: s.now().Add(life), What: what})
	if err != nil {
		return "", err
	}
	sealed := base64.RawURLEncoding.EncodeToString(s.vault.seal("ticket "+purpose+" "+v.form, text))
	if len(sealed) > maxTicket {
		return "", errTooLong
	}
	return sealed, nil
}

// readTicket opens a ticket of this very browser; spend makes it serve once.
func readTicket[T any](s *Server, v *visit, purpose, text string) (t ticket[T], err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > maxTicket {
		return t, errTicket
	}
	plain, err := s.vault.open("ticket "+purpose+" "+v.form, sealed)
	if err != nil || json.Unmarshal(plain, &t) != nil || !s.now().Before(t.Until) {
		return t, errTicket
	}
	return t, nil
}

// spend uses the ticket up, within a transaction: of two requests with it, one gets errSpent.
func (t *ticket[T]) spend(tx store.Tx, now time.Time) error {
	err := tx.Spend(sha256.Sum256([]byte(t.ID)), now, t.Until)
	if errors.Is(err, store.ErrTaken) {
		return errSpent
	}
	return err
}
