package key

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Size is the length of every key in bytes, public and private (for Ed25519: of the seed).
const Size = 32

// ErrInvalid is wrapped by every error about the text or the length of a key.
// The errors never repeat the text, which might be a secret.
var ErrInvalid = errors.New("invalid key")

const redacted = "redacted"

// secret is the private half of any key.
type secret struct{ k [Size]byte }

// String implements fmt.Stringer and hides the key.
func (secret) String() string { return redacted }

// Format implements fmt.Formatter and hides the key from every verb.
func (secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer and hides the key.
func (secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler and hides the key: only Reveal shows it.
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// IsZero reports whether the key was never set.
func (s secret) IsZero() bool { return s.k == [Size]byte{} }

func newSecret() (s secret) {
	_, _ = rand.Read(s.k[:]) // never fails: crypto/rand.Read ends the program where there is no randomness
	return s
}

func format(prefix string, k [Size]byte) string { return prefix + hex.EncodeToString(k[:]) }

func parse(prefix, text string) (k [Size]byte, err error) {
	digits, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return k, fmt.Errorf("%w: it should start with %q", ErrInvalid, prefix)
	}
	if len(digits) != hex.EncodedLen(Size) {
		return k, fmt.Errorf("%w: %d characters after %q, not %d", ErrInvalid, len(digits), prefix, hex.EncodedLen(Size))
	}
	if _, err := hex.Decode(k[:], []byte(digits)); err != nil {
		return k, fmt.Errorf("%w: not hexadecimal after %q", ErrInvalid, prefix)
	}
	return k, nil
}

// unmarshal reads a public key, where the empty text is the zero key.
func unmarshal(prefix string, text []byte) ([Size]byte, error) {
	if len(text) == 0 {
		return [Size]byte{}, nil
	}
	return parse(prefix, string(text))
}

// marshal writes a public key, where the zero key is the empty text.
func marshal(prefix string, k [Size]byte) ([]byte, error) {
	if k == ([Size]byte{}) {
		return []byte{}, nil
	}
	return []byte(format(prefix, k)), nil
}
