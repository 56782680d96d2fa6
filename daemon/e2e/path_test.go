package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

func TestTwoEasyNATsFindADirectPath(t *testing.T) {
	t.Parallel()
	m, alice, bob := twoHomes(t)
	first := alice.WaitPing(bob, 10*time.Second)
	path, took := alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
	t.Logf("first ping after %v, direct after %v more: %v", first, took, path.Endpoint)
	if path.Endpoint.Addr() == bob.Addr() {
		t.Errorf("the path leads to %v, which only bob's home can reach", path.Endpoint)
	}
	bob.WaitPath(alice, ipc.PathDirect, 10*time.Second)

	// Blocked, the same ping goes on through the relay; unblocked, directly again.
	block := m.Net.BlockUDP(alice, bob)
	_, took = alice.WaitPath(bob, ipc.PathRelay, 15*time.Second)
	t.Logf("relayed %v after the block", took)
	alice.WaitPing(bob, 5*time.Second)
	lab.Eventually(t, 15*time.Second, func() error {
		if why := alice.MustWarren("why", "bob"); !strings.Contains(why, bob.Home.Machine.Addr().String()) ||
			!strings.Contains(why, "does not answer") || !strings.Contains(why, "drops UDP between the two") {
			return errorf("%s", why)
		}
		return nil
	})
	block.Heal()
	_, took = alice.WaitPath(bob, ipc.PathDirect, 40*time.Second)
	t.Logf("direct %v after the block's end", took)
}

// A machine that has just lost its power is online to the server for a while yet. No firewall is to be opened for it.
func TestWhyKnowsAMachineThatHasJustDied(t *testing.T) {
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	key := m.Coord.Key("--reusable")
	alice, bob := m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "bob")
	alice.Up(key)
	bob.Up(key)
	alice.WaitPing(bob, 10*time.Second)
	alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
	inner := bob.Inner()
	bob.Unplug()
	died := time.Now()
	lab.Eventually(t, 15*time.Second, func() error {
		_ = alice.PingOnce(inner) // traffic, by which the path is given up
		var w ipc.Why
		if err := json.Unmarshal([]byte(alice.MustWarren("why", "--json", "bob")), &w); err != nil {
			return err
		}
		if !w.Online || len(w.Advised) != 1 || w.Advised[0].Code != ipc.AdviceNoAnswer {
			return errorf("%+v", w)
		}
		return nil
	})
	t.Logf("known %v after it died", time.Since(died))
	if why := alice.MustWarren("why", "bob"); !strings.Contains(why, "; does not answer") || !strings.Contains(why, "nothing came from it for") || strings.Contains(why, "firewall") {
		t.Errorf("%s", why)
	}
}

func TestAHostWithoutUDPIsReachedThroughTheRelaysWebSocket(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	alice := m.Behind(lab.EasyNAT, "alice")
	bob := m.Behind(lab.EasyNAT, "bob")
	bob.Home.DropUDP()
	alice.Up(m.Coord.Key())
	bob.Up(m.Coord.Key())
	alice.WaitPing(bob, 15*time.Second)
	bob.WaitPing(alice, 15*time.Second)
	if p, _ := alice.WaitPath(bob, ipc.PathRelay, 10*time.Second); p.Relay != "demo" {
		t.Errorf("path %+v", p)
	}
	lab.Eventually(t, 10*time.Second, func() error {
		for _, r := range bob.Status().Relays {
			if r.Connected && r.Transport == "websocket" {
				return nil
			}
		}
		return errorf("bob's relays: %+v", bob.Status().Relays)
	})
}

func TestMachinesOnOneLANTalkOverIt(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	home := n.Internet().Router("home", lab.EasyNAT)
	alice, bob := m.Node(home.Host("alice")), m.Node(home.Host("bob"))
	alice.Up(m.Coord.Key())
	bob.Up(m.Coord.Key())
	alice.WaitPing(bob, 10*time.Second)
	path, _ := alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
	lab.Eventually(t, 10*time.Second, func() error {
		path, _ = alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
		if path.Endpoint.Addr() != bob.Addr() {
			return errorf("alice reaches bob at %v, not over the LAN at %v", path.Endpoint, bob.Addr())
		}
		return nil
	})
}

func TestIdlePeersSendNothing(t *testing.T) {
	t.Parallel()
	_, alice, bob := twoHomes(t)
	alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
	// Keepalives to the relay go on; nothing else may pass between the homes.
	lab.Eventually(t, 60*time.Second, func() error {
		p, err := alice.Peer(bob)
		if err == nil && p.Path.Kind != ipc.PathNone {
			err = errorf("the path is still %s", p.Path.Kind)
		}
		return err
	})
	between := alice.Capture("udp and not port 3478 and not port 443")
	<-time.After(5 * time.Second)
	if n := between.Count(); n != 0 {
		t.Errorf("%d packets in 5 s of silence:\n%v", n, between.Packets())
	}
	alice.WaitPing(bob, 5*time.Second)
	if n := between.Count(); n == 0 {
		t.Error("the capture saw nothing of a ping either")
	}
}

// Behind two NATs that no hole can be punched through, machines with IPv6 are direct over it. What they send over IPv4
// meanwhile, to the relay and to each other, must not lead it astray.
func TestHardNATsWithIPv6AreDirectOverIt(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	behind := func(name string) *mesh.Node {
		return m.Node(n.Internet().Router("home-"+name, lab.HardNAT, lab.WithIPv6()).Host(name))
	}
	alice, bob := behind("alice"), behind("bob")
	alice.Up(m.Coord.Key())
	bob.Up(m.Coord.Key())
	alice.WaitPing(bob, 10*time.Second)
	path, took := alice.WaitPath(bob, ipc.PathDirect, 15*time.Second)
	t.Logf("direct after %v: %v", took, path.Endpoint)
	if path.Endpoint.Addr() != bob.Addr6() {
		t.Errorf("alice reaches bob at %v, not at %v", path.Endpoint, bob.Addr6())
	}
	bob.WaitPath(alice, ipc.PathDirect, 10*time.Second)
}
