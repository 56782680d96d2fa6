package passkey

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func desk(t testing.TB) *Desk {
	t.Helper()
	d, err := New("https://coord.example.org:8443", "home")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPasskeysAreForNames(t *testing.T) {
	for _, address := range []string{"https://192.0.2.1", "https://192.0.2.1:8443", "https://[2001:db8::1]:8443"} {
		if _, err := New(address, "home"); !errors.Is(err, ErrNoName) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestWhatABrowserIsAskedFor(t *testing.T) {
	d := desk(t)
	p := Person{Handle: []byte("opaque"), Login: "anna"}
	options, keep, err := d.BeginRegister(p)
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		RP        struct{ ID string }
		Challenge string
		Selection struct{ ResidentKey, UserVerification string } `json:"authenticatorSelection"`
	}
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		t.Fatal(err)
	}
	if o.RP.ID != "coord.example.org" || o.Selection.ResidentKey != "required" || o.Selection.UserVerification != "required" || len(o.Challenge) < 22 {
		t.Errorf("to register: %s", options)
	}
	if len(keep) > 2<<10 {
		t.Errorf("a page carries %d bytes", len(keep))
	}
	options, _, err = d.BeginSignIn(nil)
	if err != nil || strings.Contains(options, "allowCredentials") || !strings.Contains(options, `"userVerification":"required"`) {
		t.Errorf("to sign in: %s, %v", options, err)
	}
	options, _, err = d.BeginSignIn([]Key{{ID: []byte{1, 2, 3}}})
	if err != nil || !strings.Contains(options, `"id":"AQID"`) {
		t.Errorf("with one of these: %s, %v", options, err)
	}
}

// FuzzAnswers sends anything as a browser's answer: it is refused, in our own words.
func FuzzAnswers(f *testing.F) {
	d := desk(f)
	p := Person{Handle: []byte("opaque"), Login: "anna"}
	_, toRegister, err1 := d.BeginRegister(p)
	_, toSignIn, err2 := d.BeginSignIn(nil)
	if err := errors.Join(err1, err2); err != nil {
		f.Fatal(err)
	}
	f.Add(`{}`)
	f.Add(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"AA","signature":"AA","userHandle":"AA"}}`)
	f.Add(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","attestationObject":"oA"}}`)
	f.Fuzz(func(t *testing.T, answer string) {
		if _, err := d.FinishRegister(p, toRegister, answer); !errors.Is(err, ErrAnswer) {
			t.Errorf("register: %v", err)
		}
		_, _, _, err := d.FinishSignIn(toSignIn, answer, func([]byte) (Person, error) { return p, ErrUnknown })
		if !errors.Is(err, ErrAnswer) && !errors.Is(err, ErrUnknown) {
			t.Errorf("sign in: %v", err)
		}
	})
}
