package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/ipc"
)

const workURL = "https://work.example"

// withWork adds a second server, of another network.
func (m *machine) withWork() *server {
	work := newServer()
	work.key = key.ServerPublic{8}
	work.netmap.Network.Name, work.netmap.Self.Name, work.netmap.Self.ID = "work", "alice-2", 12
	work.netmap.Peers = []coord.Node{{ID: 9, Name: "wanda", Key: key.NodePublic{3}, Addrs: work.netmap.Peers[0].Addrs}}
	m.more = map[string]*server{workURL: work}
	return work
}

func (m *machine) switchTo(name string) *ipc.UpReply {
	m.t.Helper()
	r, err := m.Switch(context.Background(), ipc.SwitchRequest{Profile: name})
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

func (m *machine) profiles() []ipc.Profile {
	m.t.Helper()
	ps, err := m.Profiles(context.Background())
	if err != nil {
		m.t.Fatal(err)
	}
	return ps.Profiles
}

func TestSwitchingTakesTheOldNetworkDownAndKeepsBothLogins(t *testing.T) {
	onMachine(t, func(m *machine) {
		work := m.withWork()
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		home := m.status()
		m.up(ipc.UpRequest{Server: workURL, AuthKey: "good"})
		s := m.status()
		if s.Network.Name != "work" || s.Self.Name != "alice-2" || s.Self.Key == home.Self.Key || s.Profile != "work.example" || s.Server != workURL {
			t.Errorf("at work: %+v", s)
		}
		for k := range m.srv.machines {
			if work.machines[k] {
				t.Error("both servers know this machine by one key")
			}
		}
		ps := m.profiles()
		if len(ps) != 2 || ps[0].Name != "coord.example" || ps[0].Network != "home" || ps[0].Current || !ps[1].Current || ps[1].Network != "work" {
			t.Errorf("profiles %+v", ps)
		}
		if r := m.switchTo("coord.example"); r.State != ipc.StateRunning {
			t.Errorf("switched: %+v", r)
		}
		if s := m.status(); s.Self.Key != home.Self.Key || s.Self.Name != "alice" || s.Peers[0].Name != "bob" {
			t.Errorf("at home again: %+v", s)
		}
		if open, opened, _ := m.host.counts(); open != 1 || opened != 3 || m.host.most != 1 {
			t.Errorf("%d planes are open, %d were, %d at once", open, opened, m.host.most)
		}
		if r := m.switchTo(ps[0].ID); r.State != ipc.StateRunning { // the current one, by its ID
			t.Errorf("switched to what it is: %+v", r)
		}
		if _, opened, _ := m.host.counts(); opened != 3 {
			t.Error("a switch to the current login interrupted it")
		}
		if _, err := m.Switch(context.Background(), ipc.SwitchRequest{Profile: "nobody"}); !errors.Is(err, &ipc.Error{Code: ipc.CodeNoProfile}) {
			t.Errorf("to none: %v", err)
		}

		// Who is off stays off, and comes up where they switched to; also without the server.
		if err := m.Down(context.Background()); err != nil {
			t.Fatal(err)
		}
		if r := m.switchTo("work.example"); r.State != ipc.StateDown {
			t.Errorf("switched while off: %+v", r)
		}
		work.set(func(s *server) { s.away = true })
		m.stop()
		m.start()
		m.wantState(ipc.StateDown)
		if r := m.up(ipc.UpRequest{}); r.State != ipc.StateRunning || m.status().Peers[0].Name != "wanda" {
			t.Errorf("up: %+v, %+v", r, m.status())
		}
	})
}

func TestAFullDiskWhileSwitchingLeavesTheOldNetworkUp(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.withWork()
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		m.up(ipc.UpRequest{Server: workURL, AuthKey: "good"})
		if err := os.Rename(m.dir, m.dir+"-away"); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Switch(context.Background(), ipc.SwitchRequest{Profile: "coord.example"}); !errors.Is(err, &ipc.Error{Code: ipc.CodeHost}) {
			t.Errorf("switch: %v", err)
		}
		if err := os.Rename(m.dir+"-away", m.dir); err != nil {
			t.Fatal(err)
		}
		m.wantState(ipc.StateRunning)
		if s := m.status(); s.Network.Name != "work" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestSeveralAccountsAtOneServerAreToldApartByName(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		first := m.status().Self.Key
		m.srv.set(func(s *server) { s.registered = false }) // the server does not know the other machine key
		m.up(ipc.UpRequest{Profile: "other", AuthKey: "good"})
		if s := m.status(); s.Profile != "other" || s.Server != serverURL || s.Self.Key == first {
			t.Errorf("the second login: %+v", s)
		}
		if _, err := m.Up(context.Background(), ipc.UpRequest{Profile: "other", Server: workURL}); !errors.Is(err, &ipc.Error{Code: ipc.CodeBadRequest}) {
			t.Errorf("a profile at another server: %v", err)
		}
		if _, err := m.Up(context.Background(), ipc.UpRequest{Profile: "not a name"}); !errors.Is(err, &ipc.Error{Code: ipc.CodeBadRequest}) {
			t.Errorf("a name that is none: %v", err)
		}
		m.withWork()
		m.up(ipc.UpRequest{Server: workURL, AuthKey: "good"})
		if _, err := m.Up(context.Background(), ipc.UpRequest{Server: serverURL}); err == nil || !strings.Contains(err.Error(), "coord.example, other") {
			t.Errorf("which of the two: %v", err)
		}
		if _, err := m.EditPrefs(context.Background(), ipc.PrefsEdit{Profile: ptr("other")}); !errors.Is(err, &ipc.Error{Code: ipc.CodeBadRequest}) {
			t.Errorf("a name that another has: %v", err)
		}
		if _, err := m.EditPrefs(context.Background(), ipc.PrefsEdit{Profile: ptr("office"), Hostname: ptr("desk")}); err != nil {
			t.Fatal(err)
		}
		if p, _ := m.Prefs(context.Background()); p.Hostname != "desk" || m.status().Profile != "office" {
			t.Errorf("prefs %+v", p)
		}
		m.switchTo("other")
		if p, _ := m.Prefs(context.Background()); p.Hostname != "" {
			t.Errorf("another login's hostname: %+v", p)
		}
	})
}

func TestALogoutTakesTheProfileAwayAndTheSameKeysComeBack(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.withWork()
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		before := m.status().Self.Key
		m.up(ipc.UpRequest{Server: workURL, AuthKey: "good"})
		m.switchTo("coord.example")
		if err := m.Logout(context.Background()); err != nil {
			t.Fatal(err)
		}
		if ps := m.profiles(); len(ps) != 1 || ps[0].Name != "work.example" {
			t.Errorf("profiles %+v", ps)
		}
		if _, err := m.Switch(context.Background(), ipc.SwitchRequest{Profile: "coord.example"}); err == nil {
			t.Error("switched to what was given up")
		}
		m.switchTo("work.example")
		if _, err := m.EditPrefs(context.Background(), ipc.PrefsEdit{Profile: ptr("coord.example")}); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Up(context.Background(), ipc.UpRequest{Server: serverURL, AuthKey: "bad"}); !errors.Is(err, &ipc.Error{Code: ipc.CodeKey}) {
			t.Errorf("a refused key: %v", err)
		}
		if ps := m.profiles(); len(ps) != 1 {
			t.Errorf("profiles after a refused key: %+v", ps)
		}
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		if s := m.status(); s.Self.Key != before || s.Profile != "coord.example-2" {
			t.Errorf("back: profile %s, the same key: %v", s.Profile, s.Self.Key == before)
		}
	})
}

func TestAnOlderDaemonsStateComesUp(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		m.stop()
		node, mach := key.NewNode(), key.NewMachine()
		old := `{"version":1,"machine":"` + mach.Reveal() + `","node":"` + node.Reveal() + `","prefs":{"server":"` + serverURL + `","up":true},
			"port":4711,"current":"0123456789abcdef","logins":[{"id":"0123456789abcdef","server":"` + serverURL + `","node":3,"user":"anna"}]}`
		if err := os.WriteFile(filepath.Join(m.dir, "state.json"), []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		m.start()
		time.Sleep(time.Second)
		if s := m.status(); s.State != ipc.StateRunning || s.Self.Key != node.Public() || s.Self.Port != 4711 || s.Profile != "coord.example" || !m.srv.machines[mach.Public()] {
			t.Errorf("status %+v", s)
		}
	})
}

func TestAMachineWaitsForApprovalOverRestartsAndGoesOnByItself(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.srv.set(func(s *server) { s.pending = true })
		if r := m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"}); r.State != ipc.StatePending {
			t.Fatalf("up: %+v", r)
		}
		if open, opened, _ := m.host.counts(); open+opened != 0 {
			t.Error("it has an interface before it has a network")
		}
		m.stop()
		m.srv.set(func(s *server) { s.away = true })
		m.start()
		time.Sleep(time.Minute)
		m.wantState(ipc.StatePending)
		m.srv.set(func(s *server) { s.away = false })
		time.Sleep(time.Minute)
		m.wantState(ipc.StatePending)
		if r := m.up(ipc.UpRequest{}); r.State != ipc.StatePending {
			t.Errorf("up again: %+v", r)
		}
		m.srv.decide(true)
		time.Sleep(time.Second)
		m.wantState(ipc.StateRunning)
		if s := m.status(); len(s.Problems) != 0 {
			t.Errorf("problems %+v", s.Problems)
		}
	})
}

func TestARefusedMachineIsToldSo(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.srv.set(func(s *server) { s.pending = true })
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		m.srv.decide(false)
		time.Sleep(time.Minute)
		m.wantState(ipc.StateNeedsLogin)
		if s := m.status(); len(s.Problems) != 1 || s.Problems[0].Code != "denied" {
			t.Errorf("problems %+v", s.Problems)
		}
		// A key that needs no approval lets it in, and nothing of the refusal is left.
		m.up(ipc.UpRequest{AuthKey: "good"})
		if s := m.status(); s.State != ipc.StateRunning || len(s.Problems) != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestAnotherLoginExtendsTheKeyAndTouchesNothing(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.srv.netmap.Self.Expires = time.Now().Add(20 * time.Hour)
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		s := m.status()
		if len(s.Problems) != 1 || s.Problems[0].Code != "key-expires-soon" || s.Problems[0].Level != ipc.ProblemUrgent {
			t.Errorf("problems %+v", s.Problems)
		}
		was := s.Self
		r := m.up(ipc.UpRequest{Reauth: true})
		if r.Login == nil {
			t.Fatalf("login: %+v", r)
		}
		if _, err := m.EditPrefs(context.Background(), ipc.PrefsEdit{Hostname: ptr("den")}); err != nil { // meanwhile
			t.Fatal(err)
		}
		m.wantState(ipc.StateRunning) // while it waits for a person
		m.srv.set(func(s *server) {
			next := *s.netmap
			next.Seq, next.Self.Expires = 6, time.Now().Add(180*24*time.Hour)
			s.netmap = &next
			s.hangUp()
		})
		close(m.srv.loginDone)
		if r, err := m.LoginWait(context.Background(), ipc.LoginWait{ID: r.Login.ID}); err != nil || r.State != ipc.StateRunning {
			t.Fatalf("%+v, %v", r, err)
		}
		time.Sleep(time.Second)
		s = m.status()
		if len(s.Problems) != 0 || s.Self.Key != was.Key || s.Self.Name != was.Name {
			t.Errorf("status %+v", s)
		}
		if _, opened, _ := m.host.counts(); opened != 1 {
			t.Errorf("the interface was made %d times", opened)
		}
		if n := m.srv.nodes; n[0] != n[1] {
			t.Error("the login brought another key")
		}
		if p, _ := m.Prefs(context.Background()); p.Hostname != "den" {
			t.Errorf("the login undid what was set meanwhile: %+v", p)
		}
	})
}

// waiting begins a login, waits for it as a terminal does, and gives what becomes of it.
func (m *machine) waiting(ctx context.Context) (id string, end <-chan error) {
	m.t.Helper()
	r := m.up(ipc.UpRequest{Server: serverURL})
	if r.Login == nil {
		m.t.Fatalf("up: %+v", r)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := m.LoginWait(ctx, ipc.LoginWait{ID: r.Login.ID})
		ended <- err
	}()
	synctest.Wait()
	return r.Login.ID, ended
}

func TestALoginThatNobodyWaitsForIsOver(t *testing.T) {
	for name, c := range map[string]struct {
		do        func(m *machine, leave func())
		want      error
		cancelled bool // at the server
	}{
		"down in another terminal": {func(m *machine, _ func()) { _ = m.Down(context.Background()) }, errTakenDown, true},
		"up in another terminal":   {func(m *machine, _ func()) { m.up(ipc.UpRequest{Server: serverURL}) }, errTakenOver, false},
		"Ctrl-C":                   {func(_ *machine, leave func()) { leave() }, context.Canceled, true},
	} {
		t.Run(name, func(t *testing.T) {
			onMachine(t, func(m *machine) {
				ctx, leave := context.WithCancel(context.Background())
				defer leave()
				id, end := m.waiting(ctx)
				c.do(m, leave)
				if err := <-end; err == nil || err.Error() != c.want.Error() {
					t.Errorf("it ended with %v", err)
				}
				synctest.Wait()
				if got := len(m.srv.cancelled) > 0; got != c.cancelled {
					t.Errorf("the server heard of %v", m.srv.cancelled)
				}
				if _, err := m.LoginFinish(context.Background(), ipc.LoginFinish{ID: id}); !errors.Is(err, errNoLogin) {
					t.Errorf("the browser came all the same: %v", err)
				}
				m.wantState(ipc.StateNoServer)
			})
		})
	}
}
