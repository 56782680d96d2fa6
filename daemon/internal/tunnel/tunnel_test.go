package tunnel

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/tun"
	"pgregory.net/rapid"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/internal/alone"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(nodeEnv); role != "" {
		runNode(role)
		return
	}
	alone.Enter()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		removeProgram()
		os.Exit(code)
	}))
}

func newTunnel(t testing.TB, cfg Config) *Tunnel {
	t.Helper()
	lab.NeedRoot(t)
	if cfg.NodeKey.IsZero() {
		cfg.NodeKey = key.NewNode()
	}
	if cfg.Bind == nil {
		cfg.Bind = conn.NewStdNetBind()
	}
	tn, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tn.Close)
	return tn
}

// run runs a command: what people would look with.
func run(t testing.TB, args string) string {
	t.Helper()
	words := strings.Fields(args)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", args, err, out)
	}
	return string(out)
}

func set(t testing.TB, tn *Tunnel, peers ...Peer) {
	t.Helper()
	if err := tn.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
}

func stats(t testing.TB, tn *Tunnel) map[key.NodePublic]PeerStats {
	t.Helper()
	s, err := tn.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func prefixes(texts ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, text := range texts {
		ps = append(ps, netip.MustParsePrefix(text))
	}
	return ps
}

func TestTheInterfaceComesAndGoesWithTheTunnel(t *testing.T) {
	tn := newTunnel(t, Config{})
	if out := run(t, "ip -d link show warren0"); !strings.Contains(out, "mtu 1280") || !strings.Contains(out, "vnet_hdr on") {
		t.Errorf("got %s", out)
	}
	tn.Close()
	tn.Close()
	select {
	case <-tn.Done():
	default:
		t.Error("it is not done")
	}
	if _, err := net.InterfaceByName("warren0"); err == nil {
		t.Error("the interface is still there")
	}
	if err := tn.SetPeers(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("SetPeers after Close: %v", err)
	}
}

func TestTheTunnelEndsWhenItsInterfaceIsDeleted(t *testing.T) {
	tn := newTunnel(t, Config{})
	run(t, "ip link set warren0 up")
	run(t, "ip link set warren0 down") // which is no reason to end, nor to close the port
	run(t, "ip link set warren0 up")
	run(t, "ip link del warren0")
	select {
	case <-tn.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on")
	}
}

func TestTheWgToolSeesTheTunnel(t *testing.T) {
	if _, err := exec.LookPath("wg"); err != nil {
		t.Fatal("needs the wg tool: make deps installs it")
	}
	k, peer := key.NewNode(), key.NewNode().Public()
	tn := newTunnel(t, Config{NodeKey: k})
	set(t, tn, Peer{Key: peer, AllowedIPs: prefixes("100.64.0.2/32", "fd00::2/128"), Endpoint: "127.0.0.1:9"})
	out := run(t, "wg show warren0")
	for _, want := range []string{k.Public().WireGuard(), peer.WireGuard(), "100.64.0.2/32", "fd00::2/128", "127.0.0.1:9"} {
		if !strings.Contains(out, want) {
			t.Errorf("wg does not show %s:\n%s", want, out)
		}
	}
	if info, err := os.Stat(SocketDir + "/warren0.sock"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	// It shows, and changes nothing.
	if said, err := exec.Command("wg", "set", "warren0", "peer", peer.WireGuard(), "remove").CombinedOutput(); err == nil {
		t.Errorf("wg changed the tunnel: %s", said)
	}
	if again := run(t, "wg show warren0"); again != out {
		t.Errorf("got\n%s\nwant\n%s", again, out)
	}
	tn.Close()
	if _, err := os.Stat(SocketDir + "/warren0.sock"); err == nil {
		t.Error("the socket is still there")
	}
}

func TestASocketLeftByAKilledDaemonIsTakenOver(t *testing.T) {
	lab.NeedRoot(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: SocketDir + "/warren0.sock", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	newTunnel(t, Config{})
	if _, err := exec.LookPath("wg"); err == nil {
		run(t, "wg show warren0")
	}
}

func TestWhatStandsInTheWayIsNamed(t *testing.T) {
	tn := newTunnel(t, Config{Name: "taken0"})
	_, err := New(Config{Name: "taken0", NodeKey: key.NewNode(), Bind: conn.NewStdNetBind()})
	if err == nil || !strings.Contains(err.Error(), "this very process") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a taken name: %v", err)
	}
	tn.Close()
	run(t, "ip link add taken0 type bridge")
	defer run(t, "ip link del taken0")
	if _, err := New(Config{Name: "taken0", NodeKey: key.NewNode(), Bind: conn.NewStdNetBind()}); err == nil || !strings.Contains(err.Error(), "ip link del taken0") {
		t.Errorf("a bridge's name: %v", err)
	}
	used, err := net.ListenPacket("udp", "0.0.0.0:4477")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	if _, err := New(Config{NodeKey: key.NewNode(), Bind: conn.NewStdNetBind(), Port: 4477}); err == nil || !strings.Contains(err.Error(), "UDP port 4477") {
		t.Errorf("a used port: %v", err)
	}
	if _, err := net.InterfaceByName("warren0"); err == nil {
		t.Error("the failure left an interface")
	}
	for err, want := range map[error]string{
		unix.EPERM: "CAP_NET_ADMIN", unix.EBUSY: "in use", unix.ENODEV: "modprobe tun", os.ErrNotExist: "modprobe tun", unix.EINVAL: "cannot make",
	} {
		if got := explainTUN("warren0", err); !strings.Contains(got.Error(), want) || !errors.Is(got, err) {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestSessionsOutliveChangesOfOtherPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		if err := a.Wake(b.self); err != nil {
			t.Fatal(err)
		}
		handshake(t, a, b, time.Time{})
		was := stats(t, a)[b.self].LastHandshake
		p := Peer{Key: b.self, AllowedIPs: prefixes("100.64.0.2/32"), Endpoint: "192.0.2.2:4502"}
		other := Peer{Key: key.NewNode().Public(), AllowedIPs: prefixes("100.64.0.3/32")}
		set(t, a, p, other)
		keep(a)
		p.AllowedIPs = prefixes("100.64.0.2/32", "10.1.0.0/16")
		set(t, a, p)
		if err := a.Update([]Peer{other}, nil); err != nil {
			t.Fatal(err)
		}
		keep(a)
		if err := a.SetPort(4503); err != nil {
			t.Fatal(err)
		}
		if now := stats(t, a)[b.self].LastHandshake; !now.Equal(was) {
			t.Errorf("the last handshake was %v, and is %v", was, now)
		}
	})
}

// TestTheDeviceHasWhatWasSet holds the differences that are sent against a plain map, through the real device.
func TestTheDeviceHasWhatWasSet(t *testing.T) {
	tn := newTunnel(t, Config{SkipUAPI: true})
	keys := make([]key.NodePublic, 4)
	for i := range keys {
		keys[i] = key.NewNode().Public()
	}
	pool := prefixes("100.64.0.1/32", "100.64.0.0/24", "fd00::1/128", "fd00::/64", "10.0.0.0/8", "0.0.0.0/0")
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(rt *rapid.T) []Peer {
			var peers []Peer
			owner := rapid.SliceOfN(rapid.IntRange(-1, len(keys)-1), len(pool), len(pool)).Draw(rt, "owners")
			for i, k := range keys {
				if !rapid.Bool().Draw(rt, "wished") {
					continue
				}
				p := Peer{Key: k, Endpoint: rapid.SampledFrom([]string{"", "127.0.0.1:1", "127.0.0.1:2"}).Draw(rt, "endpoint")}
				for j, a := range pool {
					if owner[j] == i {
						p.AllowedIPs = append(p.AllowedIPs, a)
					}
				}
				peers = append(peers, p)
			}
			return peers
		}
		want := make(map[key.NodePublic][]netip.Prefix)
		if err := tn.SetPeers(nil); err != nil {
			rt.Fatal(err)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"set": func(rt *rapid.T) {
				peers := draw(rt)
				clear(want)
				for _, p := range peers {
					want[p.Key] = p.AllowedIPs
				}
				if err := tn.SetPeers(peers); err != nil {
					rt.Fatal(err)
				}
			},
			"update": func(rt *rapid.T) {
				peers := draw(rt)
				gone := rapid.SliceOfDistinct(rapid.SampledFrom(keys), rapid.ID[key.NodePublic]).Draw(rt, "gone")
				if err := tn.Update(peers, gone); err != nil {
					rt.Fatal(err)
				}
				for _, k := range gone {
					delete(want, k)
				}
				for _, p := range peers {
					for k := range want {
						want[k] = without(slices.SortedFunc(slices.Values(want[k]), netip.Prefix.Compare), slices.SortedFunc(slices.Values(p.AllowedIPs), netip.Prefix.Compare))
					}
				}
				for _, p := range peers {
					want[p.Key] = p.AllowedIPs
				}
			},
			"": func(rt *rapid.T) {
				have, _, err := tn.read()
				if err != nil {
					rt.Fatal(err)
				}
				if !maps.EqualFunc(have, want, func(p *Peer, w []netip.Prefix) bool {
					return slices.Equal(p.AllowedIPs, slices.SortedFunc(slices.Values(w), netip.Prefix.Compare))
				}) {
					rt.Fatalf("the device has %v, want %v", have, want)
				}
				for k, p := range tn.peers {
					if !slices.Equal(p.AllowedIPs, have[k].AllowedIPs) {
						rt.Fatalf("we believe that %s has %v, the device has %v", short(k), p.AllowedIPs, have[k].AllowedIPs)
					}
				}
			},
		})
	})
}

func TestImpossiblePeersAreRefusedBeforeAnythingChanges(t *testing.T) {
	tn := newTunnel(t, Config{SkipUAPI: true})
	a, b := key.NewNode().Public(), key.NewNode().Public()
	set(t, tn, Peer{Key: a, AllowedIPs: prefixes("100.64.0.1/32")})
	for name, peers := range map[string][]Peer{
		"ourselves":        {{Key: tn.self}},
		"no key":           {{}},
		"one key twice":    {{Key: b}, {Key: b}},
		"one address":      {{Key: a, AllowedIPs: prefixes("100.64.0.1/32")}, {Key: b, AllowedIPs: prefixes("::ffff:100.64.0.1/128")}},
		"no prefix":        {{Key: b, AllowedIPs: []netip.Prefix{{}}}},
		"another protocol": {{Key: b, Endpoint: "127.0.0.1:1\nprivate_key=00"}},
	} {
		if err := tn.SetPeers(peers); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	if s := stats(t, tn); len(s) != 1 {
		t.Errorf("the device has %v", s)
	}
	if err := tn.SetPeers([]Peer{{Key: b, Endpoint: "nonsense"}}); err == nil {
		t.Error("an endpoint that the Bind cannot read was taken")
	}
	set(t, tn, Peer{Key: b, Endpoint: "127.0.0.1:7"})
	if s := stats(t, tn); len(s) != 1 {
		t.Errorf("after the failure the device has %v", s)
	}
}

// lines is a log that the device's goroutines may still write to after Close.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTheLogShowsNoKey(t *testing.T) {
	var log lines
	k, peer := key.NewNode(), key.NewNode()
	tn := newTunnel(t, Config{NodeKey: k, SkipUAPI: true, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	set(t, tn, Peer{Key: peer.Public(), Endpoint: "127.0.0.1:9"})
	_ = tn.Wake(peer.Public())
	logger(tn.log).Errorf("keys %x %s", peer.Bytes(), peer.Public().WireGuard())
	tn.Close()
	for _, whole := range []string{strings.Split(k.Reveal(), ":")[1], fmt.Sprintf("%x", peer.Public()), fmt.Sprintf("%x", peer.Bytes()), peer.Public().WireGuard()} {
		if strings.Contains(log.String(), whole) {
			t.Errorf("the log shows %s", whole)
		}
	}
	if !strings.Contains(log.String(), "from=wireguard") {
		t.Error("the log is empty")
	}
}

func TestWhatTheDeviceSaysIsReadOrRefused(t *testing.T) {
	const k = "00000000000000000000000000000000000000000000000000000000000000aa"
	peers, stats, err := parse(strings.NewReader("private_key=ff\nlisten_port=1\nnews=1\npublic_key=" + k +
		"\nnews=2\nlast_handshake_time_sec=5\nlast_handshake_time_nsec=7\nrx_bytes=1\ntx_bytes=2\nallowed_ip=10.0.0.0/8\n\nerrno=0\n"))
	if err != nil || len(peers) != 1 {
		t.Fatalf("%v, %v", peers, err)
	}
	for _, s := range stats {
		if s != (PeerStats{LastHandshake: time.Unix(5, 7), Rx: 1, Tx: 2}) {
			t.Errorf("got %+v", s)
		}
	}
	for _, bad := range []string{"public_key=zz\n", "public_key=aa\n", "public_key=" + k + "\nrx_bytes=-1\n", "public_key=" + k + "\nallowed_ip=x\n"} {
		if _, _, err := parse(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func BenchmarkStatsOf1000Peers(b *testing.B) {
	tn := newTunnel(b, Config{SkipUAPI: true})
	peers := make([]Peer, 1000)
	for i := range peers {
		peers[i] = Peer{Key: key.NewNode().Public(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}), 32)}}
	}
	set(b, tn, peers...)
	b.Run("Stats", func(b *testing.B) {
		for b.Loop() {
			stats(b, tn)
		}
	})
	b.Run("SetPeers", func(b *testing.B) {
		for b.Loop() {
			set(b, tn, peers...)
		}
	})
	b.Run("UpdateOne", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			p := peers[0]
			p.Endpoint = fmt.Sprintf("127.0.0.1:%d", 1+i%2)
			if err := tn.Update([]Peer{p}, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// count must cost nothing beside a batch.
func TestCountingAllocatesNothing(t *testing.T) {
	c := newCalm(slog.New(slog.DiscardHandler))
	w := &counted{Device: nothing{}, calm: c}
	if n := testing.AllocsPerRun(1000, func() { _, _ = w.Read(nil, nil, 0) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	c.stop()
}

type nothing struct{ tun.Device }

func (nothing) Read([][]byte, []int, int) (int, error) { return 1, nil }
