package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

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
		"contested":   {func(s *ipc.Status) { s.DNS = &ipc.DNS{Mode: "resolv.conf", Contested: 2} }, []string{"dns problem"}},
		"could do":    {func(s *ipc.Status) { s.DNS = &ipc.DNS{Mode: "resolv.conf", Advice: "install it"} }, []string{"dns notice"}},
		"its problem": {func(s *ipc.Status) { s.Problems = []ipc.Problem{{Code: "x", Text: "t", Fix: "f"}} }, []string{"x problem"}},
		"its notice":  {func(s *ipc.Status) { s.Problems = []ipc.Problem{{Code: "x", Fix: "f", Level: ipc.ProblemNotice}} }, []string{"x notice"}},
	} {
		s := fake.Running()
		s.Version, s.Coord, s.Problems, s.Relays = version, ipc.Link{Connected: true}, nil, nil
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
		"etc/resolv.conf":            "# BEGIN warren: the lines\nnameserver 100.127.255.254\n# END warren\n",
		"etc/ufw/ufw.conf":           "# x\nENABLED=yes\n",
		"sys/module/nf_tables/x":     "",
		"sys/class/net/eth0/mtu":     "1300\n",
		"sys/class/net/tun0/mtu":     "1400\n",
		"sys/class/net/tailscale0/x": "",
		"proc/net/route": "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
			"eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
			"eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
			"tun0\t00000080\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n" +
			"tailscale0\t00004064\t00000000\t0001\t0\t0\t0\t0000C0FF\t0\t0\t0\n" +
			"bad\tzz\t0\t0\t0\t0\t0\t0\n",
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
	want := []link{
		{name: "eth0", mtu: 1300, all: true, addrs: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}},
		{name: "tailscale0", addrs: []netip.Prefix{unassigned}},
		{name: "tun0", mtu: 1400, all: true},
	}
	if !slices.EqualFunc(h.links, want, func(a, b link) bool {
		return a.name == b.name && a.mtu == b.mtu && a.all == b.all && slices.Equal(a.addrs, b.addrs)
	}) {
		t.Errorf("links: got %+v, want %+v", h.links, want)
	}
}
