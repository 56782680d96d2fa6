package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/warren-mesh/warren/app/internal/fake"
	"github.com/warren-mesh/warren/ipc"
)

func TestMain(m *testing.M) {
	testscript.Main(leaks{m}, map[string]func(){"warren": main, "xdg-open": browse})
}

// leaks runs the tests and then looks for goroutines that are left.
type leaks struct{ m *testing.M }

// Run implements testscript.TestingM.
func (l leaks) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// browse is the browser: it follows an address to its end, and tells the server that it came from where that was.
func browse() {
	page := os.Args[len(os.Args)-1]
	res, err := http.Get(page)
	end := fmt.Sprint(err)
	if err == nil {
		_ = res.Body.Close()
		end = res.Request.URL.Path + " " + res.Status
	}
	origin, _, _ := strings.Cut(page, "/login/")
	if res, err = http.Post(origin+"/end", "text/plain", strings.NewReader(end)); err != nil {
		os.Exit(1)
	}
	_ = res.Body.Close()
}

// pages is the coordination server's part for people. The id's page sends the browser back to where the program
// listens, with what mode says.
func pages(mode func() string, ends chan<- string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login/{id}", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		state, code := q.Get("state"), fake.PageCode
		switch mode() {
		case "wrong-code":
			code = "wrong"
		case "wrong-state":
			state = "wrong"
		case "silent":
			return
		}
		http.Redirect(w, r, "http://127.0.0.1:"+q.Get("port")+"/done?state="+state+"&code="+code, http.StatusSeeOther)
	})
	mux.HandleFunc("POST /end", func(_ http.ResponseWriter, r *http.Request) {
		end, _ := io.ReadAll(r.Body)
		ends <- string(end)
	})
	mux.HandleFunc("GET /login/{id}/done", func(http.ResponseWriter, *http.Request) {})
	return mux
}

// world is what one script has: a daemon, pages, and the commands that set them.
type world struct {
	*fake.Daemon
	socket string
	page   *httptest.Server
	stop   func()      // the daemon; nil while there is none
	ends   chan string // where browsers came to

	mu   sync.Mutex
	mode string // of the pages
}

type worldKey struct{}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			w := &world{Daemon: fake.New(), socket: filepath.Join(e.WorkDir, "s"), ends: make(chan string, 9)}
			w.page = httptest.NewServer(pages(func() string {
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.mode
			}, w.ends))
			w.SetLogin(ipc.Login{Server: w.page.URL, ID: fake.LoginID, Code: fake.LoginCode})
			e.Values[worldKey{}] = w
			e.Setenv("WARREN_SOCKET", w.socket)
			e.Setenv("SERVER", w.page.URL)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TZ", "UTC")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else each program takes a second to end
			stop, err := w.Listen(w.socket, ipc.LevelAdmin)
			w.stop = stop
			e.Defer(func() {
				w.down()
				w.page.Close()
			})
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"daemon": daemon, "code": code, "browser": browser},
	})
}

func (w *world) down() {
	if w.stop != nil {
		w.stop()
	}
	w.stop = nil
}

// levels as scripts name them.
var levels = map[string]ipc.Level{"nobody": 0, "read": ipc.LevelRead, "operate": ipc.LevelOperate, "admin": ipc.LevelAdmin}

// daemon sets the daemon: "daemon level read", "daemon stop", "daemon state down", …
func daemon(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value(worldKey{}).(*world)
	if neg || len(args) == 0 {
		ts.Fatalf("usage: daemon COMMAND [ARGUMENT…]")
	}
	args = append(args, "", "")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch args[0] {
	case "stop":
		w.down()
	case "level":
		w.down()
		stop, err := w.Listen(w.socket, levels[args[1]])
		ts.Check(err)
		w.stop = stop
	case "state":
		w.Edit(func(s *ipc.Status) { s.State = ipc.State(args[1]) })
	case "login": // what it says of the next login: SERVER ID
		w.SetLogin(ipc.Login{Server: args[1], ID: args[2], Code: fake.LoginCode})
	case "page":
		w.mu.Lock()
		w.mode = args[1]
		w.mu.Unlock()
	case "waiting": // until a program waits for a login's end
		ts.Check(w.AwaitLogin(ctx))
	case "gone": // until none waits for one any more
		ts.Check(w.AwaitNoLogin(ctx))
	case "seen": // until a watcher has the last status
		ts.Check(w.AwaitSeen(ctx))
	case "pending": // an admin has to approve the machine
		w.Stick(ipc.StatePending)
	case "waits": // until a program watches a machine that waits for approval
		ts.Check(w.AwaitState(ctx, ipc.StatePending))
	case "decide": // an admin does: "daemon decide running"
		ts.Check(w.AwaitSeen(ctx))
		w.Edit(func(s *ipc.Status) {
			if s.State = ipc.State(args[1]); s.State == ipc.StateNeedsLogin {
				s.Problems = []ipc.Problem{{Code: "denied", Text: "An admin did not let this machine in.", Fix: "ask them"}}
			}
		})
	case "stuck":
		w.Stick(ipc.StateStarting)
	case "removed":
		w.Stick(ipc.StateNeedsLogin)
	case "approve": // somebody types the code on another device
		ts.Check(w.AwaitLogin(ctx))
		w.EndLogin(nil)
	case "deny":
		ts.Check(w.AwaitLogin(ctx))
		w.EndLogin(&ipc.Error{Code: ipc.CodeLogin, Message: "the login was refused"})
	case "edit":
		edit(ts, w, args[1], args[2])
	case "up-fails":
		w.FailUp(&ipc.Error{Code: args[1], Message: "it is so"})
	case "pings":
		w.SetPings(pongs(args[1:])...)
	case "asked": // writes the last request for up into a file
		text, err := json.Marshal(w.LastUp())
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs("asked"), text, 0o600))
	default:
		ts.Fatalf("daemon: no command %q", args[0])
	}
}

// patience is how long a script waits for what must come.
const patience = 20 * time.Second

// browser wants a browser to have come to an end that contains a text; "! browser" wants that there was none.
func browser(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value(worldKey{}).(*world)
	if neg {
		select {
		case end := <-w.ends:
			ts.Fatalf("a browser came to %s", end)
		default:
		}
		return
	}
	select {
	case end := <-w.ends:
		if !strings.Contains(end, args[0]) {
			ts.Fatalf("the browser came to %s, want %s", end, args[0])
		}
	case <-time.After(patience):
		ts.Fatalf("no browser came")
	}
}

// edit changes the status.
func edit(ts *testscript.TestScript, w *world, what, value string) {
	w.Edit(func(s *ipc.Status) {
		switch what {
		case "coord-lost":
			s.Coord = ipc.Link{Error: value}
		case "dns":
			s.DNS = &ipc.DNS{
				Accept: true, Mode: value, Reason: "/etc/resolv.conf is an ordinary file", Resolver: []netip.Addr{netip.MustParseAddr("100.127.255.254")},
				Search: []string{"demo.warren.internal"}, Names: 4, Contested: 1, Upstreams: []ipc.DNSUpstream{
					{Domain: "corp.example", Servers: []string{"192.0.2.1"}}, {Servers: []string{"192.0.2.53", "192.0.2.54"}, Host: true},
				},
			}
			s.Problems = append(s.Problems, ipc.Problem{Code: ipc.ProblemDNSContested, Text: "Another program \x1b[2J changes it", Fix: "find it"})
		case "problem":
			s.Problems = append(s.Problems, ipc.Problem{Code: "p", Text: value, Fix: "mend it"})
		case "urgent":
			s.Problems = append(s.Problems, ipc.Problem{Code: "u", Text: value, Level: ipc.ProblemUrgent})
		case "notice":
			s.Problems = append(s.Problems, ipc.Problem{Code: "n", Text: value, Fix: "warren login", Level: ipc.ProblemNotice})
		case "exits": // these peers can be used as exit node
			s.Peers = append([]ipc.Peer(nil), s.Peers...)
			for i := range s.Peers {
				s.Peers[i].ExitOption = strings.Contains(","+value+",", ","+s.Peers[i].Name+",")
			}
		case "serves":
			s.Peers = append([]ipc.Peer(nil), s.Peers...)
			s.Peers[0].Routes = []netip.Prefix{netip.MustParsePrefix(value)}
			s.Peers[0].Serves = s.Peers[0].Routes
		case "offers": // so many subnets, of which the first is not reached, and the internet
			n, _ := strconv.Atoi(value)
			s.Self.Offers = []ipc.Offer{{Route: netip.MustParsePrefix("0.0.0.0/0"), Approved: true}, {Route: netip.MustParsePrefix("::/0"), Approved: true}}
			for i := range n {
				s.Self.Offers = append(s.Self.Offers, ipc.Offer{Route: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i)}), 24), Approved: true, Cut: i == 0})
			}
		case "shields": // up, and so many packets were kept out
			n, _ := strconv.ParseUint(value, 10, 64)
			s.Shields, s.Dropped = true, ipc.Drops{ipc.DropNoRule: n}
		case "no-peers":
			s.Peers = nil
		case "no-addrs":
			s.Self.Addrs = nil
		case "bob-direct", "bob-relay":
			s.Peers = append([]ipc.Peer(nil), s.Peers...)
			s.Peers[0].Path = ipc.Path{Kind: ipc.PathRelay, Relay: "fra", Latency: 30}
			if what == "bob-direct" {
				s.Peers[0].Path = ipc.Path{Kind: ipc.PathDirect, Endpoint: netip.MustParseAddrPort("192.0.2.1:9"), Latency: 1}
			}
		default:
			ts.Fatalf("daemon edit: nothing called %q", what)
		}
	})
}

// pongs are answers to pings, by their path.
func pongs(kinds []string) (answers []any) {
	reply := ipc.PingReply{Name: "bob", Addr: netip.MustParseAddr("100.64.0.3"), Latency: 1.2}
	for _, k := range kinds {
		r := reply
		switch k {
		case "relay":
			r.Path = ipc.Path{Kind: ipc.PathRelay, Relay: "demo"}
		case "direct":
			r.Path = ipc.Path{Kind: ipc.PathDirect, Endpoint: netip.MustParseAddrPort("203.0.113.9:4000")}
		case "timeout":
			answers = append(answers, &ipc.Error{Code: ipc.CodeTimeout, Message: "no answer"})
			continue
		case "broken":
			answers = append(answers, errors.New("disk on fire"))
			continue
		default:
			continue
		}
		answers = append(answers, &r)
	}
	return answers
}

// code runs warren and wants it to end with an exit code: "code 5 status".
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code NUMBER ARGUMENT…")
	}
	err := ts.Exec("warren", args[1:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("warren %s ended with %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

func TestEveryErrorOfTheDaemonHasOneExitCode(t *testing.T) {
	codes := map[string]int{}
	for _, e := range exits {
		for _, c := range e.errors {
			if _, twice := codes[c]; twice {
				t.Errorf("%s has two exit codes", c)
			}
			codes[c] = e.code
		}
	}
	for _, c := range []string{
		ipc.CodeBadRequest, ipc.CodeDenied, ipc.CodeNoServer, ipc.CodeNotUp, ipc.CodeNeedsLogin, ipc.CodeNoPeer, ipc.CodeNoProfile, ipc.CodeTimeout,
		ipc.CodeCoord, ipc.CodeIdentity, ipc.CodeKey, ipc.CodeLogin, ipc.CodeHost, ipc.CodeBusy, ipc.CodeInternal, ipc.CodeUnsupported,
		ipc.CodeNotRunning, "of-a-later-daemon",
	} {
		want, listed := codes[c]
		if !listed {
			want = exitFailed
		}
		if got := exitCode(fmt.Errorf("around: %w", &ipc.Error{Code: c})); got != want {
			t.Errorf("%s: got %d, want %d", c, got, want)
		}
	}
}

func TestChangesAreToldOnce(t *testing.T) {
	old, s := fake.Running(), fake.Running()
	if lines := changes(&old, &s); len(lines) > 0 {
		t.Errorf("nothing changed, told %q", lines)
	}
	s.Peers[0].Path.Latency++
	s.Relays[0].Latency++
	s.Time = s.Time.Add(time.Hour)
	if lines := changes(&old, &s); len(lines) > 0 {
		t.Errorf("only measurements changed, told %q", lines)
	}
	s.Peers = s.Peers[1:]
	s.Peers[0].Path = ipc.Path{Kind: ipc.PathNone}
	s.State = ipc.StateDown
	want := "Switched off. Connect: warren up|carol[2J: idle|bob: removed from the network"
	if got := strings.Join(changes(&old, &s), "|"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
