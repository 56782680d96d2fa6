package coord

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"github.com/warren-mesh/warren/coord/key"
)

// What each proof covers stands here once, for both ends.

func (h *Hello) signed(clientNonce []byte) [][]byte {
	return [][]byte{clientNonce, h.Nonce, h.Cert, h.Challenge[:]}
}

// Sign makes the hello the server's answer to the client's nonce.
func (h *Hello) Sign(k key.Server, clientNonce []byte) {
	h.Server = k.Public()
	h.Sig = k.Sign(ContextHello, h.signed(clientNonce)...)
}

// Verify reports whether the server that the hello names has signed it for the client's nonce. Whether that is the
// right server is the caller's question.
func (h *Hello) Verify(clientNonce []byte) bool {
	return len(h.Nonce) == NonceSize && h.Server.Verify(h.Sig, ContextHello, h.signed(clientNonce)...)
}

func (r *SessionRequest) signed(server key.ServerPublic) [][]byte {
	return [][]byte{server[:], r.Nonce, r.ClientNonce}
}

// Sign proves the machine's key to one server.
func (r *SessionRequest) Sign(k key.Machine, server key.ServerPublic) {
	r.Machine = k.Public()
	r.Sig = k.Sign(ContextSession, r.signed(server)...)
}

// Verify reports whether the machine has signed the request for this server.
func (r *SessionRequest) Verify(server key.ServerPublic) bool {
	return r.Machine.Verify(r.Sig, ContextSession, r.signed(server)...)
}

// Prove shows the holder of the challenge that the node key is this machine's, in this session.
func (r *RegisterRequest) Prove(k key.Node, c key.ChallengePublic, s Stream) error {
	proof, err := k.Prove(c, ContextNode, s.Machine[:], s.Nonce)
	r.Node, r.Proof = k.Public(), proof
	return err
}

// Check reports whether the request was proved for the challenge, by this machine in this session.
func (r *RegisterRequest) Check(c key.Challenge, s Stream) bool {
	return c.Check(r.Node, r.Proof, ContextNode, s.Machine[:], s.Nonce)
}

// CodeChallenge is the PKCE challenge of a verifier (RFC 7636, method S256).
func CodeChallenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// CheckVerifier reports whether the verifier (43 to 128 characters, RFC 7636) is the challenge's.
func CheckVerifier(verifier, challenge string) bool {
	return len(verifier) >= 43 && len(verifier) <= 128 && ValidCodeChallenge(challenge) &&
		subtle.ConstantTimeCompare([]byte(CodeChallenge(verifier)), []byte(challenge)) == 1
}

// ValidCodeChallenge reports whether the text can be a PKCE challenge of method S256.
func ValidCodeChallenge(challenge string) bool { return isBase64(challenge, sha256.Size) }

// ValidLoginID reports whether the text can be a login id.
func ValidLoginID(id string) bool { return isBase64(id, LoginIDSize) }

func isBase64(text string, size int) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == size && len(text) == base64.RawURLEncoding.EncodedLen(size)
}
