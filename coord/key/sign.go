package key

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
)

// Signature lengths and prefixes of the text forms.
const (
	SignatureSize = ed25519.SignatureSize

	machinePrivatePrefix = "machine-private:"
	machinePublicPrefix  = "machine:"
	serverPrivatePrefix  = "server-private:"
	serverPublicPrefix   = "server:"
)

// Machine is a machine's private identity towards its coordination server.
type Machine struct{ secret }

// MachinePublic names a machine to its coordination server.
type MachinePublic [Size]byte

// Server is a coordination server's private identity.
type Server struct {
	secret
	signing ed25519.PrivateKey // of the secret: to expand it costs as much as to sign, and a server signs much
}

// ServerPublic is what machines pin of their coordination server.
type ServerPublic [Size]byte

// NewMachine makes a new random identity.
func NewMachine() Machine { return Machine{newSecret()} }

// NewServer makes a new random identity.
func NewServer() Server { return expanded(newSecret()) }

func expanded(s secret) Server { return Server{s, ed25519.NewKeyFromSeed(s.k[:])} }

// ParseMachine reads what Reveal wrote.
func ParseMachine(text string) (Machine, error) {
	k, err := parse(machinePrivatePrefix, text)
	return Machine{secret{k}}, err
}

// ParseServer reads what Reveal wrote.
func ParseServer(text string) (Server, error) {
	k, err := parse(serverPrivatePrefix, text)
	return expanded(secret{k}), err
}

// Reveal gives the private key's text, for the file that keeps it and for nothing else.
func (m Machine) Reveal() string { return format(machinePrivatePrefix, m.k) }

// Reveal gives the private key's text, for the file that keeps it and for nothing else.
func (s Server) Reveal() string { return format(serverPrivatePrefix, s.k) }

// Public gives the half to show.
func (m Machine) Public() MachinePublic {
	return MachinePublic(ed25519.NewKeyFromSeed(m.k[:]).Public().(ed25519.PublicKey))
}

// Public gives the half to show.
func (s Server) Public() ServerPublic {
	return ServerPublic(s.private().Public().(ed25519.PublicKey))
}

// Sign signs the message in a context (Ed25519, RFC 8032, over Message).
// A context names one use of the key ("warren session v1"), so that no signature serves another.
func (m Machine) Sign(context string, parts ...[]byte) []byte {
	return ed25519.Sign(ed25519.NewKeyFromSeed(m.k[:]), Message(context, parts...))
}

// Sign signs the message in a context, as Machine.Sign does.
func (s Server) Sign(context string, parts ...[]byte) []byte {
	return ed25519.Sign(s.private(), Message(context, parts...))
}

func (s Server) private() ed25519.PrivateKey {
	if s.signing == nil { // the zero Server
		return ed25519.NewKeyFromSeed(s.k[:])
	}
	return s.signing
}

// Derive makes of the private key another secret, for one purpose ("warren-coord sealed v1"): whoever has that knows
// neither the key nor what other purposes get (HKDF with SHA-256, RFC 5869).
func (s Server) Derive(purpose string) (k [Size]byte) {
	out, err := hkdf.Key(sha256.New, s.k[:], nil, purpose, Size)
	if err != nil { // only for lengths that Size is not
		panic(err)
	}
	copy(k[:], out)
	return k
}

// Verify reports whether sig is this key's signature of the message in the context.
func (p MachinePublic) Verify(sig []byte, context string, parts ...[]byte) bool {
	return len(sig) == SignatureSize && ed25519.Verify(p[:], Message(context, parts...), sig)
}

// Verify reports whether sig is this key's signature of the message in the context.
func (p ServerPublic) Verify(sig []byte, context string, parts ...[]byte) bool {
	return len(sig) == SignatureSize && ed25519.Verify(p[:], Message(context, parts...), sig)
}

// Message is what signatures cover: SHA-256(context) and then SHA-256 of each part, one after another,
// so that neither the context nor the borders between parts can be shifted.
func Message(context string, parts ...[]byte) []byte {
	var b bytes.Buffer
	sum := sha256.Sum256([]byte(context))
	b.Write(sum[:])
	for _, p := range parts {
		sum := sha256.Sum256(p)
		b.Write(sum[:])
	}
	return b.Bytes()
}

// ParseMachinePublic reads a key's text form.
func ParseMachinePublic(text string) (MachinePublic, error) {
	k, err := parse(machinePublicPrefix, text)
	return MachinePublic(k), err
}

// ParseServerPublic reads a key's text form.
func ParseServerPublic(text string) (ServerPublic, error) {
	k, err := parse(serverPublicPrefix, text)
	return ServerPublic(k), err
}

// String gives the text form.
func (p MachinePublic) String() string { return format(machinePublicPrefix, p) }

// String gives the text form.
func (p ServerPublic) String() string { return format(serverPublicPrefix, p) }

// Short gives the first 16 hexadecimal digits in groups of four, for people to compare.
func (p ServerPublic) Short() string {
	h := hex.EncodeToString(p[:8])
	return h[:4] + " " + h[4:8] + " " + h[8:12] + " " + h[12:]
}

// MarshalText implements encoding.TextMarshaler.
func (p MachinePublic) MarshalText() ([]byte, error) { return marshal(machinePublicPrefix, p) }

// MarshalText implements encoding.TextMarshaler.
func (p ServerPublic) MarshalText() ([]byte, error) { return marshal(serverPublicPrefix, p) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *MachinePublic) UnmarshalText(text []byte) error {
	k, err := unmarshal(machinePublicPrefix, text)
	*p = k
	return err
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *ServerPublic) UnmarshalText(text []byte) error {
	k, err := unmarshal(serverPublicPrefix, text)
	*p = k
	return err
}

// IsZero reports whether the key was never set.
func (p MachinePublic) IsZero() bool { return p == MachinePublic{} }

// IsZero reports whether the key was never set.
func (p ServerPublic) IsZero() bool { return p == ServerPublic{} }
