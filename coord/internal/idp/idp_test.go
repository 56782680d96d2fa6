package idp

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// liar is a provider that says what a test wants.
type liar struct {
	*httptest.Server
	t      *testing.T
	key    *rsa.PrivateKey
	claims map[string]any // of the token
	info   map[string]any // of the person
	token  func(http.ResponseWriter, *http.Request) bool
	meta   map[string]any // changes to its description
}

func newLiar(t *testing.T) *liar {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{t: t, key: k, meta: map[string]any{}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		m := map[string]any{
			"issuer": l.URL, "authorization_endpoint": l.URL + "/auth", "token_endpoint": l.URL + "/token", "jwks_uri": l.URL + "/keys",
			"userinfo_endpoint": l.URL + "/me", "id_token_signing_alg_values_supported": []string{"RS256"},
		}
		for k, v := range l.meta {
			m[k] = v
		}
		answer(w, m)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		b64 := base64.RawURLEncoding
		answer(w, map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "alg": "RS256", "use": "sig", "n": b64.EncodeToString(k.N.Bytes()), "e": b64.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if l.token == nil || !l.token(w, r) {
			answer(w, map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": l.sign(l.claims)})
		}
	})
	mux.HandleFunc("/me", func(w http.ResponseWriter, _ *http.Request) { answer(w, l.info) })
	l.Server = httptest.NewServer(mux)
	t.Cleanup(l.Close)
	return l
}

func (l *liar) sign(claims map[string]any) string {
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			l.t.Error(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]any{"alg": "RS256", "typ": "JWT"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, l.key, crypto.SHA256, sum[:])
	if err != nil {
		l.t.Error(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

var journey = Journey{State: strings.Repeat("s", 26), Nonce: strings.Repeat("n", 26), Verifier: strings.Repeat("v", 43)}

// good are claims that are as they should be.
func (l *liar) good() map[string]any {
	return map[string]any{
		"iss": l.URL, "aud": "warren", "sub": "42", "nonce": journey.Nonce, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"email": "Anna@Example.org", "email_verified": true, "preferred_username": "anna", "groups": []string{"staff"},
	}
}

func (l *liar) config() Config {
	return Config{Issuer: l.URL, Client: "warren", Secret: "s", Redirect: "https://coord.example/signin/callback"}
}

func directory(t *testing.T) *Directory {
	t.Helper()
	d := New(time.Now)
	t.Cleanup(d.Close)
	return d
}

func TestTheProviderIsAskedWithAllThatBindsItsAnswer(t *testing.T) {
	l, d := newLiar(t), directory(t)
	at, err := d.Begin(t.Context(), l.config(), journey)
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(at)
	q := u.Query()
	sum := sha256.Sum256([]byte(journey.Verifier))
	for name, want := range map[string]string{
		"response_type": "code", "client_id": "warren", "redirect_uri": "https://coord.example/signin/callback", "state": journey.State,
		"nonce": journey.Nonce, "code_challenge_method": "S256", "code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "scope": "openid profile email",
	} {
		if q.Get(name) != want {
			t.Errorf("%s is %q", name, q.Get(name))
		}
	}
	if strings.Contains(at, journey.Verifier) {
		t.Error("the verifier is in the address")
	}
	l.claims = l.good()
	l.token = func(w http.ResponseWriter, r *http.Request) bool {
		if user, pass, ok := r.BasicAuth(); !ok || user != "warren" || pass != "s" || r.PostFormValue("code_verifier") != journey.Verifier {
			t.Errorf("the code is redeemed with %v", r.PostForm)
		}
		return false
	}
	who, err := d.Finish(t.Context(), l.config(), journey, url.Values{"code": {"c"}, "iss": {l.URL}})
	if err != nil || who.Issuer != l.URL || who.Subject != "42" || who.Login != "anna" || who.Domain() != "example.org" || who.Groups[0] != "staff" {
		t.Errorf("it is %+v, %v", who, err)
	}
}

func TestAnswersThatAreNotForUs(t *testing.T) {
	l := newLiar(t)
	other := newLiar(t)
	ok := url.Values{"code": {"c"}}
	for name, c := range map[string]struct {
		change func(map[string]any)
		answer url.Values
		want   error
	}{
		"another audience":          {func(m map[string]any) { m["aud"] = "other" }, ok, ErrAnswer},
		"two, and no party":         {func(m map[string]any) { m["aud"] = []string{"warren", "other"} }, ok, ErrAnswer},
		"another party":             {func(m map[string]any) { m["azp"] = "other" }, ok, ErrAnswer},
		"another issuer":            {func(m map[string]any) { m["iss"] = "https://evil.example" }, ok, ErrAnswer},
		"another nonce":             {func(m map[string]any) { m["nonce"] = "x" }, ok, ErrAnswer},
		"no nonce":                  {func(m map[string]any) { delete(m, "nonce") }, ok, ErrAnswer},
		"expired":                   {func(m map[string]any) { m["exp"] = time.Now().Add(-time.Minute).Unix() }, ok, ErrExpired},
		"no subject":                {func(m map[string]any) { delete(m, "sub") }, ok, ErrAnswer},
		"an endless subject":        {func(m map[string]any) { m["sub"] = strings.Repeat("x", 256) }, ok, ErrAnswer},
		"a subject with a NUL":      {func(m map[string]any) { m["sub"] = "4\x002" }, ok, ErrAnswer},
		"a subject that is none":    {func(m map[string]any) { m["sub"] = 42 }, ok, ErrAnswer},
		"another access token":      {func(m map[string]any) { m["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA" }, ok, ErrAnswer},
		"iss of another (RFC 9207)": {nil, url.Values{"code": {"c"}, "iss": {other.URL}}, ErrAnswer},
		"refused":                   {nil, url.Values{"error": {"access_denied"}}, ErrDenied},
		"no code":                   {nil, url.Values{}, ErrDenied},
	} {
		l.claims = l.good()
		if c.change != nil {
			c.change(l.claims)
		}
		if who, err := directory(t).Finish(t.Context(), l.config(), journey, c.answer); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	l.claims = l.good()
	l.meta["authorization_response_iss_parameter_supported"] = true
	if _, err := directory(t).Finish(t.Context(), l.config(), journey, ok); !errors.Is(err, ErrAnswer) {
		t.Errorf("no iss from a provider that sends it: %v", err)
	}
	forged := other.sign(l.good())
	delete(l.meta, "authorization_response_iss_parameter_supported")
	l.token = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": forged})
		return true
	}
	if _, err := directory(t).Finish(t.Context(), l.config(), journey, ok); !errors.Is(err, ErrAnswer) {
		t.Errorf("another's signature: %v", err)
	}
}

func TestWhatTheTokenLacksIsAskedForAndMustBeOfTheSamePerson(t *testing.T) {
	l := newLiar(t)
	l.claims = l.good()
	delete(l.claims, "email")
	l.info = map[string]any{"sub": "42", "email": "a@example.org", "email_verified": "true", "groups": "one"}
	who, err := directory(t).Finish(t.Context(), l.config(), journey, url.Values{"code": {"c"}})
	if err != nil || who.Domain() != "example.org" || len(who.Groups) != 1 || who.Login != "anna" {
		t.Errorf("it is %+v, %v", who, err)
	}
	l.info["sub"] = "43"
	if _, err := directory(t).Finish(t.Context(), l.config(), journey, url.Values{"code": {"c"}}); !errors.Is(err, ErrAnswer) {
		t.Errorf("of another person: %v", err)
	}
}

func TestHostileClaimsAreBoundedText(t *testing.T) {
	l := newLiar(t)
	l.claims = l.good()
	long := strings.Repeat("x", 10_000)
	for name, v := range map[string]any{
		"preferred_username": "\u202egpj.exe\x00\x1b[31m", "name": long, "email": long + "@example.org", "groups": []any{1, long, "\u2066a", nil, map[string]any{}},
	} {
		l.claims[name] = v
	}
	who, err := directory(t).Finish(t.Context(), l.config(), journey, url.Values{"code": {"c"}})
	if err != nil || who.Login != "gpj.exe[31m" || len(who.Name) != maxText || who.Email != "" || who.Domain() != "" || len(who.Groups) != 2 || who.Groups[1] != "a" {
		t.Errorf("it is %+v, %v", who, err)
	}
	for _, p := range []Person{{Email: "a@example.org"}, {Email: "@example.org", Verified: true}, {Email: "example.org", Verified: true}} {
		if p.Domain() != "" {
			t.Errorf("%+v is of %s", p, p.Domain())
		}
	}
	if p := (Person{Email: `"a@evil.example"@Example.ORG`, Verified: true}); p.Domain() != "example.org" {
		t.Errorf("it is of %s", p.Domain())
	}
}

func TestProvidersThatAreAwayOrRefuse(t *testing.T) {
	l := newLiar(t)
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"a wrong secret": {401, `{"error":"invalid_client"}`, ErrClient},
		"an old code":    {400, `{"error":"invalid_grant"}`, ErrDenied},
		"broken":         {500, `no`, ErrAway},
		"no token":       {200, `{"access_token":"at","token_type":"Bearer"}`, ErrAnswer},
		"no JSON":        {200, `<html>`, ErrAway},
		"endless":        {200, strings.Repeat(" ", 2*maxAnswer) + `{}`, ErrAway},
	} {
		l.token = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
			return true
		}
		if _, err := directory(t).Finish(t.Context(), l.config(), journey, url.Values{"code": {"c"}}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, meta := range map[string]map[string]any{
		"another issuer":               {"issuer": "https://evil.example"},
		"an endpoint that is a script": {"authorization_endpoint": "javascript:alert(1)"},
		"an endpoint in the clear":     {"authorization_endpoint": "http://evil.example/auth"},
	} {
		l.meta = meta
		if _, err := directory(t).Begin(t.Context(), l.config(), journey); !errors.Is(err, ErrAway) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.meta = map[string]any{"token_endpoint": "http://evil.example/token"}
	if _, err := directory(t).Finish(t.Context(), l.config(), journey, url.Values{"code": {"c"}}); !errors.Is(err, ErrAway) || !strings.Contains(err.Error(), "not https") {
		t.Errorf("a token endpoint in the clear: %v", err)
	}
	d := directory(t)
	at := l.URL
	l.Close()
	if err := d.Check(t.Context(), at); !errors.Is(err, ErrAway) {
		t.Errorf("one that is down: %v", err)
	}
	for _, bad := range []string{"", "x", "ftp://a.example", "http://a.example", "https://u:p@a.example", "https://a.example?x=1", "https://a.example#x", "https://" + strings.Repeat("a", 300)} {
		if err := d.Check(t.Context(), bad); !errors.Is(err, ErrIssuer) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAProviderThatIsAwayIsAskedAgainLater(t *testing.T) {
	now := time.Now()
	d := New(func() time.Time { return now })
	t.Cleanup(d.Close)
	l := newLiar(t)
	l.meta["issuer"] = "https://wrong.example"
	if err := d.Check(t.Context(), l.URL); !errors.Is(err, ErrAway) {
		t.Fatal(err)
	}
	delete(l.meta, "issuer")
	if err := d.Check(t.Context(), l.URL); !errors.Is(err, ErrAway) {
		t.Errorf("at once: %v", err)
	}
	now = now.Add(failureLife)
	if err := d.Check(t.Context(), l.URL); err != nil {
		t.Errorf("later: %v", err)
	}
}

// FuzzClaims holds what is made of a stranger's JSON to its bounds.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"email":"a@b.c","email_verified":"true","groups":["a",1]}`))
	f.Add([]byte(`{"groups":{"a":1},"email_verified":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c claims
		if json.Unmarshal(text, &c) != nil {
			return
		}
		p := c.person("i", "s")
		for _, s := range append([]string{p.Login, p.Name, p.Email}, p.Groups...) {
			if len(s) > maxText || s != clip(s) {
				t.Errorf("%q came through", s)
			}
		}
		if len(p.Groups) > maxGroups || p.Domain() != "" && !p.Verified {
			t.Errorf("%+v", p)
		}
	})
}
