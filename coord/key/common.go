package key

import "crypto/sha256"

// Common gives a key that the processes of one server have in common, and nobody else has: for what one of them hands
// out and another takes back. The purpose is Derive's.
func (s Server) Common(purpose string) Shared { return Shared{secret{s.Derive(purpose)}} }

// Tag authenticates the parts in a context: HMAC-SHA256 of Message.
func (s Shared) Tag(context string, parts ...[]byte) [sha256.Size]byte {
	return [sha256.Size]byte(s.mac(Message(context, parts...)))
}

// Challenge gives the challenge that belongs to the parts: the same one each time, and one that only a holder of the
// key can tell.
func (s Shared) Challenge(context string, parts ...[]byte) Challenge {
	return Challenge{secret{s.Tag(context, parts...)}}
}
