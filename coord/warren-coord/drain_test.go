package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/coord/server"
	"github.com/warren-mesh/warren/relay"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
)

// secret reads a key of the server's state.
func secret(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// guest is a machine at the embedded relay, over UDP, that leaves when it is asked to.
func guest(t *testing.T, dir, udp string) (asked <-chan struct{}) {
	t.Helper()
	issuer, err1 := key.ParseServer(secret(t, dir, "identity"))
	at, err2 := key.ParseRelay(secret(t, dir, server.FileRelay))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	node := key.NewNode()
	connected, draining := make(chan struct{}, 1), make(chan struct{}, 1)
	tell := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	c := relay.NewClient(relay.ClientConfig{
		Node: node, Key: at.Public(), UDP: udp,
		Ticket: func() []byte {
			return relay.Ticket{Node: node.Public(), NotAfter: time.Now().Add(time.Hour)}.Sign(issuer)
		},
		OnState: func(s relay.State) {
			if s.Connected {
				tell(connected)
			}
			if s.Draining {
				tell(draining)
				leave()
			}
		},
	})
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Run(ctx) }()
	go func() {
		for {
			if _, err := c.Receive([][]byte{make([]byte, relay.MaxPayload)}, make([]int, 1), make([]relay.Address, 1)); errors.Is(err, relay.ErrClosed) {
				return
			}
		}
	}()
	t.Cleanup(func() { leave(); <-ended })
	select {
	case <-connected:
	case <-time.After(time.Minute):
		t.Fatalf("the relay lets nobody in: %+v", c.State())
	}
	return draining
}

// TestTheEmbeddedRelayAsksItsMachinesToMoveBeforeTheServerStops has one machine at the relay: with another relay in the
// network it is asked to go there, and the server stops when it has; without one it is not.
func TestTheEmbeddedRelayAsksItsMachinesToMoveBeforeTheServerStops(t *testing.T) {
	for _, c := range []struct {
		name  string
		other bool
	}{{"another relay", true}, {"no other relay", false}} {
		t.Run(c.name, func(t *testing.T) {
			dir, addr, udp := filepath.Join(t.TempDir(), "state"), "127.0.0.1:"+pebble.FreePort(t), "127.0.0.1:"+pebble.FreePort(t)
			cmd, _ := launch(t, "warren-coord", "serve", "--state", dir, "--listen", addr, "--relay-udp", udp)
			if c.other {
				out, err := exec.Command("warren-coord", "relay", "add", "--state", dir, "--name", "spare", "--udp", "192.0.2.1:3478",
					"--key", key.NewRelay().Public().String()).CombinedOutput()
				if err != nil {
					t.Fatal(string(out))
				}
			}
			asked := guest(t, dir, udp)
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
			patience := time.Minute
			if !c.other {
				patience = time.Second // it is too late already
			}
			select {
			case <-asked:
				if !c.other {
					t.Error("the machine was asked to go, and there is nowhere to go to")
				}
			case <-time.After(patience):
				if c.other {
					t.Error("the machine was not asked to go to the other relay")
				}
			}
		})
	}
}
