package server

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// TestASecondImplementationIsServed has a program in another language, which was written from protocol.md alone, talk to the
// relay and to a client of ours.
func TestASecondImplementationIsServed(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	ours := n.join(udpOnly).connected(relay.TransportUDP)
	for how, where := range map[string]string{"udp": n.server.UDPAddr().String(), "websocket": n.server.HTTPSAddr().String()} {
		private := make([]byte, 32)
		_, _ = rand.Read(private)
		node, err := key.ParseNode("node-private:" + hex.EncodeToString(private))
		if err != nil {
			t.Fatal(err)
		}
		relayKey, peer := n.key.Public(), ours.node.Public()
		cmd := exec.CommandContext(t.Context(), "node", "testdata/second.mjs", how, where, hex.EncodeToString(relayKey[:]),
			hex.EncodeToString(private), hex.EncodeToString(n.ticket(node)), hex.EncodeToString(peer[:]))
		var out, told bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &told
		if err := cmd.Start(); err != nil {
			t.Fatalf("node (make deps installs it): %v", err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for err, running := error(nil), true; running; {
			select {
			case m := <-ours.got:
				if m.text != "from another program" || m.from != relay.AddressOf(node.Public()) {
					t.Errorf("%s: %q came from %v", how, m.text, m.from)
				}
				if err := ours.Send(node.Public(), [][]byte{[]byte("from ours")}); err != nil {
					t.Logf("send: %v", err)
				}
			case err = <-ended:
				running = false
			}
			if err != nil {
				t.Errorf("%s: %v\n%s\n%s", how, err, &out, &told)
			}
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 4 {
			t.Errorf("%s: it was told:\n%s", how, &out)
			continue
		}
		var address, again string
		var idle int
		if _, err := fmt.Sscanf(lines[0], "welcome %s %d", &address, &idle); err != nil || idle <= 0 || !strings.HasPrefix(address, "127.0.0.1:") {
			t.Errorf("%s: %s (%v)", how, lines[0], err)
		}
		if _, err := fmt.Sscanf(lines[1], "pong true %s", &again); err != nil || again != address {
			t.Errorf("%s: %s, and in the Welcome it was %s (%v)", how, lines[1], address, err)
		}
		if lines[2] != "data true true from ours" || lines[3] != "absent true 17" {
			t.Errorf("%s: %s, %s", how, lines[2], lines[3])
		}
	}
}
