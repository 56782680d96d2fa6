package e2e

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// steadily sends a datagram each two milliseconds to a host, of a new flow each time, until the function that it returns is called.
func steadily(t *testing.T, from, to *lab.Machine) (stop func() (sent int)) {
	t.Helper()
	end, sent := make(chan struct{}), 0
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			if c, err := from.Dial("udp", net.JoinHostPort(to.Addr().String(), "9")); err == nil {
				_, _ = c.Write([]byte("around"))
				_ = c.Close()
			}
			sent++
		}
	})
	once := sync.OnceFunc(func() { close(end); work.Wait() })
	t.Cleanup(once)
	return func() int { once(); return sent }
}

// TestAChosenExitNodeIsNotGoneAroundWhateverBecomesOfTheMachine: without lockdown. The daemon is killed and started again, the
// machine's key expires, and an admin removes it.
func TestAChosenExitNodeIsNotGoneAroundWhateverBecomesOfTheMachine(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	m.Coord.AddUser("anna", password)
	web := n.Internet().Host("web")
	who(t, web)
	alice, exit := m.Behind(lab.EasyNAT, "alice"), m.Node(n.Internet().Host("exit1"))
	exit.Up(m.Coord.Key())
	exit.MustWarren("set", "--advertise-exit-node")
	approve(m, exit, "--approve-exit-node")
	alice.Login("anna", password, "up", m.Coord.Invite, "--hostname", "alice")
	around := web.Capture("udp and src host " + alice.Home.Addr().String())
	stop := steadily(t, alice.Machine, web)
	lab.Eventually(t, 5*time.Second, func() error {
		if around.Count() == 0 {
			return errors.New("control: the capture does not see what goes around")
		}
		return nil
	})
	stop()
	lab.Eventually(t, 10*time.Second, func() error {
		_, err := alice.Warren("exit-node", "use", "exit1")
		return err
	})
	wantSeen(t, alice.Machine, web.Addr(), exit.Addr())
	seen := around.Count()
	nothing := func(what string, sent int) {
		t.Helper()
		now := around.Count()
		if now != seen {
			t.Errorf("%s: %d of %d packets went around the exit node", what, now-seen, sent)
			seen = now
			return
		}
		t.Logf("%s: 0 of %d packets went around", what, sent)
	}

	// Killed, and started again: twice, the second time as systemd does it.
	for _, how := range []string{"killed and started", "killed, recovered by systemd and started"} {
		stop = steadily(t, alice.Machine, web)
		alice.Daemon.Kill9()
		if strings.Contains(how, "systemd") {
			alice.MustRun("sh", "-c", `SERVICE_RESULT=signal exec "$@"`, "sh", m.Daemon()[0], "recover", "--service", "--state", alice.State())
			alice.Recover("--service")
		}
		alice.StartDaemon()
		wantSeen(t, alice.Machine, web.Addr(), exit.Addr())
		nothing(how, stop())
	}

	held := func(what string, lose ...string) {
		t.Helper()
		stop = steadily(t, alice.Machine, web)
		m.Coord.Run(lose...)
		lab.Eventually(t, 15*time.Second, func() error { return problem(alice, ipc.ProblemExitHeld) })
		wantCut(t, alice.Machine, web.Addr(), what)
		alice.Daemon.Kill9()
		alice.StartDaemon()
		lab.Eventually(t, 15*time.Second, func() error { return problem(alice, ipc.ProblemExitHeld) })
		wantCut(t, alice.Machine, web.Addr(), what+", and the daemon is another")
		nothing(what, stop())
		lab.Eventually(t, 15*time.Second, func() error { // the new daemon has to hear why from the server first
			out, _ := alice.Run("sh", "-c", strings.Join(alice.Args("status"), " ")+"; true")
			if !strings.Contains(out, "warren exit-node portal") || !strings.Contains(out, "warren exit-node off") {
				return fmt.Errorf("%s: the status does not say what to do:\n%s", what, out)
			}
			return nil
		})
	}
	held("expired", "machine", "expire", "alice")
	// Logging in: the browser of this machine reaches the page through the portal only.
	if err := alice.PingOnce(m.Coord.Addr()); err == nil {
		t.Error("a program of this machine reaches the server around the exit node")
	}
	alice.MustWarren("exit-node", "portal", "--for", "1m")
	alice.Login("anna", password, "login")
	alice.MustWarren("exit-node", "portal", "--close")
	wantSeen(t, alice.Machine, web.Addr(), exit.Addr())
	seen = around.Count()

	held("removed", "machine", "remove", "alice")
	alice.MustWarren("exit-node", "off")
	wantSeen(t, alice.Machine, web.Addr(), alice.Home.Addr()) // the person has chosen
	if rules := alice.MustRun("ip", "rule") + alice.MustRun("ip", "-6", "rule"); strings.Contains(rules, "8787") {
		t.Errorf("rules are left:\n%s", rules)
	}
	if ps := alice.Status().Problems; slices.ContainsFunc(ps, func(p ipc.Problem) bool { return p.Code == ipc.ProblemExitHeld }) {
		t.Errorf("problems %+v", ps)
	}
}
