package server

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord"
)

// The browser could not bring its code to the machine's own listener. The code that the machine shows still serves,
// and a wrong one is not called the fifth.
func TestAConnectedLoginThatDidNotReachItsMachineTakesTheTypedCode(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	w := r.web()
	w.signIn("anna", "correct horse", url.Values{})
	d := r.device()
	reply := d.login("laptop", coord.CodeChallenge(rand.Text()+rand.Text()))
	path := coord.PathLogin + reply.LoginID
	connect := func(from string, more url.Values) (int, string, http.Header) {
		_, page, _ := w.ask(http.MethodGet, from, nil)
		more.Set("token", w.token(page, path))
		more.Set("do", "connect")
		return w.ask(http.MethodPost, path, more)
	}
	own := url.Values{"port": {"40000"}, "state": {rand.Text()}}
	if status, _, h := connect(path+"?"+own.Encode(), own); status != http.StatusSeeOther || !strings.HasPrefix(h.Get("Location"), "http://127.0.0.1:40000/") {
		t.Fatal(status, h)
	}
	if status, page, _ := connect(path, url.Values{"code": {"BBBBBB"}}); status != http.StatusForbidden || !strings.Contains(page, "Tries left: 4.") {
		t.Errorf("a wrong code: %d %s", status, page)
	}
	if status, page, _ := connect(path, url.Values{"code": {reply.Code}}); status != http.StatusSeeOther {
		t.Errorf("the right code: %d %s", status, page)
	}
	if err := d.WaitLogin(t.Context(), reply.LoginID); err != nil {
		t.Error(err)
	}
}
