package server

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// Times and bounds of sessions. Machine keys cost nothing, so what strangers can fill is bounded, and bounded apart
// from what members need.
const (
	helloTTL       = time.Minute
	maxHellos      = 1 << 16
	sessionTTL     = 24 * time.Hour
	strangerTTL    = 2 * coord.LoginTTL
	maxStrangers   = 1 << 13
	maxPerMachine  = 4
	maxConcurrent  = 256             // hellos and sessions being worked on
	concurrentWait = 5 * time.Second // then they are told that the server is busy
)

// session is one machine's. Everything that its requests do, they do as that machine.
type session struct {
	machine   key.MachinePublic
	nonce     []byte
	challenge key.Challenge
	token     [sha256.Size]byte // its hash
	expires   time.Time
	member    bool
}

func (s *session) stream() coord.Stream { return coord.Stream{Machine: s.machine, Nonce: s.nonce} }

type greeting struct {
	client    [coord.NonceSize]byte
	challenge key.Challenge
	expires   time.Time
}

// sessions holds those that are open. They are in memory alone: after a restart machines start others.
type sessions struct {
	mu        sync.Mutex
	hellos    map[[coord.NonceSize]byte]greeting
	byToken   map[[sha256.Size]byte]*session
	byMachine map[key.MachinePublic][]*session // oldest first
	strangers int
	swept     time.Time
}

func newSessions() *sessions {
	return &sessions{
		hellos:    map[[coord.NonceSize]byte]greeting{},
		byToken:   map[[sha256.Size]byte]*session{},
		byMachine: map[key.MachinePublic][]*session{},
	}
}

// greet remembers a hello.
func (t *sessions) greet(now time.Time, client [coord.NonceSize]byte) (nonce [coord.NonceSize]byte, challenge key.ChallengePublic) {
	_, _ = rand.Read(nonce[:])
	c := key.NewChallenge()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	if len(t.hellos) >= maxHellos { // a flood: any one goes, so that who comes with the session at once gets in
		for other := range t.hellos {
			delete(t.hellos, other)
			break
		}
	}
	t.hellos[nonce] = greeting{client: client, challenge: c, expires: now.Add(helloTTL)}
	return nonce, c.Public()
}

// redeem takes a hello, once.
func (t *sessions) redeem(now time.Time, nonce, client [coord.NonceSize]byte) (key.Challenge, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, ok := t.hellos[nonce]
	delete(t.hellos, nonce)
	return g.challenge, ok && g.client == client && now.Before(g.expires)
}

// start opens a session.
func (t *sessions) start(now time.Time, m key.MachinePublic, nonce [coord.NonceSize]byte, c key.Challenge, member bool) (token string, s *session) {
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	token = base64.RawURLEncoding.EncodeToString(secret[:])
	s = &session{machine: m, nonce: nonce[:], challenge: c, token: sha256.Sum256([]byte(token)), member: member}
	s.expires = now.Add(sessionTTL)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !member {
		s.expires = now.Add(strangerTTL)
		t.strangers++
		if t.strangers > maxStrangers {
			t.dropStranger()
		}
	}
	t.byToken[s.token] = s
	t.byMachine[m] = append(t.byMachine[m], s)
	if own := t.byMachine[m]; len(own) > maxPerMachine {
		t.drop(own[0])
	}
	return token, s
}

// find gives the session of a token.
func (t *sessions) find(now time.Time, token string) *session {
	if len(token) != base64.RawURLEncoding.EncodedLen(32) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byToken[sha256.Sum256([]byte(token))]
	if s == nil || !now.Before(s.expires) {
		return nil
	}
	own := *s // admitted may change it
	return &own
}

// admitted makes the machine's sessions a member's.
func (t *sessions) admitted(now time.Time, m key.MachinePublic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.byMachine[m] {
		if !s.member {
			s.member, s.expires = true, now.Add(sessionTTL)
			t.strangers--
		}
	}
}

// sweep forgets what is over, now and then: the lock is held.
func (t *sessions) sweep(now time.Time) {
	if now.Sub(t.swept) < helloTTL {
		return
	}
	t.swept = now
	for n, g := range t.hellos {
		if !now.Before(g.expires) {
			delete(t.hellos, n)
		}
	}
	for _, s := range t.byToken {
		if !now.Before(s.expires) {
			t.drop(s)
		}
	}
}

// drop forgets a session: the lock is held.
func (t *sessions) drop(s *session) {
	delete(t.byToken, s.token)
	if !s.member {
		t.strangers--
	}
	own := t.byMachine[s.machine]
	for i := range own {
		if own[i] == s {
			own = append(own[:i:i], own[i+1:]...)
			break
		}
	}
	if len(own) == 0 {
		delete(t.byMachine, s.machine)
	} else {
		t.byMachine[s.machine] = own
	}
}

// dropStranger forgets any one of them: the lock is held.
func (t *sessions) dropStranger() {
	for _, s := range t.byToken { // in no order
		if !s.member {
			t.drop(s)
			return
		}
	}
}
