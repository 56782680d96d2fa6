package store

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("WARREN_TEST_DIE_IN"); dir != "" {
		dieWhileSaving(dir, os.Getenv("WARREN_TEST_DIE_AT"))
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func load(t testing.TB, s *Store) *State {
	t.Helper()
	st, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestTheFirstLoadMakesKeysThatStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "warren")
	s := open(t, dir)
	st := load(t, s)
	if st.Machine.IsZero() || st.Node.IsZero() {
		t.Fatal("there are no keys")
	}
	if again := load(t, s); !reflect.DeepEqual(again, st) {
		t.Error("the second load gave another state")
	}
	for name, want := range map[string]os.FileMode{".": 0o700, stateFile: 0o600, lockFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

func TestADirectoryThatOthersCanReadIsClosedToThem(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("its mode is %v", info.Mode().Perm())
	}
}

func TestASecondDaemonIsToldInOneSentence(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := Open(dir, nil); !errors.Is(err, ErrLocked) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

// genState draws states that can be saved.
func genState(t *rapid.T) *State {
	st := &State{
		Machine: key.NewMachine(), Node: key.NewNode(), Port: rapid.Uint16().Draw(t, "port"), Lockdown: rapid.Bool().Draw(t, "lockdown"), ShieldsUp: rapid.Bool().Draw(t, "shields"),
		Up: rapid.Bool().Draw(t, "up"), Hostname: rapid.String().Draw(t, "hostname"), WantPort: rapid.Uint16().Draw(t, "wished port"),
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "logins") {
		l := Login{
			ID: NewLoginID(), Name: fmt.Sprint("n", i), Server: rapid.String().Draw(t, "url"), AuthKey: rapid.String().Draw(t, "auth key"),
			Node: coord.NodeID(rapid.Int64().Draw(t, "node")), User: rapid.String().Draw(t, "user"),
			Machine: key.NewMachine(), Key: key.NewNode(), Network: rapid.String().Draw(t, "network"),
			Hostname: rapid.String().Draw(t, "its hostname"), Pending: rapid.Bool().Draw(t, "pending"), Former: rapid.Bool().Draw(t, "former"),
		}
		if rapid.Bool().Draw(t, "pinned") {
			l.ServerKey, l.Cert = key.NewServer().Public(), []byte{1, 2, 3}
		}
		if rapid.Bool().Draw(t, "routes") {
			l.Routing = Routing{
				Exits: []Exit{{Node: 7, Name: "den"}, {Node: 9, Name: "fra"}}, AllowLAN: rapid.Bool().Draw(t, "lan"), Accept: rapid.Bool().Draw(t, "accept"),
				Offer: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, OfferExit: rapid.Bool().Draw(t, "exit"), NoSNAT: rapid.Bool().Draw(t, "snat"),
				Relay: rapid.Bool().Draw(t, "relay"), RelayRate: rapid.Int64().Draw(t, "relay rate"),
			}
		}
		st.Logins = append(st.Logins, l)
		if rapid.Bool().Draw(t, "current") {
			st.Current = l.ID
		}
	}
	return st
}

func TestWhatIsSavedIsLoaded(t *testing.T) {
	s := open(t, t.TempDir())
	rapid.Check(t, func(t *rapid.T) {
		st := genState(t)
		if err := s.Save(st); err != nil {
			t.Fatal(err)
		}
		got, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		if got.Machine.Reveal() != st.Machine.Reveal() || got.Node.Reveal() != st.Node.Reveal() {
			t.Fatal("the keys changed")
		}
		for i, l := range got.Logins {
			if was := st.Logins[i]; l.Machine.Reveal() != was.Machine.Reveal() || l.Key.Reveal() != was.Key.Reveal() {
				t.Fatal("a login's keys changed")
			}
		}
		if !reflect.DeepEqual(got, st) {
			t.Fatalf("saved %+v, loaded %+v", st, got)
		}
	})
}

func TestADamagedStateIsLeftAsItIs(t *testing.T) {
	whole, err := encode(&State{Machine: key.NewMachine(), Node: key.NewNode(), Port: 4711})
	if err != nil {
		t.Fatal(err)
	}
	text := string(whole)
	cases := map[string]string{
		"empty":                "",
		"spaces":               " \n",
		"garbage":              "\x00\xff\x00\xff",
		"no object":            `[1,2]`,
		"no version":           strings.Replace(text, `"version": 2`, `"version": 0`, 1),
		"no keys":              `{"version":1}`,
		"a bad key":            strings.Replace(text, "node-private:", "node-private:zz", 1),
		"zero keys":            fmt.Sprintf(`{"version":1,"machine":"machine-private:%064d","node":"node-private:%064d"}`, 0, 0),
		"a wrong type":         strings.Replace(text, `"port": 4711`, `"port": "x"`, 1),
		"a login without keys": strings.Replace(text, `"port": 4711`, `"logins":[{"id":"0011223344556677","name":"a","server":"x"}]`, 1),
		"a bad login":          strings.Replace(text, `"port": 4711`, `"logins":[{"id":"../../etc"}]`, 1),
		"no such one":          strings.Replace(text, `"port": 4711`, `"current":"0011223344556677"`, 1),
		"too long":             text + strings.Repeat(" ", maxState),
	}
	for n := 1; n < len(text)-2; n += 7 {
		cases[fmt.Sprintf("cut at %d", n)] = text[:n]
	}
	for name, bad := range cases {
		refused(t, name, bad, ErrDamaged)
	}
	refused(t, "newer", strings.Replace(text, `"version": 2`, `"version": 3, "port": {}`, 1), ErrNewer)
}

// hexDigits matches the middle of a key.
var hexDigits = regexp.MustCompile(`[0-9a-f]{12}`)

// refused loads text, which must fail with want, say what to do, and change nothing.
func refused(t *testing.T, name, text string, want error) {
	t.Helper()
	s := open(t, t.TempDir())
	path := s.Path(stateFile)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.Load()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", name, err, want)
		return
	}
	for _, part := range []string{path, "left as it is", "move"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: the error does not say %q: %v", name, part, err)
		}
	}
	if strings.Contains(err.Error(), "\n") || hexDigits.MatchString(err.Error()) {
		t.Errorf("%s: the error is no sentence, or repeats a secret: %v", name, err)
	}
	if err := s.Save(&State{Machine: key.NewMachine(), Node: key.NewNode()}); !errors.Is(err, want) {
		t.Errorf("%s: Save wrote over it: %v", name, err)
	}
	if now, _ := os.ReadFile(path); string(now) != text {
		t.Errorf("%s: the file was changed", name)
	}
}

func TestAStateThatIsNoFileIsRefused(t *testing.T) {
	s := open(t, t.TempDir())
	if err := syscall.Mkfifo(s.Path(stateFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

var steps = []string{"create", "write", "rename", "sync"}

func TestAFailedWriteLeavesTheOldStateAndNothingElse(t *testing.T) {
	for _, at := range steps {
		s := open(t, t.TempDir())
		st := load(t, s)
		s.step = func(step string) error {
			if step == at {
				return &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
			}
			return nil
		}
		next := *st
		next.Port = 9
		err := s.Save(&next)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v", at, err)
		}
		s.step = nil
		if got := load(t, s); got.Port == 9 && at != "sync" {
			t.Errorf("%s: it was written all the same", at)
		}
		if left, _ := filepath.Glob(filepath.Join(s.dir, ".state*")); len(left) > 0 {
			t.Errorf("%s: it left %v", at, left)
		}
	}
}

// dieWhileSaving is the child of the next test: it saves port 2, and dies on the way.
func dieWhileSaving(dir, at string) {
	s, err := Open(dir, nil)
	if err != nil {
		panic(err)
	}
	st, err := s.Load()
	if err != nil {
		panic(err)
	}
	s.step = func(step string) error {
		if step == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	st.Port = 2
	if err := s.Save(st); err != nil {
		panic(err)
	}
	os.Exit(0)
}

func TestAKillWhileSavingLeavesTheOldOrTheNew(t *testing.T) {
	for _, at := range append(steps, "never") {
		dir := t.TempDir()
		s := open(t, dir)
		st := load(t, s)
		st.Port = 1
		if err := errors.Join(s.Save(st), s.Close()); err != nil {
			t.Fatal(err)
		}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "WARREN_TEST_DIE_IN="+dir, "WARREN_TEST_DIE_AT="+at)
		if out, err := child.CombinedOutput(); (err == nil) != (at == "never") {
			t.Fatalf("the child to die at %s: %v %s", at, err, out)
		}
		s = open(t, dir)
		got := load(t, s)
		want := uint16(1)
		if at == "sync" || at == "never" {
			want = 2
		}
		if got.Port != want || got.Machine.Reveal() != st.Machine.Reveal() {
			t.Errorf("killed at %s: port %d, want %d", at, got.Port, want)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".state*")); len(left) > 0 {
			t.Errorf("killed at %s: the next start left %v", at, left)
		}
	}
}

func TestEachRefusalSaysWhatToDo(t *testing.T) {
	for err, want := range map[error]string{
		syscall.ENOSPC: "make room",
		syscall.EROFS:  "read-only",
		syscall.EACCES: "run as root",
		syscall.ENOENT: "restart the daemon",
	} {
		if got := explain("/x/state.json", &os.PathError{Op: "open", Path: "/x", Err: err}); !strings.Contains(got.Error(), want) || !errors.Is(got, err) {
			t.Errorf("%v: got %v", err, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	text, _ := encode(&State{Machine: key.NewMachine(), Node: key.NewNode(), Logins: []Login{{ID: NewLoginID(), Name: "n", Machine: key.NewMachine(), Key: key.NewNode()}}})
	f.Add(text)
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":99}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		st, _, err := decode(text)
		if err != nil {
			return
		}
		again, err := encode(st)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if back, _, err := decode(again); err != nil || back.Node.Reveal() != st.Node.Reveal() || len(back.Logins) != len(st.Logins) {
			t.Fatalf("it read back as %+v, %v", back, err)
		}
	})
}
