package key

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
)

const (
	nodePrivatePrefix  = "node-private:"
	nodePublicPrefix   = "node:"
	discoPublicPrefix  = "disco:"
	relayPrivatePrefix = "relay-private:"
	relayPublicPrefix  = "relay:"

	// Overhead is how many bytes Seal adds: a 24-byte nonce in front and a 16-byte tag behind.
	Overhead = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

// Node is a machine's WireGuard private key.
type Node struct{ secret }

// NodePublic is a machine's WireGuard public key, and what relays know it by.
type NodePublic [Size]byte

// Disco is the private key that path probes to this process are sealed to. It is never stored.
type Disco struct{ secret }

// DiscoPublic is what peers seal their path probes to.
type DiscoPublic [Size]byte

// Relay is a relay's private key.
type Relay struct{ secret }

// RelayPublic is what clients know a relay by.
type RelayPublic [Size]byte

// NewNode makes a new random key.
func NewNode() Node { return Node{newSecret()} }

// NewDisco makes a new random key.
func NewDisco() Disco { return Disco{newSecret()} }

// NewRelay makes a new random key.
func NewRelay() Relay { return Relay{newSecret()} }

// ParseNode reads what Reveal wrote.
func ParseNode(text string) (Node, error) {
	k, err := parse(nodePrivatePrefix, text)
	return Node{secret{k}}, err
}

// ParseRelay reads what Reveal wrote.
func ParseRelay(text string) (Relay, error) {
	k, err := parse(relayPrivatePrefix, text)
	return Relay{secret{k}}, err
}

// Reveal gives the private key's text, for the file that keeps it and for nothing else.
func (n Node) Reveal() string { return format(nodePrivatePrefix, n.k) }

// Reveal gives the private key's text, for the file that keeps it and for nothing else.
func (r Relay) Reveal() string { return format(relayPrivatePrefix, r.k) }

// Bytes gives the private key to the WireGuard implementation, and to nothing else.
func (n Node) Bytes() [Size]byte { return n.k }

// Public gives the half to show.
func (n Node) Public() NodePublic { return NodePublic(n.public()) }

// Public gives the half to show.
func (d Disco) Public() DiscoPublic { return DiscoPublic(d.public()) }

// Public gives the half to show.
func (r Relay) Public() RelayPublic { return RelayPublic(r.public()) }

func (s secret) public() [Size]byte {
	p, _ := curve25519.X25519(s.k[:], curve25519.Basepoint) // fails only on a low-order point, which the base point is not
	return [Size]byte(p)
}

// Shared is a key that two parties have in common. It seals and opens messages between them.
type Shared struct{ secret }

// Shared gives the key in common with a peer's process, for path probes.
func (d Disco) Shared(peer DiscoPublic) (Shared, error) {
	return d.shared("warren disco v1", peer)
}

// Shared gives the key in common with a relay, for the frames that carry no traffic.
func (n Node) Shared(relay RelayPublic) (Shared, error) { return n.shared("warren relay v1", relay) }

// Relay gives the key of the relay that this machine is where it relays for others: always the same, and of no use to find
// ours with (HMAC-SHA256(ours, "warren node relay v1")).
func (n Node) Relay() Relay {
	mac := hmac.New(sha256.New, n.k[:])
	mac.Write([]byte("warren node relay v1"))
	return Relay{secret{[Size]byte(mac.Sum(nil))}}
}

// Shared gives the key in common with a node, for the frames that carry no traffic.
func (r Relay) Shared(node NodePublic) (Shared, error) { return r.shared("warren relay v1", node) }

// shared derives HMAC-SHA256(X25519(ours, theirs), context). The context keeps one use of a key from another,
// WireGuard's among them. A public key of low order is refused (RFC 7748, section 6.1).
func (s secret) shared(context string, theirs [Size]byte) (Shared, error) {
	dh, err := curve25519.X25519(s.k[:], theirs[:])
	if err != nil {
		return Shared{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	mac := hmac.New(sha256.New, dh)
	mac.Write([]byte(context))
	return Shared{secret{[Size]byte(mac.Sum(nil))}}, nil
}

// Seal appends nonce, ciphertext and tag of the message to dst (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha).
// additional is authenticated and not sent.
func (s Shared) Seal(dst, message, additional []byte) []byte {
	aead, _ := chacha20poly1305.NewX(s.k[:]) // fails only on a key of another length
	var nonce [chacha20poly1305.NonceSizeX]byte
	_, _ = rand.Read(nonce[:])
	dst = append(dst, nonce[:]...)
	return aead.Seal(dst, nonce[:], message, additional)
}

// Open appends the message that Seal sealed to dst. It reports false where one bit of it, or of additional, differs.
func (s Shared) Open(dst, sealed, additional []byte) ([]byte, bool) {
	if len(sealed) < Overhead {
		return nil, false
	}
	aead, _ := chacha20poly1305.NewX(s.k[:])
	nonce, box := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	out, err := aead.Open(dst, nonce, box, additional)
	return out, err == nil
}

// ParseNodePublic reads a key's text form.
func ParseNodePublic(text string) (NodePublic, error) {
	k, err := parse(nodePublicPrefix, text)
	return NodePublic(k), err
}

// ParseRelayPublic reads a key's text form.
func ParseRelayPublic(text string) (RelayPublic, error) {
	k, err := parse(relayPublicPrefix, text)
	return RelayPublic(k), err
}

// String gives the text form.
func (p NodePublic) String() string { return format(nodePublicPrefix, p) }

// String gives the text form.
func (p DiscoPublic) String() string { return format(discoPublicPrefix, p) }

// String gives the text form.
func (p RelayPublic) String() string { return format(relayPublicPrefix, p) }

// WireGuard gives the key as the wg tool writes it, in base64.
func (p NodePublic) WireGuard() string { return base64.StdEncoding.EncodeToString(p[:]) }

// Compare orders keys by their bytes.
func (p NodePublic) Compare(q NodePublic) int { return bytes.Compare(p[:], q[:]) }

// MarshalText implements encoding.TextMarshaler.
func (p NodePublic) MarshalText() ([]byte, error) { return marshal(nodePublicPrefix, p) }

// MarshalText implements encoding.TextMarshaler.
func (p DiscoPublic) MarshalText() ([]byte, error) { return marshal(discoPublicPrefix, p) }

// MarshalText implements encoding.TextMarshaler.
func (p RelayPublic) MarshalText() ([]byte, error) { return marshal(relayPublicPrefix, p) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *NodePublic) UnmarshalText(text []byte) error {
	k, err := unmarshal(nodePublicPrefix, text)
	*p = k
	return err
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *DiscoPublic) UnmarshalText(text []byte) error {
	k, err := unmarshal(discoPublicPrefix, text)
	*p = k
	return err
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *RelayPublic) UnmarshalText(text []byte) error {
	k, err := unmarshal(relayPublicPrefix, text)
	*p = k
	return err
}

// IsZero reports whether the key was never set.
func (p NodePublic) IsZero() bool { return p == NodePublic{} }

// IsZero reports whether the key was never set.
func (p DiscoPublic) IsZero() bool { return p == DiscoPublic{} }

// IsZero reports whether the key was never set.
func (p RelayPublic) IsZero() bool { return p == RelayPublic{} }
