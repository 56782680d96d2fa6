package ipc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// expected is the table again, by hand: what each operation needs, and what reaches the backend.
var expected = []struct {
	request string
	body    string
	level   Level
	call    string
}{
	{"GET /v1/status", "", LevelRead, "status"},
	{"GET /v1/prefs", "", LevelRead, "prefs"},
	{"GET /v1/profiles", "", LevelRead, "profiles"},
	{"POST /v1/switch", `{"profile":"work"}`, LevelOperate, "switch"},
	{"POST /v1/ping", `{"peer":"bob"}`, LevelRead, "ping"},
	{"POST /v1/netcheck", `{}`, LevelRead, "netcheck"},
	{"POST /v1/dns", `{"name":"bob"}`, LevelRead, "dns"},
	{"POST /v1/why", `{"peer":"bob","service":"22"}`, LevelRead, "why"},
	{"PATCH /v1/prefs", `{"hostname":"x"}`, LevelOperate, "edit"},
	{"PATCH /v1/prefs", `{}`, LevelOperate, "edit"},
	{"PATCH /v1/prefs", `{"hostname":"x","port":41641}`, LevelAdmin, "edit"},
	{"PATCH /v1/prefs", `{"PORT":0}`, LevelAdmin, "edit"}, // as encoding/json reads it
	{"POST /v1/up", `{}`, LevelOperate, "up"},
	{"POST /v1/up", `{"server":"https://a","edit":{"hostname":"x"}}`, LevelOperate, "up"},
	{"POST /v1/up", `{"edit":{"port":1}}`, LevelAdmin, "up"},
	{"POST /v1/portal", `{"duration":60000}`, LevelOperate, "portal"},
	{"POST /v1/down", `{}`, LevelOperate, "down"},
	{"POST /v1/login/wait", `{"id":"a"}`, LevelOperate, "wait"},
	{"POST /v1/login/finish", `{"id":"a"}`, LevelOperate, "finish"},
	{"POST /v1/logout", `{}`, LevelOperate, "logout"},
}

func request(line, body string) *http.Request {
	method, path, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = Host
	if body != "" {
		r.Header.Set("Content-Type", contentJSON)
	}
	return r
}

// as serves r to a caller of that level.
func as(h http.Handler, level Level, r *http.Request) *http.Response {
	return record(h, r.WithContext(WithCaller(r.Context(), Caller{UID: 1000, Level: level})))
}

func record(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func refusal(t *testing.T, res *http.Response) *Error {
	t.Helper()
	var e *Error
	if err := readError(res); !errors.As(err, &e) {
		t.Fatalf("no *Error: %v", err)
	}
	return e
}

func TestEveryOperationAtEveryLevel(t *testing.T) {
	seen := map[string]bool{"GET /v1/watch": true, "GET /v1/watch/live": true} // have tests of their own
	for _, c := range expected {
		seen[c.request] = true
		for _, level := range []Level{0, LevelRead, LevelOperate, LevelAdmin} {
			f := newFake()
			res := as(Handler(f, nil, quiet), level, request(c.request, c.body))
			if level >= c.level {
				if calls := f.reached(); res.StatusCode != http.StatusOK || len(calls) != 1 || calls[0] != c.call {
					t.Errorf("%s %s at level %d: %s, reached %v; want it done", c.request, c.body, level, res.Status, calls)
				}
				continue
			}
			e := refusal(t, res)
			if calls := f.reached(); res.StatusCode != http.StatusForbidden || e.Code != CodeDenied || len(calls) > 0 {
				t.Errorf("%s %s at level %d: %s %v, reached %v; want it denied", c.request, c.body, level, res.Status, e, calls)
			}
			if level > 0 && !strings.Contains(e.Fix, "sudo warren ") {
				t.Errorf("%s at level %d: the fix names no command: %q", c.request, level, e.Fix)
			}
		}
	}
	for _, op := range operations {
		if !seen[op.method+" "+op.path] {
			t.Errorf("%s %s has no test", op.method, op.path)
		}
		if op.level == 0 {
			t.Errorf("%s %s states no level", op.method, op.path)
		}
	}
}

func TestADeniedEditNamesTheCommandThatWouldWork(t *testing.T) {
	for _, c := range []struct{ request, body, want string }{
		{"PATCH /v1/prefs", `{"port":41641}`, "Run: sudo warren set --port 41641"},
		{"PATCH /v1/prefs", `{"port":1,"hostname":"den"}`, "Run: sudo warren set --hostname den --port 1"},
		{"PATCH /v1/prefs", `{"port":1,"hostname":"$(reboot)"}`, "Run: sudo warren set --hostname NAME --port 1"},
		{"PATCH /v1/prefs", `{"port":1,"profile":"$(reboot)"}`, "Run: sudo warren set --profile-name NAME --port 1"},
		{"POST /v1/up", `{"authKey":"hush","edit":{"port":1}}`, "Run: sudo warren up --port 1"},
	} {
		e := refusal(t, as(Handler(newFake(), nil, quiet), LevelOperate, request(c.request, c.body)))
		if e.Fix != c.want {
			t.Errorf("%s %s: fix %q, want %q", c.request, c.body, e.Fix, c.want)
		}
	}
}

func TestWhatStatesNoLevelIsRefusedToRoot(t *testing.T) {
	f := newFake()
	h := &handler{backend: f, log: quiet, table: []operation{{http.MethodPost, "/v1/new", 0, "", orders(Backend.Down)}}}
	if e := refusal(t, as(h, LevelAdmin, request("POST /v1/new", "{}"))); e.Code != CodeDenied {
		t.Errorf("got %v", e)
	}
	if len(f.reached()) > 0 {
		t.Error("it reached the backend")
	}
}

func TestARequestWithoutACallerIsRefused(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(newFake(), nil, quiet).ServeHTTP(w, request("GET /v1/status", ""))
	if w.Code != http.StatusForbidden {
		t.Errorf("got %d", w.Code)
	}
}

func TestWhatIsNotInTheTableIsRefused(t *testing.T) {
	for _, line := range []string{
		"GET /", "GET /v1", "GET /v2/status", "GET /v1/status/", "GET //v1/status", "GET /v1/../v1/status", "GET /V1/status",
		"POST /v1/status", "GET /v1/up", "PUT /v1/prefs", "HEAD /v1/status", "OPTIONS /v1/up", "GET /debug/pprof/",
	} {
		if e := refusal(t, as(Handler(newFake(), nil, quiet), LevelAdmin, request(line, "{}"))); e.Code != CodeUnsupported {
			t.Errorf("%s: got %v", line, e)
		}
	}
}

// TestHost is the table that a fix for web pages once lacked, and had to be fixed itself.
func TestHost(t *testing.T) {
	for _, host := range []string{
		"", "localhost", "127.0.0.1", "[::1]", "::1", "Warrend", "WARREND", "warrend.", "warrend:80", "warrend:", "warrend:0",
		" warrend", "warrend ", "warrend.example.com", "example.com", "warrend@example.com", "warrend\x00", "warrend/", "wаrrend",
	} {
		r := request("GET /v1/status", "")
		r.Host = host
		f := newFake()
		if e := refusal(t, as(Handler(f, nil, quiet), LevelAdmin, r)); e.Code != CodeDenied || len(f.reached()) > 0 {
			t.Errorf("host %q: got %v, reached %v", host, e, f.reached())
		}
	}
}

func TestPagesAreRefused(t *testing.T) {
	for _, name := range []string{"Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode"} {
		for _, value := range []string{"", "null", "http://warrend", "same-origin"} {
			r := request("POST /v1/down", "{}")
			r.Header.Set(name, value)
			f := newFake()
			if e := refusal(t, as(Handler(f, nil, quiet), LevelAdmin, r)); e.Code != CodeDenied || len(f.reached()) > 0 {
				t.Errorf("%s: %q: got %v", name, value, e)
			}
		}
	}
}

func TestBodies(t *testing.T) {
	for _, c := range []struct{ name, kind, body string }{
		{"not JSON", contentJSON, "down"},
		{"empty", contentJSON, ""},
		{"an unknown field", contentJSON, `{"prot":1}`},
		{"a wrong type", contentJSON, `{"port":"1"}`},
		{"out of range", contentJSON, `{"port":65536}`},
		{"two values", contentJSON, `{}{}`},
		{"garbage after", contentJSON, `{}]`},
		{"a form", "application/x-www-form-urlencoded", `{}`},
		{"plain text, as a page may send", "text/plain", `{}`},
		{"no type", "", `{}`},
		{"too long", contentJSON, `{"hostname":"` + strings.Repeat("a", maxBody) + `"}`},
	} {
		r := request("PATCH /v1/prefs", c.body)
		r.Header.Set("Content-Type", c.kind)
		f := newFake()
		if e := refusal(t, as(Handler(f, nil, quiet), LevelAdmin, r)); e.Code != CodeBadRequest || len(f.reached()) > 0 {
			t.Errorf("%s: got %v, reached %v", c.name, e, f.reached())
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		quiet  string // must not be told
	}{
		{&Error{Code: CodeNoPeer, Message: "no"}, http.StatusNotFound, CodeNoPeer, ""},
		{&Error{Status: 418, Code: "tea", Message: "no"}, 418, "tea", ""},
		{errors.New("open /var/lib/secret"), http.StatusInternalServerError, CodeInternal, "secret"},
	} {
		f := newFake()
		f.fail = c.err
		res := as(Handler(f, nil, quiet), LevelAdmin, request("POST /v1/up", "{}"))
		text, _ := io.ReadAll(res.Body)
		var reply errorReply
		if err := json.Unmarshal(text, &reply); err != nil || res.StatusCode != c.status || reply.Error.Code != c.code {
			t.Errorf("%v: %s %s", c.err, res.Status, text)
		}
		if c.quiet != "" && bytes.Contains(text, []byte(c.quiet)) {
			t.Errorf("%v: told as %s", c.err, text)
		}
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, body := range []string{
		`{"authKey":"hush"}`, `{"authKey":"hush","edit":{"port":1}}`, `{"authKey":"hush","hush":1}`, `{"authKey":hush}`, `{"authKey":"hush"`,
	} {
		for _, level := range []Level{LevelRead, LevelOperate, LevelAdmin} {
			res := as(Handler(newFake(), nil, log), level, request("POST /v1/up", body))
			text, _ := io.ReadAll(res.Body)
			if bytes.Contains(text, []byte("hush")) {
				t.Errorf("%s: answered %s", body, text)
			}
		}
	}
	if strings.Contains(out.String(), "hush") {
		t.Errorf("logged: %s", out.String())
	}
	if !strings.Contains(out.String(), "asked") || !strings.Contains(out.String(), "uid=1000") {
		t.Errorf("what was asked is not logged: %s", out.String())
	}
}

// FuzzBody: whatever the body, a caller who may only operate never gets an edit with a port through, and what is
// answered is JSON.
func FuzzBody(f *testing.F) {
	for _, c := range expected {
		f.Add(c.request, []byte(c.body))
	}
	f.Add("PATCH /v1/prefs", []byte(`{"port":null,"Port":1}`))
	f.Add("POST /v1/up", []byte(`{"edit":{},"edit":{"port":2}}`))
	f.Fuzz(func(t *testing.T, line string, body []byte) {
		method, path, ok := strings.Cut(line, " ")
		if !ok {
			return
		}
		r, err := http.NewRequest(method, "http://"+Host, bytes.NewReader(body))
		if err != nil || path == pathWatch {
			return
		}
		r.URL.Path = path
		r.Header.Set("Content-Type", contentJSON)
		b := newFake()
		res := as(Handler(b, nil, quiet), LevelOperate, r)
		text, _ := io.ReadAll(res.Body)
		if !json.Valid(text) {
			t.Errorf("%s %q: answered %q", line, body, text)
		}
		if b.prefs.Port != 0 {
			t.Errorf("%s %q set the port", line, body)
		}
		if res.StatusCode == http.StatusInternalServerError {
			t.Errorf("%s %q: %s", line, body, text)
		}
	})
}

// Names come from the coordination server, which is to be trusted with them no further than it must.
func TestWordsOfThousandsOfPeersAreBounded(t *testing.T) {
	long := strings.Repeat("é", 10_000)
	s := Status{Peers: []Peer{{ID: 1, Name: "short"}, {ID: 2, Name: long, DNSName: long, User: long, OS: long, Version: long, Path: Path{Relay: long, Reason: long}}}}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 5000 || !bytes.Contains(text, []byte(`"short"`)) {
		t.Errorf("%d bytes", len(text))
	}
	if s.Peers[1].Name != long {
		t.Error("the status itself was changed")
	}
}
