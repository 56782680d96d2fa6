package server

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// Sessions are kept nowhere: what a machine brings back says all, and says it under a key that follows from the
// server's identity. A server that has restarted, or another one with the same identity and database, knows them as
// well, and strangers fill no memory.
//
//	hello's nonce   seconds (4) ‖ random (12) ‖ tag (16) of both, the client's nonce and the use
//	challenge       follows from the nonce
//	token           XChaCha20-Poly1305 of version (1) ‖ expires (8) ‖ machine (32) ‖ nonce (32), in base64url
//
// The tag stands in for sealing: a nonce has 32 bytes, and nothing in it is secret. A token says who asks and until
// when, not what the machine may do: each request asks the hub whether it is a member now, so that a machine's
// removal is the end of what its tokens are good for.
//
// A nonce serves once: each process remembers what it has redeemed. That memory is its own and bounded. Who could read
// a machine's TLS, and so has its request for a session, could within helloTTL use it again at another process (one
// beside it or one after a restart), or at the same one after starting maxRedeemed sessions there. It would get a
// session of that machine, which is no more than the token that it could read in the answer. It could not become
// another machine (the request's signature covers both nonces), nor use the request later, at another server, or with
// another hello.
const (
	helloTTL       = time.Minute
	clockTolerance = 10 * time.Second // how far the clock of another process of this server may be ahead
	sessionTTL     = 24 * time.Hour
	maxRedeemed    = 1 << 16
	maxConcurrent  = 256             // hellos and sessions being worked on
	concurrentWait = 5 * time.Second // then they are told that the server is busy

	contextSessions  = "warren sessions v1" // derives the key from the identity
	contextNonce     = "nonce"
	contextChallenge = "challenge"
	contextToken     = "token"

	nonceRandom  = 16 // where the tag begins
	tokenVersion = 1
	tokenSize    = 1 + 8 + key.Size + coord.NonceSize
)

// nonce names a session.
type nonce = [coord.NonceSize]byte

// session is one machine's. Everything that its requests do, they do as that machine.
type session struct {
	machine   key.MachinePublic
	nonce     []byte
	challenge key.Challenge
	expires   time.Time
}

func (s *session) stream() coord.Stream { return coord.Stream{Machine: s.machine, Nonce: s.nonce} }

// sessions makes and reads nonces and tokens.
type sessions struct {
	key key.Shared

	mu       sync.Mutex
	redeemed map[nonce]struct{}
	ring     []nonce // the same, oldest at next once it is full
	next     int
}

func newSessions(identity key.Server) *sessions {
	return &sessions{key: identity.Common(contextSessions), redeemed: map[nonce]struct{}{}}
}

// greet makes the nonce and the challenge of a hello.
func (t *sessions) greet(now time.Time, client nonce) (n nonce, challenge key.ChallengePublic) {
	binary.BigEndian.PutUint32(n[:], uint32(now.Unix()))
	_, _ = rand.Read(n[4:nonceRandom])
	copy(n[nonceRandom:], t.tag(n, client))
	return n, t.challenge(n).Public()
}

func (t *sessions) tag(n, client nonce) []byte {
	tag := t.key.Tag(contextNonce, n[:nonceRandom], client[:])
	return tag[:coord.NonceSize-nonceRandom]
}

func (t *sessions) challenge(n nonce) key.Challenge { return t.key.Challenge(contextChallenge, n[:]) }

// genuine reports whether the nonce is the answer to the client's, and still good.
func (t *sessions) genuine(now time.Time, n, client nonce) bool {
	said := time.Unix(int64(binary.BigEndian.Uint32(n[:])), 0)
	return subtle.ConstantTimeCompare(n[nonceRandom:], t.tag(n, client)) == 1 &&
		now.Before(said.Add(helloTTL)) && !said.After(now.Add(clockTolerance))
}

// redeem takes a genuine nonce, once.
func (t *sessions) redeem(n nonce) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, again := t.redeemed[n]; again {
		return false
	}
	if len(t.ring) < maxRedeemed {
		t.ring = append(t.ring, n)
	} else {
		delete(t.redeemed, t.ring[t.next])
		t.ring[t.next] = n
		t.next = (t.next + 1) % maxRedeemed
	}
	t.redeemed[n] = struct{}{}
	return true
}

// start makes a session's token.
func (t *sessions) start(now time.Time, m key.MachinePublic, n nonce) (token string, expires time.Time) {
	expires = now.Add(sessionTTL).Truncate(time.Second)
	b := make([]byte, 0, tokenSize)
	b = append(b, tokenVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(expires.Unix()))
	b = append(b, m[:]...)
	b = append(b, n[:]...)
	return base64.RawURLEncoding.EncodeToString(t.key.Seal(nil, b, []byte(contextToken))), expires
}

// find gives the session of a token, or nil.
func (t *sessions) find(now time.Time, token string) *session {
	if len(token) != base64.RawURLEncoding.EncodedLen(tokenSize+key.Overhead) {
		return nil
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return nil
	}
	b, ok := t.key.Open(nil, sealed, []byte(contextToken))
	if !ok || len(b) != tokenSize || b[0] != tokenVersion {
		return nil
	}
	s := &session{
		expires: time.Unix(int64(binary.BigEndian.Uint64(b[1:])), 0),
		machine: key.MachinePublic(b[9 : 9+key.Size]), nonce: b[9+key.Size:],
	}
	if !now.Before(s.expires) {
		return nil
	}
	s.challenge = t.challenge(nonce(s.nonce))
	return s
}
