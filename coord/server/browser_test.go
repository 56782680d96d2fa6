package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
)

// browser is a real Chromium.
type browser struct {
	t    *testing.T
	ctx  context.Context
	shot string // where screenshots go; empty: nowhere
}

func newBrowser(t *testing.T, more ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("needs chromium: make deps installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Headless, chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"),
		chromedp.UserDataDir(t.TempDir()))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	ctx, cancel := chromedp.NewContext(alloc)
	ctx, timeout := context.WithTimeout(ctx, 5*patience)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		timeout()
		cancel()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil { // the browser lives as long as the context of the first action
		t.Fatal(err)
	}
	return &browser{t: t, ctx: ctx, shot: os.Getenv("WARREN_SCREENSHOTS")}
}

func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for _, step := range steps {
		err := chromedp.Do(ctx, step)
		for ctx.Err() == nil && err != nil && strings.Contains(err.Error(), "node with given id") {
			err = chromedp.Do(ctx, step) // the page drew itself anew after the step had found its place, and before it did anything
		}
		if err != nil {
			b.save("failed")
			b.t.Fatalf("%s: %v", what, err)
		}
	}
}

// sees waits until the page's text holds the words.
func (b *browser) sees(words string) {
	b.t.Helper()
	var text string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(look) {
		var err error
		text, err = chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body ? document.body.innerText : ''"))
		if err == nil && strings.Contains(text, words) {
			return
		}
	}
	b.save("failed")
	b.t.Fatalf("the page never said %q; it says:\n%s", words, text)
}

func (b *browser) location() string {
	b.t.Helper()
	at, err := chromedp.Run(b.ctx, chromedp.Location())
	if err != nil {
		b.t.Fatal(err)
	}
	return at
}

func (b *browser) save(name string) {
	if b.shot == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(b.shot, name+".png"), png, 0o600)
	}
	if err != nil {
		b.t.Log(err)
	}
}

// picture saves what the page looks like: wide and light, wide and dark, on a phone. None is wider than its window, down
// to 320 pixels (WCAG 2.2, 1.4.10).
func (b *browser) picture(name string) {
	b.t.Helper()
	for _, c := range []struct {
		suffix, scheme string
		width, height  int64
	}{{"light", "light", 1100, 820}, {"dark", "dark", 1100, 820}, {"phone", "light", 375, 720}, {"small", "light", 320, 640}} {
		b.do("look", chromedp.EmulateViewport(c.width, c.height), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: c.scheme}},
			})
			return err
		}))
		// Two frames later the page is laid out for the window that it has now.
		wide, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](
			"new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(document.documentElement.scrollWidth > innerWidth))))", chromedp.EvalAwaitPromise))
		if err != nil || wide {
			b.t.Errorf("page %s is wider than its window of %d (%v)", name, c.width, err)
		}
		b.save(name + "-" + c.suffix)
	}
}

// user makes an owner's account.
func (r *running) user(login, password string) {
	r.t.Helper()
	r.userAs(login, password, account.Owner)
}

// userAs makes an account.
func (r *running) userAs(login, password string, role account.Role) {
	r.t.Helper()
	if err := r.AddUser(r.t.Context(), login, password, string(role)); err != nil {
		r.t.Fatal(err)
	}
}

// login begins a login of the device.
func (d *device) login(host, challenge string) *coord.RegisterReply {
	d.t.Helper()
	reply, err := d.Register(d.t.Context(), d.node, coord.RegisterRequest{
		Hostname: host, OS: "Debian GNU/Linux 12", Version: "1.0", Challenge: challenge,
	})
	if err != nil || reply.Registered || reply.LoginID == "" || reply.Code == "" {
		d.t.Fatalf("Register = %+v, %v", reply, err)
	}
	return reply
}

// listen plays the client's loopback listener: it finishes the login and sends the browser on.
func (d *device) listen(loginID, verifier, state, done string) (port int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/done" || q.Get("state") != state {
			http.NotFound(w, r)
			return
		}
		if err := d.FinishLogin(r.Context(), coord.CodeRequest{LoginID: loginID, Code: q.Get("code"), Verifier: verifier}); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, done, http.StatusSeeOther)
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(ln) }()
	d.t.Cleanup(func() { _ = srv.Close(); <-ended })
	return ln.Addr().(*net.TCPAddr).Port
}

func TestAPersonConnectsTheirOwnMachine(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.sees("Sign in")
	b.picture("signin-console")

	d := r.device()
	verifier, state := rand.Text()+rand.Text(), rand.Text()
	reply := d.login("Annas-Laptop.fritz.box", coord.CodeChallenge(verifier))
	done := r.URL() + coord.PathLogin + reply.LoginID + "/done"
	port := d.listen(reply.LoginID, verifier, state, done)
	waited := make(chan error, 1)
	go func() { waited <- d.WaitLogin(context.Background(), reply.LoginID) }()

	page := r.URL() + coord.PathLogin + reply.LoginID + "?" + url.Values{"port": {fmt.Sprint(port)}, "state": {state}}.Encode()
	b.do("login page", chromedp.Navigate(page))
	b.sees("Sign in to connect a machine")
	b.picture("signin")
	b.do("wrong password", chromedp.SendKeys("#login", "anna"), chromedp.SendKeys("#password", "wrong\n"))
	b.sees("Name or password is wrong.")
	b.picture("signin-wrong")
	b.do("sign in", chromedp.SendKeys("#password", "correct horse\n"))
	b.sees("Connect this machine?")
	b.sees("annas-laptop")
	b.sees("127.0.0.1")
	b.picture("connect")
	b.do("connect", chromedp.Click("button[value=connect]"))
	b.sees("Connected")
	b.sees("annas-laptop")
	if at := b.location(); at != done {
		t.Errorf("the address bar says %s", at)
	}
	b.picture("done")
	if err := <-waited; err != nil {
		t.Errorf("WaitLogin: %v", err)
	}
	b.do("again", chromedp.Navigate(done), chromedp.Navigate(done))
	b.sees("Connected")

	maps, _ := d.follow(nil)
	m := until(t, maps, "itself", func(m *coord.Netmap) bool { return m.Self.Online })
	if m.Self.User.Login != "anna" || time.Until(m.Self.Expires) < keyLife-time.Hour {
		t.Errorf("it is %+v", m.Self)
	}
	for i, host := range []string{"server", "phone", "Living Room TV"} {
		o := r.device()
		o.join(host, r.authKey(KeyOptions{Tags: []string{"home", "extra"}[:i%2+1]}))
	}
	b.do("console", chromedp.Navigate(r.URL()+"/"))
	b.sees("4 in all, 1 online")
	b.picture("console")
	b.do("join", chromedp.Navigate(coord.FormatInvite(r.URL(), r.Key())))
	b.sees("You are invited")
	b.picture("join")
	b.do("sign out", chromedp.Click("header button"))
	b.sees("With your account")
}

func TestAPersonConnectsAMachineWithoutABrowser(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	b := newBrowser(t)
	d := r.device()
	reply := d.login("nas", "")
	page := r.URL() + coord.PathLogin + reply.LoginID
	waited := make(chan error, 1)
	go func() { waited <- d.WaitLogin(context.Background(), reply.LoginID) }()
	b.do("login page", chromedp.Navigate(page), chromedp.SendKeys("#login", "anna"), chromedp.SendKeys("#password", "correct horse\n"))
	b.sees("Code that the machine shows")
	b.picture("code")
	b.do("wrong code", chromedp.SendKeys("#code", "AAAAAA\n"))
	b.sees("That is not the code. Tries left: 4.")
	b.do("right code", chromedp.SendKeys("#code", strings.ToLower(reply.Code)+"\n"))
	b.sees("Connected")
	if err := <-waited; err != nil {
		t.Errorf("WaitLogin: %v", err)
	}

	cancelled := r.device()
	reply = cancelled.login("other", "")
	b.do("cancel", chromedp.Navigate(r.URL()+coord.PathLogin+reply.LoginID), chromedp.Click("button[value=cancel]"))
	b.sees("Cancelled")
	b.picture("cancelled")
	wantCode(t, cancelled.WaitLogin(t.Context(), reply.LoginID), coord.CodeLoginDenied)

	guessed := r.device()
	reply = guessed.login("guessed", "")
	b.do("guess", chromedp.Navigate(r.URL()+coord.PathLogin+reply.LoginID))
	for left := 4; left > 0; left-- {
		b.do("guess", chromedp.SendKeys("#code", "AAAAAA\n"))
		b.sees(fmt.Sprintf("Tries left: %d.", left))
	}
	b.do("last guess", chromedp.SendKeys("#code", "AAAAAA\n"))
	b.sees("fifth wrong code")
	wantCode(t, guessed.WaitLogin(t.Context(), reply.LoginID), coord.CodeLoginUnknown)
	b.do("nothing", chromedp.Navigate(r.URL()+"/nowhere"))
	b.sees("Nothing here")
	b.picture("nothing")
	b.do("front page", chromedp.Click("a.button"))
	b.sees("Machines")
}
