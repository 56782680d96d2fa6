package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/ipc"
)

// TestWhateverFallsSilentNothingGoesAroundTheExitNodeAndItIsSaid: client and exit node are in homes between which only the
// relay leads. The relay dies, the exit node's daemon is stopped, then killed: without lockdown and with it.
func TestWhateverFallsSilentNothingGoesAroundTheExitNodeAndItIsSaid(t *testing.T) {
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	web := n.Internet().Host("web")
	who(t, web)
	alice, gate := m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "gate")
	n.BlockUDP(alice.Machine, gate.Machine)
	nas := alice.Home.Host("nas")
	key := m.Coord.Key("--reusable")
	gate.Up(key)
	alice.Up(key)
	gate.MustWarren("set", "--advertise-exit-node")
	approve(m, gate, "--approve-exit-node")
	// What warrend itself asks the home's router, by UPnP's multicast, is its own.
	atWeb, atNAS := web.Capture("ip and src host "+alice.Home.Addr().String()), nas.Capture("ip and not udp dst port 1900 and src host "+alice.Addr().String())
	leaves := func() int {
		leaving(alice.Machine, web, nas)
		return atWeb.Count() + atNAS.Count()
	}
	if seen := leaves(); seen < 10 {
		t.Fatalf("control: without an exit node the captures see %d packets", seen)
	}
	lab.Eventually(t, 10*time.Second, func() error {
		_, err := alice.Warren("exit-node", "use", "gate")
		return err
	})
	wantSeen(t, alice.Machine, web.Addr(), gate.Home.Addr())
	if p, err := alice.Peer(gate); err != nil || p.Path.Kind != ipc.PathRelay {
		t.Fatalf("control: the exit node is reached by %+v, %v", p, err)
	}
	answers := func() error {
		if _, silent := problemOf(alice, ipc.ProblemExitDown); silent {
			return errors.New("the status still says that it does not answer")
		}
		got, err := seenAs(alice.Machine, web.Addr())
		if err == nil && got != gate.Home.Addr() {
			return fmt.Errorf("seen as %s", got)
		}
		return err
	}
	silence := func(what string, fall, mend func()) {
		t.Helper()
		before := leaves()
		web0, nas0 := atWeb.Count(), atNAS.Count()
		stop := steadily(t, alice.Machine, web)
		fall()
		began := time.Now()
		lab.Eventually(t, core.ExitSilence+20*time.Second, func() error { return problem(alice, ipc.ProblemExitDown) })
		said := time.Since(began)
		if said > core.ExitSilence+lab.Patience*4*time.Second { // a busy machine takes its time
			t.Errorf("%s: said after %s", what, said)
		}
		if p, _ := problemOf(alice, ipc.ProblemExitDown); p.Level != ipc.ProblemUrgent || !strings.Contains(p.Fix, "warren exit-node off") {
			t.Errorf("%s: %+v", what, p)
		}
		wantCut(t, alice.Machine, web.Addr(), what)
		leaving(alice.Machine, web, nas)
		sent := stop()
		now := atWeb.Count() + atNAS.Count()
		if now != before {
			t.Errorf("%s: %d of %d packets went around the exit node:\n%s", what, now-before, sent,
				strings.Join(append(atWeb.Packets()[web0:], atNAS.Packets()[nas0:]...), "\n"))
		}
		mend()
		lab.Eventually(t, 60*time.Second, answers)
		t.Logf("%s: said after %s (bound %s), %d of %d packets went around", what, said.Round(10*time.Millisecond), core.ExitSilence, now-before, sent)
	}
	for _, lockdown := range []string{"false", "true"} {
		alice.MustWarren("set", "--lockdown="+lockdown)
		silence("the relay dies, lockdown "+lockdown, m.Relay.Proc.Kill9, m.Relay.Start)
		silence("the exit node is stopped, lockdown "+lockdown, gate.Daemon.Pause, gate.Daemon.Resume)
		silence("the exit node is killed, lockdown "+lockdown, gate.Daemon.Kill9, gate.StartDaemon)
	}
	alice.MustWarren("set", "--lockdown=false")
	alice.MustWarren("exit-node", "off")
	before := atWeb.Count() + atNAS.Count()
	if leaves() == before {
		t.Error("control: the captures see nothing any more")
	}
}
