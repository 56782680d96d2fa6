package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var root = caller(Caller{UID: 0, Level: LevelAdmin})

func TestClientAndServerOverTheSocket(t *testing.T) {
	s := start(t, root, quiet)
	c := client(t, s.socket)
	ctx := t.Context()
	port := uint16(7)
	for name, do := range map[string]func() error{
		"status": func() error {
			st, err := c.Status(ctx)
			if err == nil && st.Self.Name != "alice" {
				err = fmt.Errorf("got %+v", st)
			}
			return err
		},
		"prefs": func() error { _, err := c.Prefs(ctx); return err },
		"edit": func() error {
			p, err := c.EditPrefs(ctx, PrefsEdit{Port: &port})
			if err == nil && p.Port != port {
				err = fmt.Errorf("got %+v", p)
			}
			return err
		},
		"up":     func() error { _, err := c.Up(ctx, UpRequest{}); return err },
		"down":   func() error { return c.Down(ctx) },
		"wait":   func() error { _, err := c.LoginWait(ctx, LoginWait{}); return err },
		"finish": func() error { _, err := c.LoginFinish(ctx, LoginFinish{}); return err },
		"logout": func() error { return c.Logout(ctx) },
		"portal": func() error { _, err := c.Portal(ctx, PortalRequest{}); return err },
		"why":    func() error { _, err := c.Why(ctx, WhyRequest{Peer: "bob"}); return err },
		"netcheck": func() error {
			n, err := c.Netcheck(ctx)
			if err == nil && n.UDP != Yes {
				err = fmt.Errorf("got %+v", n)
			}
			return err
		},
		"ping": func() error { _, err := c.Ping(ctx, PingRequest{Peer: "bob"}); return err },
	} {
		before := len(s.reached())
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if calls := s.reached(); len(calls) != before+1 || calls[before] != name {
			t.Errorf("%s reached %v", name, calls[before:])
		}
	}
}

func TestTheKernelTellsWhoCalls(t *testing.T) {
	s := start(t, peerOf, quiet)
	if _, err := client(t, s.socket).Status(t.Context()); err != nil {
		t.Error(err)
	}
	err := client(t, s.socket).Down(t.Context())
	if denied := errors.Is(err, &Error{Code: CodeDenied}); os.Getuid() == 0 && err != nil || os.Getuid() != 0 && !denied && err != nil {
		t.Errorf("uid %d: %v", os.Getuid(), err)
	}
}

func TestPeerOfTellsUserGroupsAndProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c, err := peerOf(in)
	if err != nil || int(c.UID) != os.Getuid() || int(c.PID) != os.Getpid() || c.Level == 0 {
		t.Errorf("got %+v, %v", c, err)
	}
	raw, err := in.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := os.Getgroups()
	_ = raw.Control(func(fd uintptr) {
		got, err := peerGroups(int(fd))
		if err != nil || len(got) != len(want) {
			t.Errorf("groups %v, %v; want %v", got, err, want)
		}
	})
	tcp, other := net.Pipe()
	defer tcp.Close()
	defer other.Close()
	if _, err := peerOf(tcp); err == nil {
		t.Error("a connection that is no Unix socket was let in")
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		uid   uint32
		gids  []uint32
		group uint32
		known bool
		want  Level
	}{
		{0, nil, 990, true, LevelAdmin},
		{0, nil, 0, false, LevelAdmin},
		{1000, []uint32{1000}, 990, true, LevelRead},
		{1000, []uint32{1000, 990}, 990, true, LevelOperate},
		{1000, []uint32{990}, 990, true, LevelOperate},
		{1000, []uint32{1000, 0}, 990, true, LevelRead},
		{1000, []uint32{1000, 0}, 0, false, LevelRead}, // no such group: its number is nobody's
		{65534, []uint32{990}, 990, true, LevelRead},
		{1000, []uint32{65534}, 65534, true, LevelRead},
	} {
		if got := levelOf(c.uid, c.gids, c.group, c.known); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}

func TestWatchTellsEachChangeAndTheDaemonsEnd(t *testing.T) {
	s := start(t, root, quiet)
	c := client(t, s.socket)
	watched := 0
	if err := c.WatchLive(t.Context(), func(*Status) error { watched++; return io.EOF }); !errors.Is(err, io.EOF) || watched != 1 {
		t.Errorf("live: %v, %d", err, watched)
	}
	var seen []State
	err := c.Watch(t.Context(), func(st *Status) error {
		seen = append(seen, st.State)
		switch len(seen) {
		case 1:
			s.set(StateDown)
		case 2:
			go func() { _ = s.stop() }()
		}
		return nil
	})
	if !errors.Is(err, &Error{Code: CodeNotRunning}) {
		t.Errorf("at the daemon's end: %v", err)
	}
	if len(seen) != 2 || seen[0] != StateRunning || seen[1] != StateDown {
		t.Errorf("saw %v", seen)
	}
	if err := s.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestWatchEndsWithItsReader(t *testing.T) {
	s := start(t, root, quiet)
	enough := errors.New("enough")
	if err := client(t, s.socket).Watch(t.Context(), func(*Status) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := client(t, s.socket).Watch(ctx, func(*Status) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := s.stop(); err != nil { // which waits for both
		t.Error(err)
	}
}

func TestAWaitingRequestEndsWithTheDaemonAndIsToldSo(t *testing.T) {
	s := start(t, root, quiet)
	c := client(t, s.socket)
	told := make(chan error, 1)
	go func() {
		_, err := c.LoginWait(t.Context(), LoginWait{ID: "forever"})
		told <- err
	}()
	<-s.waits
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if err := <-told; !errors.Is(err, &Error{Code: CodeNotRunning}) {
		t.Errorf("got %v", err)
	}
}

func TestAWaitingRequestEndsWithItsCaller(t *testing.T) {
	s := start(t, root, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.waits
		cancel()
	}()
	if _, err := client(t, s.socket).LoginWait(ctx, LoginWait{ID: "forever"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOneUserCannotTakeAllConnections(t *testing.T) {
	s := start(t, caller(Caller{UID: 1000, Level: LevelOperate}), quiet)
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range maxConnsPerUser {
		c, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if _, err := client(t, s.socket).Status(t.Context()); !errors.Is(err, &Error{Code: CodeBusy}) {
		t.Errorf("got %v", err)
	}
	_ = open[0].Close()
	c := client(t, s.socket)
	deadline := time.Now().Add(10 * time.Second)
	for { // until the server has noticed
		_, err := c.Status(t.Context())
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = stale.Close() // as a killed daemon leaves it
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("beside a running daemon: %v", err)
	}
	_ = l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("over a file: %v", err)
	}
	if text, _ := os.ReadFile(file); string(text) != "mine" {
		t.Error("the file was harmed")
	}
}

func TestListenMakesTheDirectoryForEverybody(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "run", "warren")
	l, err := Listen(filepath.Join(dir, "warrend.sock"))
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("the directory: %v, %v", fi.Mode(), err)
	}
	if err := os.Chmod(dir, 0o750); err != nil { // somebody wants it so
		t.Fatal(err)
	}
	if l, err = Listen(filepath.Join(dir, "warrend.sock")); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o750 {
		t.Errorf("a directory that was there is %v now, %v", fi.Mode(), err)
	}
}

func TestClientSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	none := client(t, filepath.Join(dir, "none"))
	if err := none.Down(ctx); !errors.Is(err, &Error{Code: CodeNotRunning}) || !strings.Contains(err.Error(), "sudo systemctl start warrend") {
		t.Errorf("no socket: %v", err)
	}
	for name, answer := range map[string]string{
		"another program": "<html>",
		"another type":    `{"peers":7}`,
		"half an answer":  `{"peers":[`,
		"nothing":         ``,
	} {
		for _, status := range []int{200, 500} {
			c := client(t, answering(t, status, answer))
			_, err := c.Status(ctx)
			var e *Error
			if !errors.As(err, &e) || e.Fix == "" {
				t.Errorf("%s, %d: %v", name, status, err)
			}
		}
	}
	closed := &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}
	if err := none.explain(ctx, closed); !errors.Is(err, &Error{Code: CodeDenied}) || !strings.Contains(err.Error(), "sudo") {
		t.Errorf("a socket behind a closed door: %v", err)
	}
	c := client(t, answering(t, 404, `{"error":{"code":"later","message":"no"}}`))
	if err := c.Down(ctx); !errors.Is(err, &Error{Code: "later"}) {
		t.Errorf("a later daemon's error: %v", err)
	}
}

// answering is a daemon that always says the same.
func answering(t *testing.T, status int, text string) string {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return path
}

func TestListsAreNeverNull(t *testing.T) {
	text, err := json.Marshal(&Status{})
	if err != nil || strings.Contains(string(text), "null") {
		t.Errorf("%s, %v", text, err)
	}
}
