package tunnel

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// nodeEnv makes the test program one end of a tunnel: nothing but it is in the process whose memory is measured.
const nodeEnv = "WARREN_TEST_NODE"

type node struct {
	Key, Peer, Endpoint string
	Self, Other         netip.Prefix
	Calm                time.Duration
	Before              int // how many tunnels are opened and closed before the one that stays
}

// runNode runs until it is told to end.
func runNode(text string) {
	must := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	var n node
	must(json.Unmarshal([]byte(text), &n))
	k, err := key.ParseNode(n.Key)
	must(err)
	peer, err := key.ParseNodePublic(n.Peer)
	must(err)
	open := func() *Tunnel {
		tn, err := New(Config{NodeKey: k, Bind: conn.NewStdNetBind(), Port: 4501, SkipUAPI: true})
		must(err)
		return tn
	}
	for range n.Before {
		open().Close()
	}
	tn := open()
	tn.calm.mu.Lock()
	tn.calm.after = n.Calm
	tn.calm.mu.Unlock()
	must(tn.SetPeers([]Peer{{Key: peer, AllowedIPs: []netip.Prefix{n.Other}, Endpoint: n.Endpoint}}))
	for _, args := range []string{"addr add " + n.Self.String() + " dev warren0", "link set warren0 up", "route add " + n.Other.String() + " dev warren0"} {
		must(exec.Command("ip", strings.Fields(args)...).Run())
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	fmt.Println("ready")
	<-told
	tn.Close()
}

// end is a running node.
type end struct {
	m *lab.Machine
	p *lab.Proc
}

// program gives the test program without the race detector, which has a memory of its own.
var program = sync.OnceValues(func() (string, error) {
	if info, ok := debug.ReadBuildInfo(); !ok || !slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return os.Executable()
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("warren-tunnel-node-%d", os.Getpid()))
	if out, err := exec.Command("go", "test", "-c", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c: %w: %s", err, out)
	}
	return path, nil
})

func removeProgram() {
	built, _ := filepath.Glob(filepath.Join(os.TempDir(), fmt.Sprintf("warren-tunnel-node-%d", os.Getpid())))
	for _, path := range built {
		_ = os.Remove(path)
	}
}

func startNode(t testing.TB, m *lab.Machine, n node) end {
	t.Helper()
	text, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := m.Command(path)
	cmd.Env = append(os.Environ(), nodeEnv+"="+string(text))
	p := m.StartCmd(cmd)
	p.WaitOutput("ready", 10*time.Second)
	return end{m, p}
}

// resident gives the process's memory and its peak, in MB.
func (e end) resident(t testing.TB) (now, peak int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch f[0] {
		case "VmRSS:":
			now, _ = strconv.Atoi(f[1])
		case "VmHWM:":
			peak, _ = strconv.Atoi(f[1])
		}
	}
	return now / 1024, peak / 1024
}

// transfer runs iperf3 from a to b through the tunnel, and gives Mbit/s.
func transfer(t testing.TB, a, b end, to netip.Addr, seconds int, more ...string) float64 {
	t.Helper()
	server := b.m.Start("iperf3", "-s", "-1", "--forceflush", "-B", to.String())
	server.WaitOutput("Server listening", 5*time.Second)
	args := append([]string{"iperf3", "-J", "-c", to.String(), "-t", strconv.Itoa(seconds)}, more...)
	out, err := a.m.Run(args...)
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Wait(5 * time.Second)
	var report struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("iperf3: %v: %s", err, out)
	}
	return report.End.Received.Rate / 1e6
}

func twoNodes(t testing.TB, calm time.Duration) (a, b end, toB netip.Addr) {
	t.Helper()
	lab.NeedRoot(t)
	if _, err := exec.LookPath("iperf3"); err != nil {
		t.Fatal("needs iperf3: make deps installs it")
	}
	n := lab.New(t)
	ma, mb := n.Internet().Host("a"), n.Internet().Host("b")
	ka, kb := key.NewNode(), key.NewNode()
	pa, pb := netip.MustParsePrefix("100.64.0.1/32"), netip.MustParsePrefix("100.64.0.2/32")
	at := func(m *lab.Machine) string { return netip.AddrPortFrom(m.Addr(), 4501).String() }
	a = startNode(t, ma, node{ka.Reveal(), kb.Public().String(), at(mb), pa, pb, calm, 0})
	b = startNode(t, mb, node{kb.Reveal(), ka.Public().String(), at(ma), pb, pa, calm, 0})
	return a, b, pb.Addr()
}

func TestMemoryComesBackAfterAHeavyTransfer(t *testing.T) {
	if testing.Short() {
		t.Skip("moves gigabytes")
	}
	a, b, to := twoNodes(t, time.Second)
	idleA, _ := a.resident(t)
	idleB, _ := b.resident(t)
	const seconds = 4
	cpu := a.p.CPU() + b.p.CPU()
	rate := transfer(t, a, b, to, seconds, "-P", "4")
	cpu = a.p.CPU() + b.p.CPU() - cpu
	_, peakA := a.resident(t)
	_, peakB := b.resident(t)
	const bound = 40 // MB; the daemon around it has another 40
	var nowA, nowB int
	start := time.Now()
	for nowA, nowB = 1<<20, 1<<20; (nowA > bound || nowB > bound) && time.Since(start) < 15*time.Second; {
		<-time.After(50 * time.Millisecond)
		nowA, _ = a.resident(t)
		nowB, _ = b.resident(t)
	}
	t.Logf("idle %d and %d MB; %.0f Mbit/s, %.2f CPU seconds per GB; peak %d and %d MB; %.1f s later %d and %d MB",
		idleA, idleB, rate, cpu.Seconds()/(rate*seconds/8000), peakA, peakB, time.Since(start).Seconds(), nowA, nowB)
	if nowA > bound || nowB > bound {
		t.Errorf("after the transfer %d and %d MB are resident, %d at the most", nowA, nowB, bound)
	}
}

func TestMemoryComesBackAtEachClose(t *testing.T) {
	lab.NeedRoot(t)
	m := lab.New(t).Internet().Host("a")
	self, other := netip.MustParsePrefix("100.64.0.1/32"), netip.MustParsePrefix("100.64.0.2/32")
	e := startNode(t, m, node{key.NewNode().Reveal(), key.NewNode().Public().String(), "192.0.2.1:4501", self, other, time.Second, 20})
	const bound = 40 // MB; one tunnel has less than 20
	if now, peak := e.resident(t); now > bound {
		t.Errorf("after 20 tunnels were closed %d MB are resident, %d at the most (peak %d)", now, bound, peak)
	} else {
		t.Logf("%d MB, peak %d", now, peak)
	}
}
