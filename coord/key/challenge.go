package key

import (
	"crypto/hmac"
	"crypto/sha256"
)

const challengePublicPrefix = "challenge:"

// Challenge is an ephemeral private key that lets another party prove that it holds a node key.
type Challenge struct{ secret }

// ChallengePublic is the half that the prover gets.
type ChallengePublic [Size]byte

// NewChallenge makes a new random key.
func NewChallenge() Challenge { return Challenge{newSecret()} }

// Public gives the half to show.
func (c Challenge) Public() ChallengePublic { return ChallengePublic(c.public()) }

// Prove shows whoever holds the challenge that this node key is ours: HMAC-SHA256 of Message(context, parts)
// under the key in common.
func (n Node) Prove(c ChallengePublic, context string, parts ...[]byte) ([]byte, error) {
	s, err := n.shared(context, c)
	if err != nil {
		return nil, err
	}
	return s.mac(Message(context, parts...)), nil
}

// Check reports whether the proof was made with the node key for this challenge, context and parts.
func (c Challenge) Check(node NodePublic, proof []byte, context string, parts ...[]byte) bool {
	s, err := c.shared(context, node)
	return err == nil && hmac.Equal(proof, s.mac(Message(context, parts...)))
}

func (s Shared) mac(message []byte) []byte {
	mac := hmac.New(sha256.New, s.k[:])
	mac.Write(message)
	return mac.Sum(nil)
}

// String gives the text form.
func (p ChallengePublic) String() string { return format(challengePublicPrefix, p) }

// MarshalText implements encoding.TextMarshaler.
func (p ChallengePublic) MarshalText() ([]byte, error) { return marshal(challengePublicPrefix, p) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *ChallengePublic) UnmarshalText(text []byte) error {
	k, err := unmarshal(challengePublicPrefix, text)
	*p = k
	return err
}
