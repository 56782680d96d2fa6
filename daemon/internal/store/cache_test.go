package store

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

func netmap() *coord.Netmap {
	return &coord.Netmap{
		Seq:     7,
		Network: coord.Network{Name: "home", IPv4: netip.MustParsePrefix("100.64.0.0/10")},
		Self: coord.Node{
			ID: 1, Name: "a", Key: key.NewNode().Public(), Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1")},
		},
	}
}

func TestANetmapIsKeptForItsLogin(t *testing.T) {
	s := open(t, t.TempDir())
	a, b := NewLoginID(), NewLoginID()
	m := netmap()
	if err := s.SaveNetmap(a, m); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LoadNetmap(a); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := s.LoadNetmap(b); got != nil || err != nil {
		t.Errorf("another login got %+v, %v", got, err)
	}
	if err := s.DropNetmap(a); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LoadNetmap(a); got != nil || err != nil {
		t.Errorf("after the drop: %+v, %v", got, err)
	}
	if err := s.DropNetmap(a); err != nil {
		t.Errorf("dropping nothing: %v", err)
	}
	for _, id := range []string{"", "..", "../../../../etc/passwd", strings.Repeat("a", 15), "00112233445566zz"} {
		if err := s.SaveNetmap(id, m); err == nil {
			t.Errorf("the id %q was taken", id)
		}
	}
}

func TestADamagedNetmapIsSetAside(t *testing.T) {
	two := netmap()
	two.Peers = []coord.Node{two.Self} // claims the identity of Self
	for name, spoil := range map[string]func(t *testing.T, s *Store, id, path string){
		"cut": func(t *testing.T, s *Store, id, path string) {
			if err := os.Truncate(path, 40); err != nil {
				t.Fatal(err)
			}
		},
		"empty":   func(t *testing.T, s *Store, id, path string) { _ = os.Truncate(path, 0) },
		"version": func(t *testing.T, s *Store, id, path string) { _ = os.WriteFile(path, []byte(`{"version":9}`), 0o600) },
		"nothing": func(t *testing.T, s *Store, id, path string) { _ = os.WriteFile(path, []byte(`{"version":1}`), 0o600) },
		"forged":  func(t *testing.T, s *Store, id, path string) { _ = s.SaveNetmap(id, two) },
	} {
		var log bytes.Buffer
		s, err := Open(t.TempDir(), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		id := NewLoginID()
		path, _ := s.netmapPath(id)
		if err := s.SaveNetmap(id, netmap()); err != nil {
			t.Fatal(err)
		}
		spoil(t, s, id, path)
		if got, err := s.LoadNetmap(id); got != nil || err != nil {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		if _, err := os.Stat(strings.TrimSuffix(path, ".json") + ".damaged"); err != nil {
			t.Errorf("%s: it is not set aside: %v", name, err)
		}
		if !strings.Contains(log.String(), "set aside") {
			t.Errorf("%s: the log says nothing", name)
		}
		_ = s.Close()
	}
}

func TestACrashLoopLeavesTheNetmapsAsideAndNeverTheIdentity(t *testing.T) {
	s := open(t, t.TempDir())
	st := load(t, s)
	id := NewLoginID()
	if err := s.SaveNetmap(id, netmap()); err != nil {
		t.Fatal(err)
	}
	start := func(at time.Time, want bool) {
		t.Helper()
		dropped, err := s.RecordStart(at)
		if err != nil || dropped != want {
			t.Fatalf("start: dropped %v, %v; want %v", dropped, err, want)
		}
	}
	now := time.Now()
	for i := range 10 { // slow crashes are no loop
		start(now.Add(time.Duration(i)*40*time.Second), false)
	}
	now = now.Add(time.Hour)
	start(now, false)
	start(now.Add(1*time.Second), false)
	if err := s.RecordHealthy(); err != nil {
		t.Fatal(err)
	}
	start(now.Add(2*time.Second), false)
	start(now.Add(3*time.Second), false)
	start(now.Add(4*time.Second), false)
	if m, _ := s.LoadNetmap(id); m == nil {
		t.Fatal("it was dropped too early")
	}
	start(now.Add(5*time.Second), true)
	if m, _ := s.LoadNetmap(id); m != nil {
		t.Error("the netmap is used still")
	}
	if again := load(t, s); again.Machine.Reveal() != st.Machine.Reveal() {
		t.Error("the identity was lost")
	}
	start(now.Add(6*time.Second), false)
	if m, err := s.LoadNetmap(id); m == nil {
		t.Errorf("it was lost to the starts after: %v", err)
	}
	start(now.Add(-time.Hour), false) // the clock was set back
	if err := os.WriteFile(filepath.Join(s.dir, "starts.json"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(now, false)
}
