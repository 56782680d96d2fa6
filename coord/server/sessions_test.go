package server

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

func randomNonce() (n nonce) {
	_, _ = rand.Read(n[:])
	return n
}

func TestASessionIsKnownToEveryProcessOfTheServer(t *testing.T) {
	identity, machine, now := key.NewServer(), key.NewMachine().Public(), time.Unix(1_800_000_000, 5)
	one, other, stranger := newSessions(identity), newSessions(identity), newSessions(key.NewServer())
	client := randomNonce()
	n, challenge := one.greet(now, client)
	if !other.genuine(now, n, client) || !other.redeem(n) {
		t.Error("another process does not take the nonce")
	}
	token, expires := other.start(now, machine, n)
	s := one.find(now, token)
	if s == nil {
		t.Fatal("the first process does not know the token")
	}
	if s.machine != machine || !bytes.Equal(s.nonce, n[:]) || !s.expires.Equal(expires) || s.challenge.Public() != challenge {
		t.Errorf("the token says %+v", s)
	}
	if stranger.genuine(now, n, client) || stranger.find(now, token) != nil {
		t.Error("a server of another identity takes them")
	}
}

func TestANonceServesOnceAndNotForLong(t *testing.T) {
	s, now := newSessions(key.NewServer()), time.Unix(1_800_000_000, 0)
	client := randomNonce()
	n, _ := s.greet(now, client)
	if !s.redeem(n) || s.redeem(n) {
		t.Error("it does not serve exactly once")
	}
	for _, c := range []struct {
		name string
		now  time.Time
		want bool
	}{
		{"at once", now, true},
		{"late", now.Add(helloTTL - time.Second), true},
		{"too late", now.Add(helloTTL), false},
		{"at a process whose clock is behind", now.Add(-clockTolerance), true},
		{"before its time", now.Add(-clockTolerance - time.Second), false},
	} {
		if s.genuine(c.now, n, client) != c.want {
			t.Errorf("%s: %v", c.name, !c.want)
		}
	}
	if s.genuine(now, n, randomNonce()) {
		t.Error("it serves who did not ask for it")
	}
	for i := range n {
		forged := n
		forged[i] ^= 1
		if s.genuine(now, forged, client) {
			t.Errorf("byte %d can be changed", i)
		}
	}
	if m, _ := s.greet(now, client); m == n {
		t.Error("two hellos have one nonce")
	}
}

func TestWhatIsRememberedOfNoncesIsBounded(t *testing.T) {
	s := newSessions(key.NewServer())
	first := randomNonce()
	s.redeem(first)
	for range maxRedeemed - 1 {
		s.redeem(randomNonce())
	}
	if s.redeem(first) {
		t.Error("it was forgotten while there was room")
	}
	for range 10 {
		s.redeem(randomNonce())
	}
	if len(s.redeemed) != maxRedeemed || len(s.ring) != maxRedeemed {
		t.Errorf("%d and %d are remembered", len(s.redeemed), len(s.ring))
	}
	if last := s.ring[(s.next+maxRedeemed-1)%maxRedeemed]; s.redeem(last) {
		t.Error("a full memory forgets the newest")
	}
}

func TestATokenEnds(t *testing.T) {
	s, now := newSessions(key.NewServer()), time.Unix(1_800_000_000, 0)
	token, expires := s.start(now, key.NewMachine().Public(), randomNonce())
	if s.find(expires.Add(-time.Second), token) == nil || s.find(expires, token) != nil {
		t.Error("it does not end when it says")
	}
	sealed, _ := base64.RawURLEncoding.DecodeString(token)
	for i := range sealed {
		sealed[i] ^= 1
		if s.find(now, base64.RawURLEncoding.EncodeToString(sealed)) != nil {
			t.Errorf("byte %d can be changed", i)
		}
		sealed[i] ^= 1
	}
	// Sealed under the same key, for another use or in another version.
	for _, c := range []struct {
		use     string
		version byte
	}{{"other", tokenVersion}, {contextToken, tokenVersion + 1}} {
		b := append([]byte{c.version, 0x7f}, make([]byte, tokenSize-2)...)
		if s.find(now, base64.RawURLEncoding.EncodeToString(s.key.Seal(nil, b, []byte(c.use)))) != nil {
			t.Errorf("%+v is taken for a token", c)
		}
	}
}

func TestASessionOutlivesTheServersProcess(t *testing.T) {
	r := serve(t)
	d := r.device()
	d.join("m", r.authKey(KeyOptions{}))
	other := r.device()
	if _, err := other.Connect(t.Context()); err != nil { // a stranger's session too
		t.Fatal(err)
	}
	k := r.authKey(KeyOptions{})
	r.stop()
	again := serveDir(t, r.dir, r.addr, Options{})
	if err := d.Update(t.Context(), update(7)); err != nil {
		t.Error(err)
	}
	other.join("n", k) // its proof is for the challenge of the process before
	w := httptest.NewRecorder()
	again.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if text := w.Body.String(); !strings.Contains(text, `route="`+coord.PathNode+`"`) || strings.Contains(text, `route="`+coord.PathHello+`"`) {
		t.Errorf("sessions were started anew:\n%s", text)
	}
}

func TestARequestForASessionCannotBeUsedAgain(t *testing.T) {
	r := serve(t)
	m := key.NewMachine()
	client := randomNonce()
	n, _ := r.sessions.greet(r.now(), client)
	req := coord.SessionRequest{Nonce: n[:], ClientNonce: client[:]}
	req.Sign(m, r.Key())
	post := func(req coord.SessionRequest) int {
		text, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		ask := httptest.NewRequest(http.MethodPost, coord.PathSession, bytes.NewReader(text))
		ask.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, ask)
		return w.Code
	}
	if status := post(req); status != http.StatusOK {
		t.Errorf("the first time: %d", status)
	}
	if status := post(req); status != http.StatusUnauthorized {
		t.Errorf("the second time: %d", status)
	}
	n, _ = r.sessions.greet(r.now(), client)
	bad := coord.SessionRequest{Nonce: n[:], ClientNonce: client[:]}
	bad.Sign(m, key.NewServer().Public())
	if status := post(bad); status == http.StatusOK {
		t.Error("a signature for another server serves")
	}
	bad.Sign(m, r.Key()) // it was not used up by who could not sign
	if status := post(bad); status != http.StatusOK {
		t.Errorf("after another's attempt: %d", status)
	}
}

func TestARemovedMachinesTokenIsGoodForNothing(t *testing.T) {
	r := serve(t)
	d := r.device()
	d.join("m", r.authKey(KeyOptions{}))
	if err := d.Update(t.Context(), update(1)); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveMachine(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, d.Update(t.Context(), update(2)), coord.CodeNotRegistered)
	wantCode(t, d.Netmap(t.Context(), nil, func(*coord.Netmap) error { return nil }), coord.CodeNotRegistered)
}

// FuzzToken reads anything as a token: what this server did not seal is none.
func FuzzToken(f *testing.F) {
	s, now := newSessions(key.NewServer()), time.Unix(1_800_000_000, 0)
	machine := key.NewMachine().Public()
	good, _ := s.start(now, machine, nonce{1})
	f.Add(good)
	f.Add("")
	f.Add(strings.Repeat("A", len(good)))
	f.Add(good[:len(good)-1] + "=")
	f.Add(good + "\n")
	f.Fuzz(func(t *testing.T, token string) {
		if got := s.find(now, token); (got != nil) != (token == good) {
			t.Errorf("%q is read as %+v", token, got)
		}
	})
}
