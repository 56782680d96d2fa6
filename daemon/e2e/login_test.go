package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

const password = "correct horse battery"

// annaAndBob are a person's machine, logged in at the page, and one of nobody's.
func annaAndBob(t *testing.T) (m *mesh.Mesh, alice, bob *mesh.Node) {
	t.Helper()
	n := lab.New(t)
	m = mesh.Start(t, n, mesh.Build(t))
	m.Coord.AddUser("anna", password)
	alice, bob = m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "bob")
	alice.Login("anna", password, "up", m.Coord.Invite, "--hostname", "alice")
	bob.Up(m.Coord.Key())
	return m, alice, bob
}

// talk keeps a TCP connection between two machines busy: a line there and back every 20 ms. The function that it returns
// ends it, and says how many lines went and the longest that one took.
func talk(t *testing.T, from, to *mesh.Node) (hangUp func() (lines int, longest time.Duration, err error)) {
	t.Helper()
	at := netip.AddrPortFrom(to.Inner(), 7007).String()
	l, err := to.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		for r := bufio.NewReader(conn); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(line))
		}
	})
	conn, err := from.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	lines, longest, failed := 0, time.Duration(0), error(nil)
	work.Go(func() {
		defer func() { _ = conn.Close() }()
		for r := bufio.NewReader(conn); ctx.Err() == nil && failed == nil; lines++ {
			want, started, got := fmt.Sprintf("line %d\n", lines), time.Now(), ""
			_ = conn.SetDeadline(started.Add(patient))
			if _, failed = conn.Write([]byte(want)); failed == nil {
				got, failed = r.ReadString('\n')
			}
			if failed == nil && got != want {
				failed = errorf("got %q, not %q", got, want)
			}
			longest = max(longest, time.Since(started))
			<-time.After(20 * time.Millisecond)
		}
	})
	end := sync.OnceFunc(func() {
		cancel()
		_ = l.Close()
		work.Wait()
	})
	t.Cleanup(end)
	return func() (int, time.Duration, error) { end(); return lines, longest, failed }
}

// index is the number of a machine's interface: another one would have another.
func index(n *mesh.Node) string {
	return strings.Fields(n.MustRun("ip", "-o", "link", "show", n.Interface()))[0]
}

func TestALoginExtendsTheKeyWhileConnectionsGoOn(t *testing.T) {
	m, alice, bob := annaAndBob(t)
	alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
	bob.WaitPath(alice, ipc.PathDirect, 10*time.Second)
	before, was := alice.Status().Self, index(alice)
	if left := time.Until(before.Expires); left < 179*24*time.Hour || left > 181*24*time.Hour {
		t.Errorf("a person's machine expires in %s", left)
	}
	lost, hangUp := counted(t, alice, bob), talk(t, alice, bob)

	extended := func(how string, want func(ipc.Self) bool) {
		t.Helper()
		lab.Eventually(t, 10*time.Second, func() error {
			if s := alice.Status(); !want(s.Self) || s.State != ipc.StateRunning {
				return errorf("%s: state %s, expires %s, was %s", how, s.State, s.Self.Expires, before.Expires)
			}
			return nil
		})
	}
	alice.Login("anna", password, "login")
	extended("by a login", func(s ipc.Self) bool { return s.Expires.After(before.Expires) })
	m.Coord.Run("machine", "extend", "alice", "--forever")
	extended("by an admin", func(s ipc.Self) bool { return s.Expires.IsZero() })

	if n := lost(); n > 0 {
		t.Errorf("%d pings were lost", n)
	}
	lines, longest, err := hangUp()
	if err != nil || lines < 50 || longest > lab.Patience*time.Second {
		t.Errorf("the connection: %d lines, the longest took %s, %v", lines, longest, err)
	}
	after := alice.Status().Self
	if after.Key != before.Key || !slices.Equal(after.Addrs, before.Addrs) || after.Name != before.Name || index(alice) != was {
		t.Errorf("before %+v on %s, after %+v on %s", before, was, after, index(alice))
	}
	t.Logf("%d lines, the longest took %s", lines, longest)
}

func TestAnExpiredMachineIsCutOffUntilItsPersonLogsIn(t *testing.T) {
	t.Parallel()
	m, alice, bob := annaAndBob(t)
	alice.WaitPing(bob, 10*time.Second)
	before := alice.Status().Self
	m.Coord.Run("machine", "expire", "alice")
	lab.Eventually(t, 10*time.Second, func() error {
		if p, err := bob.Peer(alice); err == nil {
			return errorf("bob still knows %+v", p)
		}
		return problem(alice, "key-expired")
	})
	if err := bob.PingOnce(before.Addrs[0]); err == nil {
		t.Error("an expired machine answers")
	}
	out, _ := alice.Run("sh", "-c", strings.Join(alice.Args("status"), " ")+"; echo code $?")
	if !strings.Contains(out, "has expired") || !strings.Contains(out, "warren login") || !strings.Contains(out, "code 5") {
		t.Errorf("status says %s", out)
	}
	alice.Login("anna", password, "login")
	alice.WaitPing(bob, 10*time.Second)
	after := alice.Status().Self
	if after.Key != before.Key || !slices.Equal(after.Addrs, before.Addrs) || after.Name != before.Name {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestAMachineWaitsForAnAdminOverRestartsOfBoth(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	alice, bob := m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "bob")
	bob.Up(m.Coord.Key())
	untouched := mesh.Routes(alice.Machine)
	up := alice.Start(alice.Args("up", m.Coord.Invite, "--auth-key=file:"+m.Coord.Key("--needs-approval"), "--hostname", "alice")...)
	up.WaitOutput("Waiting for an admin's approval", 10*time.Second)
	waits := func() {
		t.Helper()
		lab.Eventually(t, 40*time.Second, func() error {
			if s := alice.Status(); s.State != ipc.StatePending || !s.Coord.Connected || len(s.Peers) > 0 || len(s.Self.Addrs) > 0 {
				return errorf("state %s, coord %+v, self %+v, peers %+v", s.State, s.Coord, s.Self, s.Peers)
			}
			return nil
		})
		if s := bob.Status(); len(s.Peers) > 0 {
			t.Errorf("bob sees %+v", s.Peers)
		}
		if now := mesh.Routes(alice.Machine); now != untouched {
			t.Errorf("the host of a machine that waits is\n%s, was\n%s", now, untouched)
		}
	}
	waits()
	m.Coord.Proc.Kill9()
	m.Coord.Start()
	waits()
	alice.Daemon.Kill9()
	_ = up.Wait(10 * time.Second) // it says that warrend has stopped
	alice.StartDaemon()
	waits()
	up = alice.Start(alice.Args("up")...)
	up.WaitOutput("Waiting for an admin's approval", 10*time.Second)
	m.Coord.Run("machine", "approve", "alice")
	if err := up.Wait(10 * time.Second); err != nil || !strings.Contains(up.Output(), "Connected as alice") {
		t.Errorf("up ended with %v: %s", err, up.Output())
	}
	alice.WaitPing(bob, 15*time.Second)

	carol := m.Behind(lab.EasyNAT, "carol")
	up = carol.Start(carol.Args("up", m.Coord.Invite, "--auth-key=file:"+m.Coord.Key("--needs-approval"), "--hostname", "carol")...)
	up.WaitOutput("Waiting for an admin's approval", 10*time.Second)
	m.Coord.Run("machine", "deny", "carol")
	if err := up.Wait(10 * time.Second); err == nil || !strings.Contains(up.Output(), "did not let this machine in") {
		t.Errorf("up of a refused machine ended with %v: %s", err, up.Output())
	}
	if s := carol.Status(); s.State != ipc.StateNeedsLogin {
		t.Errorf("a refused machine's state is %s", s.State)
	}
}

// switching is alice with logins at two servers, and one machine at each.
type switching struct {
	*mesh.Node
	t     *testing.T
	at    []*ipc.Status // alice at home, and at work
	peers []*mesh.Node
}

// is wants alice to be on that network alone.
func (s *switching) is(i int) {
	s.t.Helper()
	s.WaitPing(s.peers[i], 20*time.Second)
	out := s.MustRun("ip", "-o", "addr", "show", s.Interface())
	for j, st := range s.at {
		for _, a := range st.Self.Addrs {
			want := j == i || slices.Contains(s.at[i].Self.Addrs, a)
			if strings.Contains(out, " "+a.String()+"/") != want {
				s.t.Errorf("the address %s: want %v in\n%s", a, want, out)
			}
		}
	}
	if now, want := s.Status(), s.at[i]; now.Self.Key != want.Self.Key || !slices.Equal(now.Self.Addrs, want.Self.Addrs) ||
		now.Profile != want.Profile || now.Network.Name != want.Network.Name || len(now.Peers) != 1 {
		s.t.Errorf("alice is %+v, want %+v", now, want)
	}
}

func TestSwitchingBetweenTwoServers(t *testing.T) {
	t.Parallel()
	m, alice, bob := twoHomes(t)
	work := m.AddCoord("work", "work")
	wanda := m.Behind(lab.EasyNAT, "wanda")
	wanda.UpAt(work, work.Key())
	s := &switching{Node: alice, t: t, peers: []*mesh.Node{bob, wanda}}
	alice.WaitPing(bob, 15*time.Second)
	home := alice.Status()
	alice.UpAt(work, work.Key())
	there := alice.Status()
	s.at = []*ipc.Status{home, there}
	if there.Network.Name != "work" || there.Self.Key == home.Self.Key {
		t.Errorf("at work: %+v", there)
	}
	s.is(1)
	if out := alice.MustWarren("switch", home.Profile); !strings.Contains(out, "Connected as alice") {
		t.Errorf("switch says %s", out)
	}
	s.is(0)
	if out := alice.MustWarren("switch", "--list"); !strings.Contains(out, "* "+home.Profile) || !strings.Contains(out, there.Profile) {
		t.Errorf("the list is %s", out)
	}

	// Killed at any point of a switch it comes up with one of the two, whole.
	arrived := 0
	for i := range 6 {
		from := slices.IndexFunc(s.at, func(st *ipc.Status) bool { return st.Profile == alice.Status().Profile })
		p := alice.Start(alice.Args("switch", s.at[1-from].Profile)...)
		<-time.After(time.Duration(i) * 15 * time.Millisecond)
		alice.Daemon.Kill9()
		_ = p.Wait(10 * time.Second)
		alice.StartDaemon()
		now := slices.IndexFunc(s.at, func(st *ipc.Status) bool { return st.Profile == alice.Status().Profile })
		if now != from {
			arrived++
		}
		s.is(now)
	}
	t.Logf("%d of 6 switches had been written down when the daemon was killed", arrived)

	// A logout removes the one in use; the other works on.
	alice.MustWarren("switch", there.Profile)
	alice.MustWarren("logout")
	if out := alice.MustWarren("switch", "--list"); strings.Contains(out, there.Profile+" ") {
		t.Errorf("the list after the logout is %s", out)
	}
	alice.MustWarren("switch", home.Profile)
	alice.MustWarren("up")
	s.is(0)
}

func TestAnEphemeralMachineIsGoneWhenItLogsOut(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	job := m.Behind(lab.EasyNAT, "job")
	job.Up(m.Coord.Key("--ephemeral"))
	if out := m.Coord.Run("machine", "list"); !strings.Contains(out, "job") {
		t.Fatalf("machines: %s", out)
	}
	job.MustWarren("logout")
	if out := m.Coord.Run("machine", "list"); strings.Contains(out, "job") {
		t.Errorf("after the logout: %s", out)
	}
}

func TestALoginInAnotherTerminalIsOverWithDown(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	alice := m.Behind(lab.EasyNAT, "alice")
	waiting := func() *lab.Proc {
		p := alice.Start(alice.Args("up", m.Coord.Invite, "--no-browser")...)
		p.WaitOutput("Waiting until", 10*time.Second)
		return p
	}
	ends := func(p *lab.Proc, want string) {
		t.Helper()
		if err := p.Wait(10 * time.Second); err == nil || !strings.Contains(p.Output(), want) {
			t.Errorf("it ended with %v, want %q: %s", err, want, p.Output())
		}
	}
	first := waiting()
	second := waiting()
	ends(first, "Another login was begun on this machine, so this one is over.")
	alice.MustWarren("down")
	ends(second, "The login was ended by warren down.")
	if s := alice.Status(); s.State != ipc.StateNoServer {
		t.Errorf("the state is %s", s.State)
	}
}
