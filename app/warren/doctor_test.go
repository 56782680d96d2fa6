package main

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/app/internal/fake"
	"github.com/warren-mesh/warren/ipc"
)

var healthy = host{tun: true, nft: true, root: true, clock: clock{now: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), synced: true}}

// sick gives what is not well, by check and level.
func sick(all []finding) (found []string) {
	for _, f := range all {
		if f.Level != levelOK {
			found = append(found, f.Check+" "+f.Level)
			if f.Fix == "" {
				found = append(found, f.Check+" has no remedy")
			}
		}
	}
	return found
}

func TestEachFaultOfAHostIsFoundWithItsRemedy(t *testing.T) {
	prefix := netip.MustParsePrefix
	running := fake.Running()
	running.Self.Interface, running.Self.Port = "warren0", 41641
	for name, c := range map[string]struct {
		change func(h *host)
		s      *ipc.Status
		want   []string
	}{
		"nothing":         {func(*host) {}, &running, nil},
		"no TUN":          {func(h *host) { h.tun = false }, nil, []string{"tun problem"}},
		"no nftables":     {func(h *host) { h.nft = false }, nil, []string{"nftables notice"}},
		"a stranger":      {func(h *host) { h.root = false }, nil, []string{"permissions notice"}},
		"an old clock":    {func(h *host) { h.clock.now = time.Unix(0, 0) }, nil, []string{"time problem"}},
		"a free clock":    {func(h *host) { h.clock.synced = false }, nil, []string{"time notice"}},
		"left-over names": {func(h *host) { h.marked = true }, nil, []string{"dns problem"}},
		"names in use":    {func(h *host) { h.marked = true }, &running, nil},
		"ufw":             {func(h *host) { h.ufw = true }, &running, []string{"firewall notice"}},
		"firewalld":       {func(h *host) { h.firewalld = true }, &running, []string{"firewall notice"}},
		"ufw, told":       {func(h *host) { h.ufw, h.letIn = true, []portRange{{41000, 42000}} }, &running, nil},
		"ufw, of others":  {func(h *host) { h.ufw, h.letIn = true, []portRange{{41642, 42000}} }, &running, []string{"firewall notice"}},
		"another mesh":    {func(h *host) { h.links = []link{{name: "tailscale0", addrs: []netip.Prefix{prefix("100.64.0.0/10")}}} }, nil, []string{"vpn problem"}},
		"a whole VPN":     {func(h *host) { h.links = []link{{name: "tun0", all: true, mtu: 1400}} }, nil, []string{"vpn notice"}},
		"a narrow link":   {func(h *host) { h.links = []link{{name: "eth0", all: true, mtu: 1300}} }, nil, []string{"mtu problem"}},
		"ourselves":       {func(h *host) { h.links = []link{{name: "warren0", addrs: []netip.Prefix{unassigned}}} }, &running, nil},
		"a LAN": {func(h *host) {
			h.links = []link{{name: "eth0", all: true, mtu: 1500, addrs: []netip.Prefix{prefix("192.168.1.0/24")}}}
		}, &running, nil},
	} {
		h := healthy
		c.change(&h)
		if got := sick(examineHost(h, c.s)); !slices.Equal(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
}

func TestWhatTheDaemonSaysIsAFinding(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *ipc.Status)
		want   []string
	}{
		"nothing": {func(*ipc.Status) {}, nil},
		"version": {func(s *ipc.Status) { s.Version = "old" }, []string{"daemon notice"}},
		"down":    {func(s *ipc.Status) { s.State = ipc.StateDown }, []string{"network notice"}},
		"server":  {func(s *ipc.Status) { s.Coord = ipc.Link{Error: "refused"} }, []string{"server problem"}},
		"relays": {func(s *ipc.Status) {
			s.Relays = []ipc.Relay{{Name: "fra"}, {Name: "box", Machine: true, Link: ipc.Link{Connected: true}}}
		}, []string{"relay problem"}},
		"no relay":    {func(s *ipc.Status) { s.Relays = nil }, []string{"relay notice"}},
		"contested":   {func(s *ipc.Status) { s.DNS = &ipc.DNS{Mode: "resolv.conf", Contested: 2} }, []string{"dns problem"}},
		"could do":    {func(s *ipc.Status) { s.DNS = &ipc.DNS{Mode: "resolv.conf", Advice: "install it"} }, []string{"dns notice"}},
		"its problem": {func(s *ipc.Status) { s.Problems = []ipc.Problem{{Code: "x", Text: "t", Fix: "f"}} }, []string{"x problem"}},
		"its notice":  {func(s *ipc.Status) { s.Problems = []ipc.Problem{{Code: "x", Fix: "f", Level: ipc.ProblemNotice}} }, []string{"x notice"}},
	} {
		s := fake.Running()
		s.Version, s.Coord, s.Problems, s.Relays = version, ipc.Link{Connected: true}, nil, []ipc.Relay{{Name: "fra", Link: ipc.Link{Connected: true}}}
		c.change(&s)
		if got := sick(examineDaemon(&s, nil)); !slices.Equal(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
	if got := sick(examineDaemon(nil, &ipc.Error{Code: ipc.CodeNotRunning, Message: "m", Fix: "f"})); !slices.Equal(got, []string{"daemon problem"}) {
		t.Errorf("without a daemon: %q", got)
	}
}

func TestTheHostIsReadAsItIs(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"etc/resolv.conf":        "# BEGIN warren: the lines\nnameserver 100.127.255.254\n# END warren\n",
		"etc/ufw/ufw.conf":       "# x\nENABLED=yes\n",
		"sys/module/nf_tables/x": "",
		"etc/ufw/user.rules": "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n### tuple ### allow udp 41641 0.0.0.0/0 any 0.0.0.0/0 in comment=7761\n" +
			"### tuple ### deny udp 50 0.0.0.0/0 any 0.0.0.0/0 in\n### tuple ### allow udp 60 0.0.0.0/0 any 192.0.2.1 in\n",
		"etc/ufw/user6.rules":            "### tuple ### allow any 3478:3479,9 ::/0 any ::/0 in\n",
		"etc/firewalld/zones/public.xml": "<zone>\n<port protocol=\"udp\" port=\"41642\"/>\n<port port=\"80\" protocol=\"tcp\"/><port port=\"70-71\" protocol=\"udp\"/></zone>\n",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := look(dir, healthy.clock.now)
	if h.tun || !h.nft || !h.marked || !h.ufw || h.firewalld {
		t.Errorf("read %+v", h)
	}
	if want := []portRange{{41641, 41641}, {3478, 3479}, {9, 9}, {41642, 41642}, {70, 71}}; !slices.Equal(h.letIn, want) {
		t.Errorf("let in: got %v, want %v", h.letIn, want)
	}
}

// TestWhatIsInTheWayIsFoundOnARealHost has the interfaces and routes that other VPNs make, in tables of their own where these
// use such, and types what doctor says against what has a remedy of one line.
func TestWhatIsInTheWayIsFoundOnARealHost(t *testing.T) {
	if os.Geteuid() != 0 {
		const why = "needs root, for a network of its own"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	runtime.LockOSThread() // it ends with the thread, which is never unlocked
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	sh := func(script string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "sh", "-ec", script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	running := fake.Running()
	running.Self.Interface = "warren0"
	running.Network.IPv4, running.Network.IPv6 = unassigned, netip.MustParsePrefix("fd7a:1::/48")
	look := func() (found []string) {
		for _, f := range examineLinks(links(), &running) {
			if f.Level != levelOK {
				found = append(found, f.Check+" "+f.Level+": "+f.Text)
			}
		}
		return found
	}
	sees := func(what string, want ...string) {
		t.Helper()
		found := look()
		if len(found) != len(want) {
			t.Errorf("%s: found %q", what, found)
			return
		}
		for i := range want {
			if !strings.HasPrefix(found[i], want[i]) {
				t.Errorf("%s: found %q, want %q", what, found[i], want[i])
			}
		}
	}
	sh(`ip link set lo up
ip link add eth0 type veth peer name far0; ip address add 192.168.7.2/24 dev eth0; ip link set eth0 up; ip link set far0 up; ip route add default via 192.168.7.1
ip tuntap add warren0 mode tun; ip link set warren0 up; ip route add 100.64.0.0/10 dev warren0; ip route add default dev warren0 table 7`)
	sees("a host with us alone")
	sh("ip tuntap add tailscale0 mode tun; ip link set tailscale0 up; ip route add 100.101.102.103/32 dev tailscale0 table 52")
	sees("a mesh with a table of its own", "vpn problem: tailscale0 leads to 100.101.102.103/32")
	sh("ip link delete tailscale0; ip tuntap add wt0 mode tun; ip address add 100.92.1.2/32 dev wt0; ip link set wt0 up")
	sees("a mesh by its address", "vpn problem: wt0 leads to 100.92.1.2/32")
	sh("ip link delete wt0; ip tuntap add wg0 mode tun; ip link set wg0 up; ip route add default dev wg0 table 51820")
	sees("all through a tunnel, as wg-quick has it", "vpn notice: wg0 takes all")
	sh("ip route flush table 51820; ip -6 route add ::/0 dev wg0 table 51820")
	sees("all of IPv6", "vpn notice: wg0 takes all")
	sh("ip link delete wg0; ip -6 address add fd7a:1::7/64 dev eth0 nodad")
	sees("our addresses on the LAN", "vpn problem: eth0 leads to fd7a:1::/64")
	sh("ip -6 address del fd7a:1::7/64 dev eth0; ip link set eth0 mtu 1300")
	sees("a narrow link", "mtu problem: eth0 takes packets of at most 1300")
	for _, f := range examineLinks(links(), &running) {
		if _, command, ok := strings.Cut(f.Fix, "sudo "); ok {
			sh(command)
		}
	}
	sees("after the remedy")
}
