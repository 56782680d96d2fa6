package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// receiver takes events as real ones do, or not.
type receiver struct {
	*httptest.Server
	t      *testing.T
	secret string
	events chan Event // those that it took
	later  bool       // the sender's clock is another one

	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request, e Event) bool // whether it takes it; nil: all
}

func newReceiver(t *testing.T) *receiver {
	rec := &receiver{t: t, events: make(chan Event, 1000)}
	rec.Server = httptest.NewServer(http.HandlerFunc(rec.serve))
	t.Cleanup(rec.Close)
	return rec
}

func (rec *receiver) answers(f func(http.ResponseWriter, *http.Request, Event) bool) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.answer = f
}

func (rec *receiver) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	rec.mu.Lock()
	answer, secret := rec.answer, rec.secret
	rec.mu.Unlock()
	if err := verifyEvent(secret, r.Header.Get(HookSignature), body); err != nil && !rec.later {
		rec.t.Error(err)
	}
	var e Event
	if err := json.Unmarshal(body, &e); err != nil || r.Header.Get("Content-Type") != "application/json" {
		rec.t.Errorf("%v in %s", err, body)
	}
	if answer != nil && !answer(w, r, e) {
		return
	}
	rec.events <- e
}

// verifyEvent is what a receiver does.
func verifyEvent(secret, header string, body []byte) error {
	at, mac, ok := strings.Cut(strings.TrimPrefix(header, "t="), ",v1=")
	unix, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || time.Since(time.Unix(unix, 0)).Abs() > time.Minute {
		return fmt.Errorf("no signature: %q", header)
	}
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(at + "." + string(body)))
	if got, err := hex.DecodeString(mac); err != nil || !hmac.Equal(got, m.Sum(nil)) {
		return errors.New("the signature is wrong")
	}
	return nil
}

// next is the next event that was taken.
func (rec *receiver) next() Event {
	rec.t.Helper()
	select {
	case e := <-rec.events:
		return e
	case <-time.After(patience):
		rec.t.Fatal("no event came")
	}
	return Event{}
}

// hook makes a webhook to the receiver, whose tries follow each other at once.
func (r *running) hook(rec *receiver, events ...string) int64 {
	r.t.Helper()
	rec.mu.Lock() // no event is looked at before the secret is there
	defer rec.mu.Unlock()
	n, err := r.addWebhook(r.t.Context(), operator, WebhookRequest{URL: rec.URL + "/in?key=secret", Events: events})
	if err != nil {
		r.t.Fatal(err)
	}
	rec.secret = n.Secret
	return n.ID
}

func (r *running) webhook(id int64) WebhookInfo {
	r.t.Helper()
	all, err := r.webhooks(r.t.Context())
	for _, w := range all {
		if w.ID == id {
			return w
		}
	}
	r.t.Fatalf("no webhook %d, %v", id, err)
	return WebhookInfo{}
}

// serveWith is serveDir for a server that is prepared before it serves; without a directory it is set up in one.
func serveWith(t *testing.T, dir string, o Options, prepare func(*Server)) *running {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
		if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
			t.Fatal(err)
		}
	}
	return serveDir(t, dir, "127.0.0.1:0", o, prepare)
}

func quick(s *Server) { s.courier.wait = func(int) time.Duration { return 10 * time.Millisecond } }

func TestEventsComeInOrderToAReceiverThatFailsAndComesBack(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	r := serveWith(t, dir, Options{}, quick)
	rec := newReceiver(t)
	r.user("anna", "correct horse")
	id := r.hook(rec)
	var failed []string
	fail := map[string]func(http.ResponseWriter){
		"key 1": func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"key 2": func(w http.ResponseWriter) {
			w.Header().Set("Location", rec.URL+"/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"key 3": func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, // the connection breaks
	}
	rec.answers(func(w http.ResponseWriter, r *http.Request, e Event) bool {
		if r.URL.Path != "/in" || r.URL.RawQuery != "key=secret" {
			t.Errorf("a redirect was followed to %s", r.URL)
		}
		f := fail[e.Subject]
		if f == nil {
			return true
		}
		delete(fail, e.Subject)
		failed = append(failed, e.Subject)
		f(w)
		return false
	})
	for range 3 {
		r.authKey(KeyOptions{})
	}
	for _, want := range []string{"webhook.add 127.0.0.1", "key.add key 1", "key.add key 2", "key.add key 3"} {
		e := rec.next()
		if got := e.Action + " " + e.Subject; !strings.HasPrefix(got, want) || e.Network != "home" || e.Server != r.URL() || e.Via != viaHost {
			t.Errorf("got %s, not %s (%+v)", got, want, e)
		}
	}
	eventually(t, "all sent", func() bool { w := r.webhook(id); return w.State == "ok" && !w.Waiting && w.Status == http.StatusOK })
	if got := strings.Join(failed, ", "); got != "key 1, key 2, key 3" {
		t.Errorf("failed: %s", got)
	}

	// It is away while things happen, and the server ends meanwhile: nothing is missed, nothing comes twice that was taken.
	rec.answers(func(w http.ResponseWriter, _ *http.Request, _ Event) bool {
		w.WriteHeader(http.StatusBadGateway)
		return false
	})
	r.authKey(KeyOptions{})
	eventually(t, "a failed try", func() bool { return r.webhook(id).Problem == "it answers 502" })
	r.stop()
	rec.answers(nil)
	r = serveWith(t, dir, Options{}, quick)
	r.authKey(KeyOptions{})
	for _, want := range []string{"key 4", "key 5"} {
		if e := rec.next(); e.Subject != want {
			t.Errorf("after the restart got %s, not %s", e.Subject, want)
		}
	}
	select {
	case e := <-rec.events:
		t.Errorf("got %+v again", e)
	default:
	}
}

func TestAReceiverThatHangsHoldsNobodyUp(t *testing.T) {
	r := serveWith(t, "", Options{}, func(s *Server) { quick(s); s.courier.plain.Timeout = time.Second })
	hanging, other := newReceiver(t), newReceiver(t)
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	hanging.answers(func(_ http.ResponseWriter, r *http.Request, _ Event) bool {
		select {
		case <-held:
		case <-r.Context().Done():
		}
		return false
	})
	id := r.hook(hanging, "key")
	r.hook(other, "key.add")
	r.authKey(KeyOptions{})
	if err := r.AddUser(t.Context(), "anna", "correct horse", ""); err != nil {
		t.Fatal(err)
	}
	r.authKey(KeyOptions{})
	a := other.next()
	b := other.next()
	for b.ID == a.ID { // its answer came too late, as this server waits for one only a second
		b = other.next()
	}
	if a.Subject != "key 1" || b.Subject != "key 2" {
		t.Errorf("got %s and %s", a.Subject, b.Subject)
	}
	eventually(t, "a timeout", func() bool { return strings.HasPrefix(r.webhook(id).Problem, "no answer within") })
	if got, err := r.testWebhook(t.Context(), operator, id); err != nil || got.OK || !strings.HasPrefix(got.Problem, "no answer") {
		t.Errorf("a test: %+v, %v", got, err)
	}
}

func TestEventsThatNobodyTakesForADayAreDroppedAndSaidSo(t *testing.T) {
	var clock stepClock
	clock.set(time.Now())
	r := serveWith(t, "", Options{Now: clock.now}, func(s *Server) { s.courier.wait = func(int) time.Duration { return time.Millisecond } })
	rec := newReceiver(t)
	rec.later = true
	rec.answers(func(w http.ResponseWriter, _ *http.Request, _ Event) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return false
	})
	id := r.hook(rec, "key")
	for range 3 {
		r.authKey(KeyOptions{})
	}
	eventually(t, "a failed try", func() bool { return r.webhook(id).Tries > 0 })
	clock.set(clock.now().Add(hookGiveUp + time.Minute))
	r.authKey(KeyOptions{})
	eventually(t, "three dropped", func() bool {
		clock.set(clock.now().Add(time.Second))
		r.courier.kick()
		return r.webhook(id).Dropped == 3
	})
	rec.answers(nil)
	eventually(t, "the fourth", func() bool {
		clock.set(clock.now().Add(time.Second))
		r.courier.kick()
		w := r.webhook(id)
		return w.State == "ok" && !w.Waiting
	})
	if e := rec.next(); e.Subject != "key 4" {
		t.Errorf("got %+v", e)
	}
	found := false
	got, _ := r.lines(0)
	for _, l := range got {
		found = found || strings.HasPrefix(l, " server webhook.drop 127.0.0.1:")
	}
	if !found {
		t.Errorf("the log does not say it: %q", got)
	}
}

func TestWebhooksLeadOnlyToReceivers(t *testing.T) {
	r := serve(t)
	for _, bad := range []string{
		"", "x", "ftp://a.example/", "http://a.example/", "http://192.0.2.1/", "http://10.0.0.1/", "https://", "https:///x", "https://u:p@a.example/", "https://a.example/#x",
		"https://169.254.169.254/latest/meta-data", "https://[fe80::1]/", "https://[::ffff:169.254.169.254]/", "https://[64:ff9b::a9fe:a9fe]/",
		"https://[2002:a9fe:a9fe::1]/", "https://[fd00:ec2::254]/", "https://100.100.100.200/", "https://0.0.0.0/", "https://[::]/", "https://224.0.0.1/",
		"https://255.255.255.255/", "https://0.1.2.3/", r.URL() + "/signin", strings.ToUpper("https://a.example/") + strings.Repeat("x", maxHookURL),
	} {
		if _, err := r.addWebhook(t.Context(), operator, WebhookRequest{URL: bad}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	for _, good := range []string{"https://hooks.example/a?b=c", "https://192.168.1.5:8443/", "https://[fd12::1]/", "http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/"} {
		if _, err := r.addWebhook(t.Context(), operator, WebhookRequest{URL: good}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	if _, err := r.addWebhook(t.Context(), operator, WebhookRequest{URL: "https://a.example", Events: []string{"machine.paint"}}); err == nil {
		t.Error("an event that is none was taken")
	}
	// A name is checked again when it is resolved: whatever it says, the connection is refused.
	rec := httptest.NewServer(http.NotFoundHandler())
	defer rec.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(rec.URL, "http://"), ":")
	c := hookClient("http")
	defer c.CloseIdleConnections()
	c.Transport.(*http.Transport).DialContext = nil // the positive control: without the rule it connects
	if resp, err := c.Get("http://0.0.0.0:" + port); err != nil {
		t.Errorf("nothing to protect from: %v", err)
	} else {
		_ = resp.Body.Close()
	}
	c.CloseIdleConnections()
	c = hookClient("http")
	if resp, err := c.Get("http://0.0.0.0:" + port); err == nil {
		_ = resp.Body.Close()
		t.Error("a connection was made")
	} else if !strings.Contains(err.Error(), "is no address of a receiver") {
		t.Error(err)
	}
	if err := hookAddress("http", netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("plain HTTP leaves the host")
	}
}

func TestABackOffGrowsAndIsBounded(t *testing.T) {
	for tries, want := range map[int]time.Duration{1: hookFirstWait, 2: 2 * hookFirstWait, 5: 16 * hookFirstWait, 50: hookLongWait, 0: hookFirstWait} {
		for range 100 {
			if d := backOff(tries); d < want/2 || d > want {
				t.Fatalf("after %d tries: %v", tries, d)
			}
		}
	}
}

func TestKeysThatEndAreToldOfOnce(t *testing.T) {
	var clock stepClock
	clock.set(time.Now().Truncate(time.Millisecond))
	r := serveWith(t, "", Options{Now: clock.now}, quick)
	r.user("anna", "correct horse")
	r.device().join("laptop", r.authKey(KeyOptions{User: "anna"}))
	r.device().join("nas", r.authKey(KeyOptions{Tags: []string{"home"}}))
	r.device().join("other", r.authKey(KeyOptions{User: "anna"}))
	if err := r.ExpireMachine(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	start := r.last()
	m, err := r.machineNamed("laptop")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{m.Node.Expires.Add(-expirySoon - time.Second), ""},
		{m.Node.Expires.Add(-expirySoon + time.Second), " server machine.expiring laptop"},
		{m.Node.Expires.Add(-time.Second), " server machine.expiring laptop"},
		{m.Node.Expires, " server machine.expiring laptop, server machine.expired laptop"},
		{m.Node.Expires.Add(time.Hour), " server machine.expiring laptop, server machine.expired laptop"},
	} {
		clock.set(c.at)
		for range 2 {
			if err := r.tellExpiries(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got, _ := r.lines(start); strings.Join(got, ",") != c.want {
			t.Errorf("at %v: %q", c.at, got)
		}
	}
	if err := r.ExtendMachine(t.Context(), "laptop", false); err != nil {
		t.Fatal(err)
	}
	start = r.last()
	m, _ = r.machineNamed("laptop")
	clock.set(m.Node.Expires.Add(-time.Hour))
	if err := r.tellExpiries(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.lines(start); strings.Join(got, ",") != " server machine.expiring laptop" {
		t.Errorf("its next end: %q", got)
	}
}

func TestWebhooksInTheConsole(t *testing.T) {
	r := serveWith(t, "", Options{}, quick)
	r.user("anna", "correct horse")
	r.userAs("bert", "correct horse", account.Admin)
	rec := newReceiver(t)
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("webhooks", chromedp.Click(`nav a[href="/webhooks"]`), chromedp.SendKeys("#url", "http://192.0.2.1/x\n"))
	b.sees("plain http:// is for this host itself")
	b.do("another", chromedp.SetValue("#url", rec.URL+"/in"), chromedp.Click(`input[value=machine]`), chromedp.Click(`form[action="/webhooks"] button`))
	b.sees("Your webhook is ready")
	secret, err := chromedp.Run(b.ctx, chromedp.Text("code.copy"))
	if err != nil || !strings.HasPrefix(secret, hookPrefix) {
		t.Fatalf("the secret is %q, %v", secret, err)
	}
	rec.mu.Lock()
	rec.secret = secret
	rec.mu.Unlock()
	b.do("back", chromedp.Click(".button.wide"), chromedp.Click(`form[action="/webhooks/1/test"] button`))
	b.sees("The receiver took the test (HTTP 200)")
	if e := rec.next(); e.Action != "webhook.test" {
		t.Errorf("got %+v", e)
	}
	rec.answers(func(w http.ResponseWriter, _ *http.Request, _ Event) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return false
	})
	r.device().join("nas", r.authKey(KeyOptions{}))
	eventually(t, "a failed try", func() bool { return r.webhook(1).Tries > 0 })
	b.do("look", chromedp.Navigate(r.URL()+"/webhooks"))
	b.sees("it answers 500")
	b.picture("webhooks")
	rec.answers(nil)
	if e := rec.next(); e.Action != "machine.add" || e.Subject != "nas" {
		t.Errorf("got %+v", e)
	}
	b.do("remove", chromedp.Navigate(r.URL()+"/webhooks"), chromedp.Click(`form[action="/webhooks/1/remove"] button`))
	b.sees("No webhooks yet")
	b.signOut()
	b.signInAs("bert")
	b.lacks("Webhooks")
	err = r.store.Read(t.Context(), func(tx store.Tx) error {
		lines, err := tx.AuditLines(store.AuditQuery{Action: "webhook", Limit: 10})
		if strings.Contains(fmt.Sprint(lines), "/in") {
			t.Errorf("the log holds the address: %+v", lines)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestATestIsInTheLogAndTellsNothingOfOtherServices(t *testing.T) {
	r := serve(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "SSH-2.0-secret banner\r\n")
			_ = c.Close()
		}
	}()
	n, err := r.addWebhook(t.Context(), operator, WebhookRequest{URL: "http://" + ln.Addr().String(), Events: []string{"relay"}})
	if err != nil {
		t.Fatal(err)
	}
	before := r.last()
	got, err := r.testWebhook(t.Context(), operator, n.ID)
	if err != nil || got.OK || got.Problem == "" || strings.Contains(got.Problem, "SSH") {
		t.Errorf("%+v, %v", got, err)
	}
	if text, _ := r.lines(before); len(text) != 1 || !strings.Contains(text[0], string(actHookTest)) {
		t.Errorf("the log has %q", text)
	}
}
