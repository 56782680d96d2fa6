package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
)

// What people do in one terminal while something is under way in another, or was when the daemon ended.

func TestALoginByKeyDoesNotShareItsKeysWithOneThatWaits(t *testing.T) {
	onMachine(t, func(m *machine) {
		_, end := m.waiting(context.Background())
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		if err := <-end; !errors.Is(err, errTakenOver) {
			t.Errorf("the one that waited ended with %v", err)
		}
		if len(m.srv.cancelled) != 1 {
			t.Errorf("the server heard that these are over: %v", m.srv.cancelled)
		}
		if ps := m.profiles(); len(ps) != 1 {
			t.Errorf("profiles %+v", ps)
		}
		seen := map[key.MachinePublic]bool{}
		for _, l := range m.state.Logins {
			if seen[l.Machine.Public()] {
				t.Error("two logins have one key")
			}
			seen[l.Machine.Public()] = true
		}
	})
}

func TestALogoutEndsTheLoginThatWasToExtendTheKey(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		r := m.up(ipc.UpRequest{Reauth: true})
		ended := make(chan error, 1)
		go func() {
			_, err := m.LoginWait(context.Background(), ipc.LoginWait{ID: r.Login.ID})
			ended <- err
		}()
		synctest.Wait()
		if err := m.Logout(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, errTakenOut) || len(m.srv.cancelled) != 1 {
			t.Errorf("it ended with %v, at the server %v", err, m.srv.cancelled)
		}
		close(m.srv.loginDone) // the page was open still
		synctest.Wait()
		m.wantState(ipc.StateNeedsLogin)
	})
}

func TestALogoutBeforeThereIsALoginEndsTheOneThatWaits(t *testing.T) {
	onMachine(t, func(m *machine) {
		_, end := m.waiting(context.Background())
		if err := m.Logout(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := <-end; !errors.Is(err, errTakenOut) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestALoginOutlivesARestartOfTheServer(t *testing.T) {
	onMachine(t, func(m *machine) {
		_, end := m.waiting(context.Background())
		m.srv.set(func(s *server) {
			s.away = true
			s.hangUp()
		})
		time.Sleep(20 * time.Second)
		select {
		case err := <-end:
			t.Fatalf("the wait ended with %v", err)
		default:
		}
		m.srv.set(func(s *server) { s.away = false })
		close(m.srv.loginDone)
		if err := <-end; err != nil {
			t.Errorf("the login ended with %v", err)
		}
		m.wantState(ipc.StateRunning)
	})
}

func TestALoginWhoseServerStaysAwayEndsWithItsTime(t *testing.T) {
	onMachine(t, func(m *machine) {
		_, end := m.waiting(context.Background())
		m.srv.set(func(s *server) {
			s.away = true
			s.hangUp()
		})
		began := time.Now()
		if err := <-end; !errors.Is(err, &ipc.Error{Code: ipc.CodeCoord}) || time.Since(began) > coord.LoginTTL {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// interruptedAt begins a login by key at the server whose answer is lost.
func (m *machine) interruptedAt(url string) {
	m.t.Helper()
	m.srv.set(func(s *server) { s.deaf = true })
	if _, err := m.Up(context.Background(), ipc.UpRequest{Server: url, AuthKey: "good"}); err == nil {
		m.t.Fatal("up succeeded without an answer")
	}
	m.srv.set(func(s *server) { s.deaf = false })
}

func TestAnInterruptedLoginIsNotCompletedOverWhatSomebodySaidSince(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*machine) error
		want ipc.State
	}{
		"switch": {func(m *machine) error {
			_, err := m.Switch(context.Background(), ipc.SwitchRequest{Profile: "old"})
			return err
		}, ipc.StateRunning},
		"up": {func(m *machine) error {
			_, err := m.Up(context.Background(), ipc.UpRequest{Server: workURL})
			return err
		}, ipc.StateRunning},
		"down":   {func(m *machine) error { return m.Down(context.Background()) }, ipc.StateDown},
		"logout": {func(m *machine) error { return m.Logout(context.Background()) }, ipc.StateNeedsLogin},
	} {
		t.Run(name, func(t *testing.T) {
			onMachine(t, func(m *machine) {
				m.withWork()
				m.up(ipc.UpRequest{Server: workURL, AuthKey: "good"})
				if name == "switch" {
					_, _ = m.EditPrefs(context.Background(), ipc.PrefsEdit{Profile: ptr("old")})
					m.more["https://third.example"] = newServer()
					m.up(ipc.UpRequest{Server: "https://third.example", AuthKey: "good"})
				}
				m.interruptedAt(serverURL)
				if err := c.do(m); err != nil {
					t.Fatal(err)
				}
				m.stop()
				m.start()
				time.Sleep(time.Minute)
				m.wantState(c.want)
				if s := m.status(); s.Server != workURL {
					t.Errorf("it went over to %s", s.Server)
				}
				text, err := os.ReadFile(filepath.Join(m.dir, "state.json"))
				if err != nil || strings.Contains(string(text), `"authKey"`) {
					t.Errorf("the pre-auth key is still on disk (%v)", err)
				}
				// What the server did let in needs no key the next time.
				if r := m.up(ipc.UpRequest{Server: serverURL}); r.State != ipc.StateRunning || m.srv.logins != 0 {
					t.Errorf("up: %+v, %d logins", r, m.srv.logins)
				}
			})
		})
	}
}

func TestAnInterruptedLoginIsSaidToWait(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.interruptedAt(serverURL)
		m.stop()
		m.srv.set(func(s *server) { s.away = true })
		m.start()
		time.Sleep(time.Minute)
		s := m.status()
		if s.State != ipc.StateStarting || s.Server != serverURL || len(s.Problems) != 2 || s.Problems[0].Code != ipc.ProblemUnfinished || s.Problems[1].Code != ipc.ProblemCoord {
			t.Errorf("while the server is away: %+v", s)
		}
		if err := m.Down(context.Background()); err != nil {
			t.Fatal(err)
		}
		if s := m.status(); s.State != ipc.StateNoServer || len(s.Problems) != 0 {
			t.Errorf("given up: %+v", s)
		}
	})
}

func TestPeopleDoNotWaitForTheCompletionOfAnInterruptedLogin(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.withWork()
		m.up(ipc.UpRequest{Server: workURL, AuthKey: "good"})
		m.interruptedAt(serverURL)
		m.stop()
		m.srv.set(func(s *server) { s.silent = true })
		m.start()
		time.Sleep(time.Second)
		began := time.Now()
		if r := m.up(ipc.UpRequest{}); r.State != ipc.StateRunning || time.Since(began) > 100*time.Millisecond {
			t.Errorf("up took %s: %+v", time.Since(began), r)
		}
	})
}

func TestAKeyThatTheServerWillNeverTakeIsNotTriedAgain(t *testing.T) {
	onMachine(t, func(m *machine) {
		if _, err := m.Up(context.Background(), ipc.UpRequest{Server: serverURL, AuthKey: "copied"}); err == nil {
			t.Fatal("it was taken")
		}
		m.stop()
		before := m.srv.registers
		m.start()
		time.Sleep(5 * time.Minute)
		if n := m.srv.registers - before; n != 0 {
			t.Errorf("it was tried %d times more", n)
		}
	})
}

func TestOneLoginTooManyIsRefusedBeforeAnyServerHearsOfIt(t *testing.T) {
	onMachine(t, func(m *machine) {
		for i := range store.MaxLogins {
			m.srv.set(func(s *server) { s.registered = false })
			m.up(ipc.UpRequest{Server: serverURL, Profile: fmt.Sprint("p", i), AuthKey: "good"})
		}
		m.srv.set(func(s *server) { s.registered = false })
		before := m.srv.registers
		for _, r := range []ipc.UpRequest{{Profile: "more"}, {Profile: "more", AuthKey: "good"}, {Server: workURL}} {
			if _, err := m.Up(context.Background(), r); !errors.Is(err, errManyLogins) {
				t.Errorf("%+v: %v", r, err)
			}
		}
		if m.srv.registers != before {
			t.Error("a server heard of it")
		}
		// What the refusal says makes room.
		m.srv.set(func(s *server) { s.registered = true })
		m.switchTo("p7")
		if err := m.Logout(context.Background()); err != nil {
			t.Fatal(err)
		}
		m.switchTo("p8")
		m.srv.set(func(s *server) { s.registered = false })
		m.up(ipc.UpRequest{Server: serverURL, Profile: "more", AuthKey: "good"})
		if ps := m.profiles(); len(ps) != store.MaxLogins {
			t.Errorf("%d profiles", len(ps))
		}
	})
}
