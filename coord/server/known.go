package server

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// Guesses count against the address that they come from, and many share one: behind a NAT, at a company, with a carrier.
// So a browser that has signed in before is known by a cookie that outlives its sign-ins, and has a count of its own:
// whoever else guesses wrong at its address cannot keep its person out. The cookie opens nothing, and tells nothing:
// without it one waits, with it one guesses no faster.
const (
	cookieKnown    = "__Host-warren-known"
	knownLife      = 400 * 24 * time.Hour // browsers keep none for longer (RFC 6265bis, section 5.5)
	purposeKnown   = "known browser"
	maxKnownLogins = 4 // accounts of one browser
)

// Wrong guesses that pass without a wait.
const (
	freeGuesses        = 5  // at one account's password from one address
	freeGuessesAddress = 50 // at anything from one address
	freeOfSite         = 10 // times as many from an IPv6 /48, in which one customer may have thousands of /64s
)

// known is a browser that has signed in before.
type known struct {
	ID    string       `json:"id"`
	Users []knownLogin `json:"users"` // the last one first
}

type knownLogin struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
}

// knownAs finds out what the request's browser has signed in to before; the zero value is nothing.
func (s *Server) knownAs(r *http.Request) (k known) {
	c, err := r.Cookie(cookieKnown)
	if err != nil || len(c.Value) > maxTicket {
		return k
	}
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return k
	}
	text, err := s.vault.open(purposeKnown, sealed)
	if err != nil || json.Unmarshal(text, &k) != nil {
		return known{}
	}
	return k
}

// remember has the browser known from now on.
func (s *Server) remember(w http.ResponseWriter, r *http.Request, u store.User) error {
	k := s.knownAs(r)
	k.ID = rand.Text()
	others := slices.DeleteFunc(k.Users, func(l knownLogin) bool { return l.ID == u.ID })
	k.Users = append([]knownLogin{{ID: u.ID, Login: u.Login}}, others...)
	k.Users = k.Users[:min(len(k.Users), maxKnownLogins)]
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	setCookie(w, cookieKnown, base64.RawURLEncoding.EncodeToString(s.vault.seal(purposeKnown, text)), knownLife)
	return nil
}

// guessAt is what a guess at something of one account counts against, by a browser that may be known there. The first
// bound is forgotten with the right guess.
func (s *Server) guessAt(r *http.Request, what string, isAccount func(knownLogin) bool) []account.Bound {
	if k := s.knownAs(r); slices.ContainsFunc(k.Users, isAccount) {
		return []account.Bound{{Key: what + " known " + k.ID, Free: freeGuesses}}
	}
	return guessesFrom(what, s.clientAddr(r))
}

// guessesFrom is what a guess from an address counts against.
func guessesFrom(what string, from netip.Addr) (all []account.Bound) {
	nets := account.AddressKeys(from)
	for i, n := range nets {
		all = append(all, account.Bound{Key: what + " " + n, Free: freeGuesses * ofSite(i)})
	}
	return append(all, anyGuess(nets)...)
}

// anyGuess counts guesses at whatever it is.
func anyGuess(nets []string) (all []account.Bound) {
	for i, n := range nets {
		all = append(all, account.Bound{Key: n, Free: freeGuessesAddress * ofSite(i)})
	}
	return all
}

func ofSite(i int) int {
	if i == 0 {
		return 1
	}
	return freeOfSite
}

// guesser is what an attempt counts against that names no account before it is looked at.
func (s *Server) guesser(r *http.Request) []account.Bound {
	if k := s.knownAs(r); len(k.Users) > 0 {
		return []account.Bound{{Key: fmt.Sprint("anything by a browser of ", k.Users[0].ID), Free: freeGuessesAddress}}
	}
	return anyGuess(account.AddressKeys(s.clientAddr(r)))
}
