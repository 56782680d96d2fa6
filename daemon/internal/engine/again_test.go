package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
)

func TestRestartsAsToldAreNoCrashes(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.up(ipc.UpRequest{Server: serverURL, AuthKey: "good"})
		m.srv.set(func(s *server) { s.away = true })
		for i := range 5 {
			m.stop()
			st, err := store.Open(m.dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			dropped, err := st.RecordStart(time.Now())
			if err := errors.Join(err, st.Close()); err != nil {
				t.Fatal(err)
			}
			m.start()
			if s := m.status(); dropped || len(s.Peers) != 1 {
				t.Fatalf("start %d: the saved netmap was dropped: %v, state %s, %d peers", i, dropped, s.State, len(s.Peers))
			}
		}
	})
}

func TestUpAfterTheHostWasMendedNeedsNoWait(t *testing.T) {
	onMachine(t, func(m *machine) {
		m.host.refuse = &ipc.Error{Code: ipc.CodeHost, Message: "There is no /dev/net/tun.", Fix: "sudo modprobe tun"}
		if _, err := m.Up(context.Background(), ipc.UpRequest{Server: serverURL, AuthKey: "good"}); !errors.Is(err, &ipc.Error{Code: ipc.CodeHost}) {
			t.Fatalf("up: %v", err)
		}
		m.host.mu.Lock()
		m.host.refuse = nil
		m.host.mu.Unlock()
		if r, err := m.Up(context.Background(), ipc.UpRequest{}); err != nil || r.State != ipc.StateRunning {
			t.Errorf("up once there is a TUN: %+v, %v", r, err)
		}
	})
}
