package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
)

// exhaust has strangers guess wrong from an address until whoever else is there would have to wait.
func (r *running) exhaust(address string, at ...string) {
	r.t.Helper()
	bounds := anyGuess([]string{address})
	for _, what := range at {
		bounds = append(bounds, guessesFrom(what, netip.MustParseAddr(address))[0])
	}
	for _, b := range bounds {
		for r.guesses.Try(r.now(), b) == 0 { //nolint:revive // until it waits
		}
	}
}

func TestGuessesOfOthersAtOnesAddressKeepNobodyOut(t *testing.T) {
	now := time.Now() // stands still
	r := serveAt(t, func() time.Time { return now })
	r.user("anna", "correct horse")
	r.userAs("bert", "correct horse", account.Member)
	laptop, berts, stranger := r.web(), r.web(), r.web()
	for login, w := range map[string]*web{"anna": laptop, "bert": berts} {
		if status, _, _ := w.signIn(login, "correct horse", nil); status != http.StatusSeeOther {
			t.Fatalf("%s: %d", login, status)
		}
		_, _, _ = w.post(r, "/signout", nil)
	}
	secret, _ := r.secondFactor("anna")
	r.exhaust("127.0.0.1", "password anna", "code 1", "code 2")
	if status, _, _ := stranger.signIn("anna", "correct horse", nil); status != http.StatusTooManyRequests {
		t.Fatalf("a browser that nobody knows: %d", status)
	}
	if status, _, _ := berts.signIn("anna", "correct horse", nil); status != http.StatusTooManyRequests {
		t.Errorf("a browser that knows another account: %d", status)
	}
	status, _, h := laptop.signIn("anna", "correct horse", nil)
	if status != http.StatusSeeOther || h.Get("Location") != pathSecond {
		t.Fatalf("her own browser: %d to %s", status, h.Get("Location"))
	}
	code := account.TOTPCode(secret, account.TOTPStep(now))
	if status, _, _ := laptop.post(r, pathSecond, url.Values{"code": {code}}); status != http.StatusSeeOther {
		t.Errorf("her code in her own browser: %d", status)
	}
	// And a browser that is known guesses no faster than others.
	_, _, _ = laptop.post(r, "/signout", nil)
	for range freeGuesses {
		_, _, _ = laptop.signIn("anna", "wrong", nil)
	}
	if status, _, _ := laptop.signIn("anna", "correct horse", nil); status != http.StatusTooManyRequests {
		t.Errorf("after wrong guesses in her own browser: %d", status)
	}
}

func TestAKnownBrowserIsKnownByThisServerOnly(t *testing.T) {
	r, other := serve(t), serve(t)
	r.user("anna", "correct horse")
	other.user("anna", "correct horse")
	w := r.web()
	_, _, _ = w.signIn("anna", "correct horse", nil)
	cookie := w.cookie(cookieKnown)
	ask := func(value string) *http.Request {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.AddCookie(&http.Cookie{Name: cookieKnown, Value: value})
		return req
	}
	if k := r.knownAs(ask(cookie)); len(k.Users) != 1 || k.Users[0].Login != "anna" {
		t.Fatalf("%+v", k)
	}
	if b := r.guesser(ask(cookie)); len(b) != 1 {
		t.Errorf("it counts against %+v", b)
	}
	for _, value := range []string{"", "x", cookie[:len(cookie)-2], cookie + "AA"} {
		if k := r.knownAs(ask(value)); len(k.Users) > 0 {
			t.Errorf("%.10q is known as %+v", value, k)
		}
	}
	if k := other.knownAs(ask(cookie)); len(k.Users) > 0 {
		t.Errorf("another server knows it as %+v", k)
	}
}

func TestASiteWithManyNetworksGuessesNoFaster(t *testing.T) {
	now := time.Now()
	r := serveAt(t, func() time.Time { return now })
	passed := 0
	for i := range 1000 {
		a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, byte(i >> 8), byte(i), 15: 1}
		if r.guesses.Try(now, guessesFrom("password anna", netip.AddrFrom16(a))...) == 0 {
			passed++
		}
	}
	if passed != freeGuesses*freeOfSite {
		t.Errorf("%d guesses from one /48 passed", passed)
	}
}
