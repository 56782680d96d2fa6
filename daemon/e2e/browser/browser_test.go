package browser

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// pages is a server with a login's pages, and the loopback listener that one of them leads to.
func pages(t *testing.T, connect string) (server, loopback *httptest.Server) {
	mux := http.NewServeMux()
	server = httptest.NewTLSServer(http.NewCrossOriginProtection().Handler(mux))
	t.Cleanup(server.Close)
	loopback = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "cross-site" {
			t.Errorf("the listener got %v", r.Header)
		}
		http.Redirect(w, r, server.URL+"/login/1/done", http.StatusSeeOther)
	}))
	t.Cleanup(loopback.Close)
	show := func(w http.ResponseWriter, title, form string) {
		fmt.Fprintf(w, `<title>%s</title><form method="get" action="/search"><input name="q"></form><form method="post" %s</form>`, title, form)
	}
	mux.HandleFunc("GET /login/1", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("__Host-who"); err == nil && c.Value == "demo" {
			show(w, "Connect?", `action="/connect"><input type=hidden name=token value="a b&c"><p>`+connect)
			return
		}
		show(w, "Sign in", `action="/in?then=%2Flogin%2F1"><input name=user><input type=password name=word><input type=checkbox name=spam value=1><button>Sign in</button>`)
	})
	mux.HandleFunc("POST /in", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("user") != "demo" || r.FormValue("word") != "secret" || r.PostForm.Has("spam") {
			http.Error(w, "<p>wrong", http.StatusForbidden)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "__Host-who", Value: "demo", Path: "/", Secure: true})
		http.Redirect(w, r, r.FormValue("then"), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /connect", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("token") != "a b&c" || r.FormValue("answer") != "yes" || r.Header.Get("Origin") != server.URL {
			t.Errorf("the form sent %v with %v", r.PostForm, r.Header)
		}
		http.Redirect(w, r, loopback.URL, http.StatusSeeOther)
	})
	mux.HandleFunc("GET /login/1/done", func(w http.ResponseWriter, _ *http.Request) { show(w, "Connected", ">") })
	return server, loopback
}

func TestTheBrowserGoesThroughALogin(t *testing.T) {
	server, _ := pages(t, `<button name=answer value=yes>Connect</button><button name=answer value=no>Cancel</button>`)
	seen, err := New(new(net.Dialer).DialContext).Login(t.Context(), server.URL+"/login/1", "demo", "secret")
	if want := []string{"Sign in", "Connect?", "Connected"}; err != nil || !slices.Equal(seen, want) {
		t.Errorf("saw %q, %v", seen, err)
	}
}

func TestTheBrowserSaysWhereItIsStuck(t *testing.T) {
	server, _ := pages(t, `This machine is <b>not yours</b>.`)
	for password, want := range map[string]string{
		"wrong":  "POST /in: 403 Forbidden\nwrong",
		"secret": "/login/1 has nothing to sign in with and nothing to connect with:\nConnect? This machine is not yours .",
	} {
		_, err := New(new(net.Dialer).DialContext).Login(t.Context(), server.URL+"/login/1", "demo", password)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with password %q: %v; want %q", password, err, want)
		}
	}
}
