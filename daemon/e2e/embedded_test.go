package e2e

import (
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// The coordination server is all that there is: its own relay carries what cannot go directly, over UDP and over a
// WebSocket on the server's port.
func TestTheServersOwnRelayCarriesPackets(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	programs := mesh.Build(t)
	m := mesh.Start(t, n, programs)
	m.Relay.Proc.Kill9()
	m.Coord.Run("relay", "remove", "demo")
	m.Coord.Proc.Kill9()
	m.Coord.Proc = m.Coord.Machine.Start(filepath.Join(string(programs), "warren-coord"), "serve", "--state", filepath.Join(m.Coord.Dir(), "state"),
		"--listen", ":8443", "--relay-udp", ":3478", "--metrics", "127.0.0.1:9100")
	lab.Eventually(t, 20*time.Second, func() error {
		conn, err := m.Coord.Dial("tcp", "127.0.0.1:8443")
		if err == nil {
			_ = conn.Close()
		}
		return err
	})

	alice, bob := m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "bob")
	n.BlockUDP(alice, bob)
	bob.Home.DropUDP()
	alice.Up(m.Coord.Key())
	bob.Up(m.Coord.Key())
	alice.WaitPing(bob, 15*time.Second)
	if p, _ := alice.WaitPath(bob, ipc.PathRelay, 10*time.Second); p.Relay != "embedded" {
		t.Errorf("path %+v", p)
	}
	for node, transport := range map[*mesh.Node]string{alice: "udp", bob: "websocket"} {
		lab.Eventually(t, 10*time.Second, func() error {
			for _, r := range node.Status().Relays {
				if r.Connected && r.Transport == transport {
					return nil
				}
			}
			return errorf("relays of %s: %+v", node.Name(), node.Status().Relays)
		})
	}

	conn, err := m.Coord.Dial("tcp", "127.0.0.1:9100")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /metrics HTTP/1.0\r\n\r\n")
	page, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(page), "\nwarren_coord_machines 2\n") ||
		!regexp.MustCompile(`\nwarren_relay_packets_total [1-9]`).Match(page) {
		t.Errorf("the metrics do not show what was relayed (%v):\n%s", err, page)
	}
}
