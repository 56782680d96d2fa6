package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/warren-mesh/warren/assets"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// page is what templates see.
type page struct {
	// of every page
	Title        string
	Network      string
	User         string // signed in; empty: nobody
	SignOutToken string
	Fingerprint  string
	Assets       string // a hash, so that browsers may keep what pages load
	Refresh      int    // seconds; 0: never
	Nav          []navItem
	Live         bool // it shows by itself what is so now

	// of some
	Token   string // of the page's form
	Action  string // where it goes
	Role    string
	First   bool // the network's first account
	Problem string
	Typed   string // name that was typed
	Login   *loginRef
	Device  *deviceInfo
	Waiting bool // the device, for an admin's approval
	URL     string
	Invite  string
	Front   bool // a link to the front page
	Script  bool // passkey.js is part of it

	PasskeyToken string // of the form for passkeys
	Body         any    // what a page of the console shows

	seal func(path string) string
}

// TokenFor is the token of a form that goes to the path.
func (p *page) TokenFor(path string) string { return p.seal(path) }

// deviceInfo is a machine that asks to be let in.
type deviceInfo struct{ Name, OS, From, Asked, Fingerprint string }

var (
	templates  = template.Must(template.ParseFS(assets.Pages, "pages/*.html"))
	assetsHash = hashAssets()
)

func hashAssets() string {
	h := sha256.New()
	_ = fs.WalkDir(assets.Static, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			text, _ := assets.Static.ReadFile(name)
			_, _ = h.Write(text)
		}
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// show writes a page. v may be nil where nobody is known.
func (s *Server) show(w http.ResponseWriter, status int, name string, v *visit, p page) error {
	p.Network, p.Fingerprint, p.Assets, p.URL = s.network.Name, s.Key().Short(), assetsHash, s.url
	if v != nil && v.user.ID != 0 {
		p.User, p.SignOutToken = v.user.Login, s.formToken(v, "/signout")
		p.seal = func(path string) string { return s.formToken(v, path) }
	}
	switch {
	case p.Live:
		w.Header().Set("Content-Security-Policy", csp("")+"; script-src 'self'; connect-src 'self'")
	case p.Script:
		w.Header().Set("Content-Security-Policy", csp("")+"; script-src 'self'")
	}
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name+".html", &p); err != nil {
		return err
	}
	if v != nil && v.newForm {
		setCookie(w, cookieForm, v.form, 0)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
	return nil
}

// failPage shows a refusal to a person.
func (s *Server) failPage(w http.ResponseWriter, e *coord.Error) {
	title := "That did not work"
	switch e.Code {
	case coord.CodeLoginExpired, coord.CodeLoginUnknown:
		title = "This login is over"
	case coord.CodeLoginDenied:
		title = "Cancelled"
	case "not-found":
		title = "Nothing here"
	case errSetupOver.Code:
		title = "This link is over"
	case errNotAllowed.Code:
		title = "Not for your account"
	case codeProvider, errSpent.Code:
		title = "Not signed in"
	}
	message := e.Message
	switch e {
	case errNotFound:
		message = "Check the address, or start again from the front page."
	case errLoginDenied:
		message = "The machine was not let in. You can close this page."
	}
	if err := s.show(w, e.Status, "error", nil, page{Title: title, Problem: message, Front: e == errNotFound || e.Code == codeProvider || e.Code == errSpent.Code}); err != nil {
		s.log.Error("cannot show a page", "err", err)
	}
}

func (s *Server) static(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	text, err := assets.Static.ReadFile("static/" + path.Base(name))
	if err != nil {
		return errNotFound
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	w.Header().Set("Cache-Control", "public, max-age=86400")
	_, _ = w.Write(text)
	return nil
}

func (s *Server) join(w http.ResponseWriter, _ *http.Request, v *visit) error {
	return s.show(w, http.StatusOK, "join", v, page{Title: "Join"})
}

// ago says how long something is past.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	count := func(n int, unit string) string {
		if n == 1 {
			return "1 " + unit + " ago"
		}
		return fmt.Sprintf("%d %ss ago", n, unit)
	}
	switch {
	case t.IsZero():
		return "never"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return count(int(d.Minutes()), "minute")
	case d < 48*time.Hour:
		return count(int(d.Hours()), "hour")
	}
	return count(int(d.Hours()/24), "day")
}

// shortKey gives the first digits of a machine's key in groups of four, for people to compare.
func shortKey(m key.MachinePublic) string {
	h := hex.EncodeToString(m[:8])
	return strings.Join([]string{h[:4], h[4:8], h[8:12], h[12:]}, " ")
}
