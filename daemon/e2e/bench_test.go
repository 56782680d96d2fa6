package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// rounds is how often each way is measured, in turn with the others: these figures are medians.
const rounds = 5

// seconds is how long one transfer lasts.
const seconds = 3

// way is one way for a TCP stream from one host to the other.
type way struct {
	name    string
	to      netip.Addr
	procs   []*lab.Proc // whose CPU time it costs
	prepare func()      // before each transfer
	restore func()      // and after it

	rates, costs []float64 // Mbit/s, CPU seconds per GB
}

// BenchmarkTCP measures one TCP stream between two hosts behind two NATs, by every way there is, interleaved.
func BenchmarkTCP(b *testing.B) { benchmarkTCP(b, false) }

// BenchmarkTCPSinglePackets is BenchmarkTCP with the links' offloads off: packets arrive one by one, as from a
// network card without them.
func BenchmarkTCPSinglePackets(b *testing.B) { benchmarkTCP(b, true) }

func benchmarkTCP(b *testing.B, single bool) {
	m, alice, bob := twoHomes(b)
	plain := newPlain(b, m, alice, bob)
	if single {
		m.Net.SinglePackets()
	}
	bare := m.Net.Internet().Host("carol")
	daemons := []*lab.Proc{alice.Daemon, bob.Daemon}
	through := func(kind ipc.PathKind) func() {
		return func() { alice.WaitPath(bob, kind, time.Minute); bob.WaitPath(alice, kind, time.Minute) }
	}
	var faults []*lab.Fault
	heal := func() {
		for _, f := range faults {
			f.Heal()
		}
		faults = nil
	}
	ways := []*way{
		{name: "none", to: bare.Addr()},
		{name: "plain", to: plain.to, procs: plain.procs},
		{name: "direct", to: bob.Inner(), procs: daemons, prepare: through(ipc.PathDirect)},
		{
			name: "relay", to: bob.Inner(), procs: append([]*lab.Proc{m.Relay.Proc}, daemons...), restore: heal,
			prepare: func() { faults = append(faults, m.Net.BlockUDP(alice, bob)); through(ipc.PathRelay)() },
		},
		{
			name: "websocket", to: bob.Inner(), procs: append([]*lab.Proc{m.Relay.Proc}, daemons...), restore: heal,
			prepare: func() {
				faults = append(faults, alice.DropUDP(), bob.DropUDP())
				for _, n := range []*mesh.Node{alice, bob} {
					lab.Eventually(b, 2*time.Minute, func() error { return onTransport(n, "websocket") })
				}
				through(ipc.PathRelay)()
			},
		},
	}
	bob.Start("iperf3", "-s")
	bare.Start("iperf3", "-s")
	b.ResetTimer()
	for range rounds {
		for _, w := range ways {
			w.measure(b, alice)
		}
	}
	report(b, ways)
	peak := mebibytes(alice.Daemon.PeakRSS())
	<-time.After(calm)
	b.ReportMetric(peak, "MiB-peak")
	b.ReportMetric(mebibytes(alice.Daemon.RSS()), "MiB-calm")
}

// calm is how long after the transfers the daemon's memory is looked at again.
const calm = 6 * time.Second

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

func onTransport(n *mesh.Node, transport string) error {
	for _, r := range n.Status().Relays {
		if r.Connected && r.Transport == transport {
			return nil
		}
	}
	return fmt.Errorf("%s has no relay over %s: %+v", n.Name(), transport, n.Status().Relays)
}

func (w *way) measure(b *testing.B, from *mesh.Node) {
	b.Helper()
	if w.prepare != nil {
		w.prepare()
	}
	before := cpu(w.procs)
	var out string
	lab.Eventually(b, 30*time.Second, func() (err error) { // the server may still be busy with the last client
		out, err = from.Run("iperf3", "-J", "-t", fmt.Sprint(seconds), "-c", w.to.String())
		return err
	})
	spent := cpu(w.procs) - before
	if w.restore != nil {
		w.restore()
	}
	var r struct {
		End struct {
			Received struct {
				Bytes float64 `json:"bytes"`
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.End.Received.Bytes == 0 {
		b.Fatalf("iperf3 said nothing of use (%v): %s", err, out)
	}
	w.rates = append(w.rates, r.End.Received.Rate/1e6)
	w.costs = append(w.costs, spent.Seconds()/(r.End.Received.Bytes/1e9))
}

func cpu(procs []*lab.Proc) (all time.Duration) {
	for _, p := range procs {
		all += p.CPU()
	}
	return all
}

func median(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	return xs[len(xs)/2]
}

// report gives each way's medians, and the ratio of Warren's ways to their references, round by round.
func report(b *testing.B, ways []*way) {
	byName := map[string]*way{}
	for _, w := range ways {
		byName[w.name] = w
		b.ReportMetric(median(w.rates), w.name+"-Mbit/s")
		if len(w.procs) > 0 {
			b.ReportMetric(median(w.costs), w.name+"-cpu-s/GB")
		}
	}
	for _, pair := range [][2]string{{"direct", "plain"}, {"relay", "direct"}, {"websocket", "direct"}} {
		var ratios []float64
		for i, rate := range byName[pair[0]].rates {
			ratios = append(ratios, rate/byName[pair[1]].rates[i])
		}
		b.ReportMetric(median(ratios), pair[0]+"/"+pair[1])
	}
	b.ReportMetric(0, "ns/op")
}

// plainWireGuard is the reference: wireguard-go's own program on the same two hosts, at the MTU that the path carries for both.
type plainWireGuard struct {
	to    netip.Addr
	procs []*lab.Proc
}

func newPlain(b *testing.B, m *mesh.Mesh, alice, bob *mesh.Node) plainWireGuard {
	b.Helper()
	program := filepath.Join(b.TempDir(), "wireguard-go")
	if out, err := exec.Command("go", "build", "-o", program, "golang.zx2c4.com/wireguard").CombinedOutput(); err != nil {
		b.Fatalf("could not build wireguard-go: %v\n%s", err, out)
	}
	// Both know the other's router and send at once; the routers keep the port. So the two punch their way through.
	const port = "7777"
	keys := [2]key.Node{key.NewNode(), key.NewNode()}
	inner := [2]string{"10.77.0.1", "10.77.0.2"}
	p := plainWireGuard{to: netip.MustParseAddr(inner[1])}
	for i, n := range []*mesh.Node{alice, bob} {
		dev := "pl" + strings.TrimPrefix(n.Interface(), "wa")
		cmd := n.Command(program, "-f", dev)
		cmd.Env = append(os.Environ(), "LOG_LEVEL=error")
		proc := n.StartCmd(cmd)
		b.Cleanup(func() { _ = proc.Stop() }) // which takes the wg tool's socket away
		p.procs = append(p.procs, proc)
		lab.Eventually(b, 10*time.Second, func() error { _, err := n.Run("wg", "show", dev); return err })
		secret := keys[i].Bytes()
		peer := keys[1-i].Public()
		other := []*mesh.Node{bob, alice}[i].Home.Machine.Addr()
		conf := "[Interface]\nPrivateKey = " + key.NodePublic(secret).WireGuard() + "\nListenPort = " + port + "\n" +
			"[Peer]\nPublicKey = " + peer.WireGuard() + "\nAllowedIPs = " + inner[1-i] + "/32\n" +
			"Endpoint = " + other.String() + ":" + port + "\nPersistentKeepalive = 25\n"
		n.MustRun("wg", "setconf", dev, mesh.Write(b, n.Machine, "plain.conf", conf))
		n.MustRun("ip", "addr", "add", inner[i]+"/24", "dev", dev)
		n.MustRun("ip", "link", "set", dev, "up", "mtu", "1420")
	}
	lab.Eventually(b, 30*time.Second, func() error { return alice.PingOnce(p.to) })
	return p
}

// BenchmarkUp measures from warren up with a pre-auth key to the first answered ping of a machine that is there
// already, and from there to the direct path; and the memory of the daemon that idles then.
func BenchmarkUp(b *testing.B) {
	m, _, bob := twoHomes(b)
	to := bob.Inner()
	var pings, directs, idle []float64
	b.ResetTimer()
	for i := range rounds {
		name := fmt.Sprintf("new%d", i)
		n := m.Behind(lab.EasyNAT, name)
		key := m.Coord.Key()
		started := time.Now()
		n.Up(key)
		for n.PingQuick(to) != nil && time.Since(started) < 30*time.Second {
		}
		answered := time.Now()
		for {
			p, err := n.Peer(bob)
			if err == nil && p.Path.Kind == ipc.PathDirect {
				break
			}
			if time.Since(answered) > 30*time.Second {
				b.Fatalf("no direct path after 30 s: %+v, %v", p, err)
			}
			_ = n.PingQuick(to)
		}
		pings = append(pings, answered.Sub(started).Seconds())
		directs = append(directs, time.Since(answered).Seconds())
		idle = append(idle, mebibytes(n.Daemon.RSS()))
	}
	b.ReportMetric(median(pings), "s-to-ping")
	b.ReportMetric(slices.Max(pings), "s-to-ping-worst")
	b.ReportMetric(median(directs), "s-to-direct")
	b.ReportMetric(slices.Max(directs), "s-to-direct-worst")
	b.ReportMetric(median(idle), "MiB-idle")
	b.ReportMetric(0, "ns/op")
	b.Log(strings.TrimSpace(fmt.Sprintln("pings", pings, "directs", directs)))
}
