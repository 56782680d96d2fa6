package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// tinyproxyConf has it serve everybody, and connect to the ports of the relay and of the coordination server.
const tinyproxyConf = `
Port 8888
Timeout 600
Allow 0.0.0.0/0
ConnectPort 443
ConnectPort 8443
MaxClients 100
`

// TestAHostBehindAnHTTPProxy lets a home's packets out to the proxy only.
func TestAHostBehindAnHTTPProxy(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	proxy := n.Internet().Host("proxy")
	tiny := proxy.Start("tinyproxy", "-d", "-c", mesh.Write(t, proxy, "conf", tinyproxyConf))
	lab.Eventually(t, 10*time.Second, func() error {
		c, err := proxy.Dial("tcp", "127.0.0.1:8888")
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	alice := m.Behind(lab.EasyNAT, "alice")
	home := n.Internet().Router("office", lab.EasyNAT)
	for _, rule := range []string{"meta l4proto != tcp drop", "tcp dport != 8888 drop"} {
		home.MustRun("nft", "insert rule inet router forward iifname lan "+rule)
	}
	bob := m.NodeWith(home.Host("bob"), "env", fmt.Sprintf("HTTPS_PROXY=http://%s:8888", proxy.Addr()))
	alice.Up(m.Coord.Key())
	bob.Up(m.Coord.Key())
	alice.WaitPing(bob, 20*time.Second)
	bob.WaitPing(alice, 20*time.Second)
	alice.WaitPath(bob, ipc.PathRelay, 10*time.Second)
	if err := onTransport(bob, "websocket"); err != nil {
		t.Error(err)
	}
	// It is the proxy that carries it.
	tiny.Pause()
	inner := bob.Inner()
	lab.Eventually(t, 10*time.Second, func() error {
		if alice.PingQuick(inner) == nil {
			return errorf("there is another way to bob")
		}
		return nil
	})
	tiny.Resume()
	alice.WaitPing(bob, 20*time.Second)
}
