package firewall

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

const mark = 0x57000000

// prison is a place whose host is locked, and what leaves it.
type prison struct {
	*place
	lock    *Lockdown
	file    string
	seen    *lab.Proc
	marks   int // marked packets sent so far
	counted int // lines looked at so far
	open    []net.Conn
	guest   string // namespace of a container
}

func newPrison(t testing.TB) *prison {
	t.Helper()
	p := &prison{place: newPlace(t), file: filepath.Join(t.TempDir(), "lockdown")}
	p.lock = NewLockdown(LockdownConfig{File: p.file, Interface: tun, Mark: mark})
	serve(t, p.web)
	serve(t, p.nas)
	p.guest = p.host.Namespace() + "-g"
	p.host.MustRun("sh", "-c", `set -e
		ip netns add `+p.guest+`
		ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
		ip link add veth1 type veth peer name eth0 netns `+p.guest+`; ip link set veth1 master docker0 up
		sysctl -qw net.ipv4.ip_forward=1
		nft add table ip docker
		nft 'add chain ip docker post { type nat hook postrouting priority srcnat; }; add rule ip docker post ip saddr 172.17.0.0/16 oifname != "docker0" masquerade'
		ip -n `+p.guest+` link set eth0 up; ip -n `+p.guest+` addr add 172.17.0.2/16 dev eth0; ip -n `+p.guest+` route add default via 172.17.0.1`)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", p.guest).Run() })
	p.seen = p.host.Start("tcpdump", "--immediate-mode", "-l", "-n", "-p", "-s", "128", "-Q", "out", "-i", p.host.Device(),
		"ip or (ip6 and not (icmp6 and (ip6[40] == 135 or ip6[40] == 136 or ip6[40] == 133)) and not dst host ff02::16)") // reports of multicast groups
	p.seen.WaitOutput("listening on", 5*time.Second)
	return p
}

// before opens connections that are there when the lockdown comes.
func (p *prison) before(t testing.TB) {
	t.Helper()
	for _, to := range []string{"tcp " + p.web.Addr().String(), "udp " + p.web.Addr().String(), "tcp " + p.nas.Addr().String(), "tcp " + p.web.Addr6().String()} {
		network, addr, _ := strings.Cut(to, " ")
		c, err := p.host.Dial(network, net.JoinHostPort(addr, port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		p.open = append(p.open, c)
	}
}

// everythingOut sends whatever a host may send, to the internet and to the LAN. Nobody waits for answers.
func (p *prison) everythingOut(t testing.TB) {
	t.Helper()
	for _, c := range p.open {
		_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = c.Write([]byte("still there?"))
	}
	for _, to := range []netip.Addr{p.web.Addr(), p.web.Addr6(), p.nas.Addr(), p.nas.Addr6(), p.home.Gateway()} {
		for _, ports := range []string{"53", "443", "853", "5353", "3478"} {
			if c, err := p.host.Dial("udp", net.JoinHostPort(to.String(), ports)); err == nil {
				_, _ = c.Write([]byte("datagram"))
				_ = c.Close()
			}
		}
		for _, ports := range []string{"53", "443", port} {
			p.dial(p.host, to, ports)
		}
	}
	for _, to := range []string{"224.0.0.251", "239.255.255.250", "255.255.255.255", "ff02::fb%" + p.host.Device()} {
		_ = p.host.Do(func() error {
			c, err := net.ListenPacket("udp", ":0")
			if err != nil {
				return err
			}
			defer c.Close()
			addr, err := net.ResolveUDPAddr("udp", net.JoinHostPort(to, "5353"))
			if err == nil {
				_, err = c.WriteTo([]byte("multicast"), addr)
			}
			return err
		})
	}
	script := ""
	for _, to := range []netip.Addr{p.web.Addr(), p.web.Addr6(), p.nas.Addr(), p.nas.Addr6()} {
		script += "ping -c1 -W0.1 " + to.String() + " & "
	}
	script += "ip netns exec " + p.guest + " ping -c1 -W0.1 " + p.web.Addr().String() + " & "
	_, _ = p.host.Run("sh", "-c", script+" wait")
	_, _ = p.nas.Run("ping", "-c1", "-W0.1", p.host.Addr().String()) // an answer would leave, too
}

func (p *prison) dial(m *lab.Machine, to netip.Addr, port string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if c, err := m.DialContext(ctx, "tcp", net.JoinHostPort(to.String(), port)); err == nil {
		_ = c.Close()
	}
}

// left lists what left the host since the last look. A marked packet, which may leave, comes last and must be seen: so
// everything before it was.
func (p *prison) left(t testing.TB) (lines []string) {
	t.Helper()
	p.marks++
	p.do(t, func() error {
		d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
			if e != nil {
				return e
			}
			return err
		}}
		c, err := d.Dial("udp", net.JoinHostPort(p.web.Addr().String(), fmt.Sprint(20000+p.marks)))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("marked"))
		return err
	})
	sign := fmt.Sprintf(".%d: UDP", 20000+p.marks)
	p.seen.WaitOutput(sign, 5*time.Second)
	all := strings.Split(p.seen.Output(), "\n")
	for i, line := range all[p.counted:] {
		if strings.Contains(line, sign) {
			p.counted += i + 1
			break
		}
		if strings.Contains(line, " IP") {
			lines = append(lines, line)
		}
	}
	return lines
}

func (p *prison) want(t testing.TB, lock *Lock) {
	t.Helper()
	p.do(t, func() error { return p.lock.Want(t.Context(), lock) })
}

// TestNothingLeavesALockedHost shows first what does without lockdown.
func TestNothingLeavesALockedHost(t *testing.T) {
	t.Parallel()
	p := newPrison(t)
	p.before(t)
	p.everythingOut(t)
	control := strings.Join(p.left(t), "\n")
	for _, what := range []string{
		p.web.Addr().String() + ".53:", p.web.Addr().String() + ".443: UDP", p.web.Addr().String() + ".443: Flags",
		p.web.Addr6().String() + ".443: UDP", p.web.Addr6().String() + "." + port + ": Flags", p.nas.Addr().String() + ".53:",
		p.nas.Addr6().String() + ".443: UDP", "> " + p.web.Addr().String() + ": ICMP echo request", "> " + p.web.Addr6().String() + ": ICMP6, echo request",
		"> " + p.nas.Addr().String() + ": ICMP echo reply", "> 224.0.0.251.", "> ff02::fb.", p.home.Gateway().String() + ".53:",
		p.web.Addr().String() + "." + port + ": Flags [P.]", p.nas.Addr().String() + "." + port + ": Flags [P.]",
	} {
		if !strings.Contains(control, what) {
			t.Errorf("control: without lockdown no packet %q is seen", what)
		}
	}
	if strings.Count(control, p.web.Addr().String()+": ICMP echo request") != 2 {
		t.Error("control: what a container sends is not seen")
	}
	if t.Failed() {
		t.Fatal(control)
	}

	p.want(t, &Lock{})
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"with lockdown", func() {}},
		{"again", func() { p.want(t, &Lock{}) }},
		{"attacker's routes", func() {
			for _, dst := range []string{"0.0.0.0/1", "128.0.0.0/1", "100.64.0.2/32", p.web.Addr().String() + "/32"} {
				p.host.MustRun("ip", "route", "replace", dst, "via", p.home.Gateway().String())
			}
		}},
		{"another address", func() { p.host.Readdress() }},
		{"no tunnel", func() { p.host.MustRun("ip", "link", "del", tun) }},
		{"flushed tables of others", func() { p.host.MustRun("nft", "flush", "table", "ip", "docker") }},
		{"no daemon, as at boot", func() {
			p.do(t, func() error {
				locked, err := Boot(p.file)
				if !locked {
					t.Error("the file does not lock")
				}
				return err
			})
		}},
	} {
		c.do()
		p.everythingOut(t)
		if lines := p.left(t); len(lines) > 0 {
			t.Errorf("%s, %d packets leave:\n%s", c.what, len(lines), strings.Join(lines, "\n"))
		}
	}
	if got := call(p.host, p.web.Addr(), patience); got != nobody {
		t.Errorf("a call gets through as %q", got)
	}
	p.want(t, nil)
	if got := call(p.host, p.web.Addr(), arrives); got == nobody {
		t.Error("after lockdown nothing gets through")
	}
	if out := p.host.MustRun("nft", "list", "ruleset"); strings.Contains(out, "warren") {
		t.Errorf("something is left:\n%s", out)
	}
	if _, err := os.Stat(p.file); err == nil {
		t.Error("the wish is left on disk")
	}
}

func TestLockdownLeavesTheTunnelTheHostItselfAndIfWishedTheLAN(t *testing.T) {
	t.Parallel()
	p := newPrison(t)
	serve(t, p.peer)
	serve(t, p.host)
	p.want(t, &Lock{})
	p.wants(t, "through the tunnel", p.host, peer4, host4.String())
	p.wants(t, "through the tunnel", p.host, peer6, host6.String())
	p.wants(t, "itself", p.host, netip.MustParseAddr("127.0.0.1"), "127.0.0.1")
	p.wants(t, "itself", p.host, p.host.Addr(), p.host.Addr().String())
	p.wants(t, "the LAN", p.host, p.nas.Addr(), nobody)
	for _, c := range []string{"ping -c1 -W1 172.17.0.2", "ip netns exec " + p.guest + " ping -c1 -W1 172.17.0.1", "ip netns exec " + p.guest + " ping -c1 -W1 " + peer4.String()} {
		if out, err := p.host.Run(strings.Fields(c)...); err != nil {
			t.Errorf("%s: %v: %s", c, err, out)
		}
	}
	p.left(t)

	p.want(t, &Lock{LAN: true})
	p.wants(t, "the LAN, allowed", p.host, p.nas.Addr(), p.host.Addr().String())
	p.wants(t, "the host, from the LAN", p.nas, p.host.Addr(), p.nas.Addr().String())
	p.wants(t, "public addresses of the LAN", p.host, p.nas.Addr6(), nobody)
	p.wants(t, "the internet", p.host, p.web.Addr(), nobody)
	p.left(t)
	p.everythingOut(t)
	for _, line := range p.left(t) {
		if strings.Contains(line, ".53:") || strings.Contains(line, ".853:") || strings.Contains(line, "198.51.100.") || strings.Contains(line, "2001:db8") {
			t.Errorf("leaves: %s", line)
		}
	}
	// A network that calls itself a LAN with public addresses is none.
	p.host.MustRun("ip", "addr", "add", "198.51.100.200/24", "dev", p.host.Device())
	p.want(t, &Lock{LAN: true})
	p.wants(t, "the internet as a LAN", p.host, p.web.Addr(), nobody)
}

func TestAPauseEndsByItself(t *testing.T) {
	t.Parallel()
	p := newPrison(t)
	p.do(t, func() error {
		if err := p.lock.Pause(t.Context(), time.Minute); err != ErrNotLocked {
			t.Errorf("a pause of nothing: %v", err)
		}
		return nil
	})
	p.want(t, &Lock{})
	p.do(t, func() error { return p.lock.Pause(t.Context(), time.Hour) })
	p.wants(t, "paused", p.host, p.web.Addr(), p.home.Addr().String())
	p.do(t, func() error {
		if d := p.lock.Paused(); d <= 0 || d > MaxPause {
			t.Errorf("paused for %s", d)
		}
		return nil
	})
	p.do(t, func() error { return p.lock.Pause(t.Context(), 0) })
	p.wants(t, "no longer", p.host, p.web.Addr(), nobody)
	// What makes the table anew leaves the pause as it is: not longer. On a busy machine neither that nor a call may fit into a
	// short pause, and it has a longer one.
	for pause := 1500 * time.Millisecond; ; pause *= 2 {
		p.do(t, func() error { return p.lock.Pause(t.Context(), pause) })
		end := time.Now().Add(pause)
		p.host.MustRun("nft", "add", "table", "ip", "somebody")
		p.want(t, &Lock{LAN: true})
		calls := 0
		for call(p.host, p.web.Addr(), patience) != nobody {
			calls++
			if time.Since(end) > arrives {
				t.Fatal("the pause does not end")
			}
		}
		early := time.Until(end)
		if calls > 0 && early <= 200*time.Millisecond {
			break
		}
		if pause > arrives/4 {
			t.Fatalf("of a pause of %s %d calls made use, and it ended %s early", pause, calls, early)
		}
		p.want(t, &Lock{})
	}
}

func TestAWishThatCannotBeReadHoldsEverything(t *testing.T) {
	t.Parallel()
	p := newPrison(t)
	if err := os.WriteFile(p.file, []byte(`{"interface":`), 0o600); err != nil {
		t.Fatal(err)
	}
	p.do(t, func() error {
		if locked, err := Boot(p.file); !locked || err == nil {
			t.Errorf("locked: %v, %v", locked, err)
		}
		return nil
	})
	p.wants(t, "a torn file", p.host, p.web.Addr(), nobody)
	p.do(t, func() error { return Unlock(p.file) })
	p.wants(t, "unlocked by hand", p.host, p.web.Addr(), p.home.Addr().String())
	p.do(t, func() error {
		if locked, err := Boot(p.file); locked || err != nil {
			t.Errorf("locked: %v, %v", locked, err)
		}
		return nil
	})
}
