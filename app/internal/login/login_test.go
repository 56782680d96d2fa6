package login

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warren-mesh/warren/ipc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const id = "AAAAAAAAAAAAAAAAAAAAAA"

func TestURLs(t *testing.T) {
	for _, c := range []struct{ server, asked, want string }{
		{"https://warren.example.org", "", "https://warren.example.org/login/" + id},
		{"https://warren.example.org/", "warren.example.org", "https://warren.example.org/login/" + id},
		{"https://Warren.Example.org:8443", "https://warren.example.org:8443/join#server:00", "https://warren.example.org:8443/login/" + id},
		{"https://192.0.2.1", "", "https://192.0.2.1/login/" + id},
		{"https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/login/" + id},
		{"https://[2001:db8::1]", "https://[2001:DB8:0:0::1]:0443", "https://[2001:db8::1]/login/" + id},
		{"https://192.0.2.1:8443", " [::ffff:192.0.2.1]:08443/join#server:00 ", "https://192.0.2.1:8443/login/" + id},
		{"https://warren.example.org", "warren.example.org.", "https://warren.example.org/login/" + id},
		{"http://127.0.0.1:8080", "", "http://127.0.0.1:8080/login/" + id},
		{"http://localhost:8080", "", "http://localhost:8080/login/" + id},
		{"http://[::1]:8080", "", "http://[::1]:8080/login/" + id},
	} {
		p, err := NewPage(&ipc.Login{Server: c.server, ID: id}, c.asked)
		if err != nil || p.Elsewhere() != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.server, p.Elsewhere(), err, c.want)
		}
	}
	p, _ := NewPage(&ipc.Login{Server: "https://a", ID: id}, "")
	if got := p.Here(4711, "a-b_c"); got != "https://a/login/"+id+"?port=4711&state=a-b_c" {
		t.Errorf("got %s", got)
	}
	if p.Done() != "https://a/login/"+id+"/done" {
		t.Errorf("got %s", p.Done())
	}
}

func TestHostileLogins(t *testing.T) {
	for _, server := range []string{
		"", "--manual", "-h", "file:///etc/passwd", "javascript:alert(1)", "smb://host/share", "https:evil", "https://", "https:///login",
		"//evil.example", "evil.example", "ftp://evil.example", "data:text/html,x", "https:opaque", "HTTPS\x00://a", "https://a\n--help",
		"https://user@a.example", "https://user:pw@a.example", "https://a.example@evil.example", "https://a.example?x", "https://a.example?",
		"https://a.example#x", "https://a.example#", "https://a.example/path", "https://a.example/../..", "https://a example", "https://-a.example",
		"https://a..example", "https://a.example:", "https://a.example:0", "https://a.example:65536", "https://a.example:x", "https://[fe80::1%25eth0]",
		"http://a.example", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://192.168.0.1", "https://exa\u202Emple", "https://a%2eb",
		"https://$(reboot)", "https://a;reboot", "https://`id`", "https://" + strings.Repeat("a", maxURL),
	} {
		if p, err := NewPage(&ipc.Login{Server: server, ID: id}, ""); !errors.Is(err, ErrUnsafe) {
			t.Errorf("server %q gives %q, %v", server, p.Elsewhere(), err)
		}
	}
	for _, bad := range []string{
		"", "short", "../../../../../../../../admin", id + "/../x", id + "?x=1", id + "#", id + "\n", "--help-AAAAAAAAAAAAAAA=", strings.Repeat("a", 65), id + "%2f",
	} {
		if p, err := NewPage(&ipc.Login{Server: "https://a.example", ID: bad}, ""); !errors.Is(err, ErrUnsafe) {
			t.Errorf("id %q gives %q, %v", bad, p.Elsewhere(), err)
		}
	}
	for _, asked := range []string{"b.example", "https://a.example.b", "https://a.example:8443", "https://a.example@b.example", "a.example:80", "a.example:0", "a.example:99999"} {
		if p, err := NewPage(&ipc.Login{Server: "https://a.example", ID: id}, asked); !errors.Is(err, ErrUnsafe) {
			t.Errorf("asked for %q, got %q, %v", asked, p.Elsewhere(), err)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add("https://a.example", id, "a.example")
	f.Add("http://[::1]:1", id, "")
	f.Add("--manual", "a/b", "x")
	f.Fuzz(func(t *testing.T, server, id, asked string) {
		p, err := NewPage(&ipc.Login{Server: server, ID: id}, asked)
		if err != nil {
			return
		}
		for _, text := range []string{p.Elsewhere(), p.Here(1, "s"), p.Done()} {
			u, err := url.Parse(text)
			if err != nil || u.User != nil || u.Host == "" || u.Fragment != "" || !strings.HasPrefix(u.Path, "/login/"+id) {
				t.Fatalf("%q %q: %q, %v", server, id, text, err)
			}
			if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
				t.Fatalf("%q: scheme of %q", server, text)
			}
			was, _ := url.Parse(server)
			if !strings.EqualFold(was.Port(), u.Port()) && strings.TrimLeft(was.Port(), "0") != u.Port() {
				t.Fatalf("%q: port of %q", server, text)
			}
			for _, c := range []byte(text) {
				if c < 0x21 || c > 0x7e {
					t.Fatalf("%q: byte %#x in %q", server, c, text)
				}
			}
		}
	})
}

func TestSecretsDiffer(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if a.Verifier == b.Verifier || a.State == b.State || a.Verifier == a.State || len(a.Verifier) != 43 || len(a.Challenge) != 43 || len(a.State) != 32 {
		t.Errorf("%+v %+v", a, b)
	}
}

// waiting is a Listener that serves.
type waiting struct {
	*Listener
	codes chan string // that finish got
	done  chan error  // Serve's
	fail  error       // finish's
}

func serve(t *testing.T, fail error) *waiting {
	t.Helper()
	p, err := NewPage(&ipc.Login{Server: "https://a.example", ID: id}, "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(p, "the-state")
	if err != nil {
		t.Fatal(err)
	}
	w := &waiting{Listener: l, codes: make(chan string, 9), done: make(chan error, 1), fail: fail}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		w.done <- l.Serve(ctx, func(_ context.Context, code string) error {
			w.codes <- code
			return fail
		})
	}()
	t.Cleanup(cancel)
	return w
}

// visit sends a request as a browser would, and does not follow where it is sent.
func (w *waiting) visit(t *testing.T, method, query string, edit func(*http.Request)) *http.Response {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+w.host+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(r)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res
}

func TestOnlyTheRightVisitorFinishesTheLogin(t *testing.T) {
	w := serve(t, nil)
	const right = "/done?state=the-state&code=the-code"
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	for _, c := range []struct {
		name, method, query string
		edit                func(*http.Request)
	}{
		{"no state", "GET", "/done?code=the-code", nil},
		{"a wrong state", "GET", "/done?state=the-stat&code=the-code", nil},
		{"two states", "GET", right + "&state=x", nil},
		{"no code", "GET", "/done?state=the-state", nil},
		{"a code that is none", "GET", "/done?state=the-state&code=a%20b", nil},
		{"two codes", "GET", right + "&code=x", nil},
		{"another path", "GET", "/?state=the-state&code=the-code", nil},
		{"a path below", "GET", "/done/?state=the-state&code=the-code", nil},
		{"POST", "POST", right, nil},
		{"HEAD", "HEAD", right, nil},
		{"another host", "GET", right, host("evil.example")},
		{"a name for this host", "GET", right, host(strings.Replace(w.host, "127.0.0.1", "localhost", 1))},
		{"the host without its port", "GET", right, host("127.0.0.1")},
		{"another origin", "GET", right, header("Origin", "https://evil.example")},
		{"a hidden origin", "GET", right, header("Origin", "null")},
	} {
		if res := w.visit(t, c.method, c.query, c.edit); res.StatusCode < 400 {
			t.Errorf("%s: %s", c.name, res.Status)
		}
	}
	if len(w.codes) > 0 {
		t.Fatal("a wrong visitor finished the login")
	}
	res := w.visit(t, "GET", right, nil)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "https://a.example/login/"+id+"/done" {
		t.Errorf("%s to %s", res.Status, res.Header.Get("Location"))
	}
	if err := <-w.done; err != nil {
		t.Error(err)
	}
	if code := <-w.codes; code != "the-code" || len(w.codes) > 0 {
		t.Errorf("got %q", code)
	}
	if _, err := http.Get("http://" + w.host + right); err == nil {
		t.Error("it still answers after the one visit")
	}
}

func TestASecondVisitWhileTheFirstIsServedIsRefused(t *testing.T) {
	p, _ := NewPage(&ipc.Login{Server: "https://a.example", ID: id}, "")
	l, err := Listen(p, "s")
	if err != nil {
		t.Fatal(err)
	}
	w := &waiting{Listener: l, done: make(chan error, 1)}
	inside, leave := make(chan struct{}), make(chan struct{})
	go func() {
		w.done <- l.Serve(t.Context(), func(context.Context, string) error {
			close(inside)
			<-leave
			return nil
		})
	}()
	first := make(chan int, 1)
	go func() { first <- w.visit(t, "GET", "/done?state=s&code=c", nil).StatusCode }()
	<-inside
	if res := w.visit(t, "GET", "/done?state=s&code=c", nil); res.StatusCode != http.StatusGone {
		t.Errorf("second: %s", res.Status)
	}
	close(leave)
	if code := <-first; code != http.StatusSeeOther {
		t.Errorf("first: %d", code)
	}
	if err := <-w.done; err != nil {
		t.Error(err)
	}
}

func TestAFailedLoginIsToldToBoth(t *testing.T) {
	no := errors.New("no")
	w := serve(t, no)
	if res := w.visit(t, "GET", "/done?state=the-state&code=c", nil); res.StatusCode != http.StatusBadGateway {
		t.Errorf("the browser sees %s", res.Status)
	}
	if err := <-w.done; !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
}

func TestNobodyComes(t *testing.T) {
	p, _ := NewPage(&ipc.Login{Server: "https://a.example", ID: id}, "")
	l, err := Listen(p, "s")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := l.Serve(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestWhoCanOpenABrowser(t *testing.T) {
	for _, c := range []struct {
		env  string
		want bool
	}{
		{"", false},
		{"DISPLAY=", false},
		{"DISPLAY=:0", true},
		{"WAYLAND_DISPLAY=wayland-0", true},
		{"DISPLAY=:0 SUDO_USER=alice", false},
		{"DISPLAY=:0 PKEXEC_UID=1000", false},
	} {
		if got := CanOpen(strings.Fields(c.env)); got != c.want {
			t.Errorf("%s: %v", c.env, got)
		}
	}
}

func TestTheBrowserGetsTheURLAndNoSecrets(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	fifo := "#!/bin/sh\n{ echo \"$# $1\"; env; } >" + out + ".tmp; mv " + out + ".tmp " + out + "\n"
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(fifo), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	p, _ := NewPage(&ipc.Login{Server: "https://a.example", ID: id}, "")
	l, err := Listen(p, "s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.l.Close()
	if _, err := l.Open([]string{"PATH=" + os.Getenv("PATH"), "DISPLAY=:0", "TOKEN=hush", "LD_PRELOAD=/x", "XDG_RUNTIME_DIR=/run/user/1"}); err != nil {
		t.Fatal(err)
	}
	var text []byte
	for deadline := time.Now().Add(10 * time.Second); text == nil && time.Now().Before(deadline); {
		text, _ = os.ReadFile(out)
	}
	got := string(text)
	if !strings.HasPrefix(got, "1 "+l.URL()+"\n") || strings.Contains(got, "hush") || strings.Contains(got, "LD_PRELOAD") || !strings.Contains(got, "XDG_RUNTIME_DIR") {
		t.Errorf("got %q", got)
	}
	if _, err := l.Open([]string{"PATH=/usr/bin"}); !errors.Is(err, ErrNoBrowser) {
		t.Errorf("without a display: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte("#!/bin/sh\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if ended, err := l.Open([]string{"DISPLAY=:0"}); err != nil || <-ended == nil {
		t.Errorf("where xdg-open finds no browser, it ends well; %v", err)
	}
	t.Setenv("PATH", "/nowhere")
	if _, err := l.Open([]string{"DISPLAY=:0"}); !errors.Is(err, ErrNoBrowser) {
		t.Errorf("without xdg-open: %v", err)
	}
}

func TestAVisitUnderWayOutlivesTheWait(t *testing.T) {
	p, _ := NewPage(&ipc.Login{Server: "https://a.example", ID: id}, "")
	l, err := Listen(p, "s")
	if err != nil {
		t.Fatal(err)
	}
	w := &waiting{Listener: l, done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		w.done <- l.Serve(ctx, func(visit context.Context, _ string) error {
			cancel() // the login's end was heard of elsewhere
			<-ctx.Done()
			return visit.Err()
		})
	}()
	if res := w.visit(t, "GET", "/done?state=s&code=c", nil); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the browser sees %s", res.Status)
	}
	if err := <-w.done; err != nil {
		t.Error(err)
	}
}
