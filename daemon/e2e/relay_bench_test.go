package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// load is what is sent by each way: the name in the figures, and iperf3's words for it.
type load struct {
	name  string
	words []string
}

// loads are one stream, four, and datagrams that fit into a tunnel's packet. These go at a rate that each way can carry on
// two cores: as fast as the sender can, it takes the processors from all others, and what arrives is an accident.
var loads = []load{
	{"tcp1", nil},
	{"tcp4", []string{"-P", "4"}},
	{"udp", []string{"-u", "-b", "200M", "-l", "1200"}},
}

// passage is one way between two hosts, and what it gave for each load.
type passage struct {
	name    string
	relay   *lab.Proc // whose CPU time counts; nil: there is no relay on the way
	prepare func()
	restore func()

	rates, costs, lost map[string][]float64 // by load: Mbit/s, CPU seconds of the relay per GB, percent
}

// BenchmarkRelay measures two hosts behind two NATs: directly, through the relay over UDP and over WebSocket, and as a
// reference what coturn relays between the same two homes; all in turns. See turnServer.measure for what coturn's figures are.
func BenchmarkRelay(b *testing.B) { benchmarkRelay(b, false) }

// BenchmarkRelaySinglePackets is BenchmarkRelay with the links' offloads off.
func BenchmarkRelaySinglePackets(b *testing.B) { benchmarkRelay(b, true) }

func benchmarkRelay(b *testing.B, single bool) {
	m, alice, bob := twoHomes(b)
	turn := startTURN(m.Net.Internet().Host("turn"))
	if single {
		m.Net.SinglePackets()
	}
	var faults []*lab.Fault
	heal := func() {
		for _, f := range faults {
			f.Heal()
		}
		faults = nil
	}
	through := func(kind ipc.PathKind, transport string) {
		for _, pair := range [][2]*mesh.Node{{alice, bob}, {bob, alice}} {
			if transport != "" {
				lab.Eventually(b, 2*time.Minute, func() error { return onTransport(pair[0], transport) })
			}
			pair[0].WaitPath(pair[1], kind, time.Minute)
		}
	}
	ways := []*passage{
		{name: "direct", prepare: func() { through(ipc.PathDirect, "") }, restore: heal},
		{name: "relay", relay: m.Relay.Proc, restore: heal, prepare: func() {
			faults = append(faults, m.Net.BlockUDP(alice, bob))
			through(ipc.PathRelay, "udp")
		}},
		{name: "websocket", relay: m.Relay.Proc, restore: heal, prepare: func() {
			faults = append(faults, alice.DropUDP(), bob.DropUDP())
			through(ipc.PathRelay, "websocket")
		}},
	}
	bob.Start("iperf3", "-s")
	to := bob.Inner()
	coturn := &passage{name: "coturn", relay: turn.proc}
	b.ResetTimer()
	for range rounds {
		for _, w := range ways {
			w.prepare()
			for _, l := range loads {
				w.measure(b, alice, to, l)
			}
			w.restore()
		}
		turn.measure(b, alice, coturn)
	}
	reportRelay(b, append(ways, coturn))
}

// measure sends a load for a while.
func (w *passage) measure(b *testing.B, from *mesh.Node, to netip.Addr, l load) {
	b.Helper()
	words := append([]string{"iperf3", "-J", "-t", fmt.Sprint(seconds), "-c", to.String()}, l.words...)
	var spent time.Duration
	var r struct {
		End struct {
			Received iperfSum `json:"sum_received"`
		} `json:"end"`
		Error string `json:"error"`
	}
	lab.Eventually(b, 30*time.Second, func() error { // the server may still be busy with the last client
		before := w.cpu()
		out, err := from.Run(words...)
		spent = w.cpu() - before
		r.End.Received.Bytes, r.Error = 0, ""
		if err == nil {
			err = json.Unmarshal([]byte(out), &r)
		}
		if err == nil && r.End.Received.Bytes == 0 {
			err = fmt.Errorf("%s by %s: iperf3 says nothing of use: %s\n%s", l.name, w.name, r.Error, out[:min(len(out), 2000)])
		}
		return err
	})
	got := r.End.Received
	w.add(l.name, got.Rate/1e6, spent.Seconds()/(got.Bytes/1e9), got.Lost)
}

// iperfSum is what iperf3 says of what arrived.
type iperfSum struct {
	Bytes float64 `json:"bytes"`
	Rate  float64 `json:"bits_per_second"`
	Lost  float64 `json:"lost_percent"`
}

func (w *passage) cpu() time.Duration {
	if w.relay == nil {
		return 0
	}
	return w.relay.CPU()
}

func (w *passage) add(load string, rate, cost, lost float64) {
	if w.rates == nil {
		w.rates, w.costs, w.lost = map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	}
	w.rates[load] = append(w.rates[load], rate)
	w.costs[load] = append(w.costs[load], cost)
	w.lost[load] = append(w.lost[load], lost)
}

// turnServer is a running coturn.
type turnServer struct {
	*lab.Machine
	proc *lab.Proc
}

func startTURN(m *lab.Machine) *turnServer {
	dir := m.Dir()
	return &turnServer{m, m.Start("turnserver", "-n", "--no-auth", "-L", m.Addr().String(), "--no-cli", "--no-tls", "--no-dtls",
		"--log-file", "stdout", "--simple-log", "--pidfile", filepath.Join(dir, "pid"), "--db", filepath.Join(dir, "db"))}
}

// turnClients and turnPackets are those of one transfer. coturn's client sends a packet in each of its sessions a
// millisecond, whatever it is told: only many of them fill a relay.
const (
	turnClients = 40
	turnPackets = 2000
)

var (
	turnBytes = regexp.MustCompile(`tot_recv_bytes ~ (\d+)`)
	turnLost  = regexp.MustCompile(`Total lost packets \d+ \(([0-9.]+)%\)`)
)

// measure has coturn's own client send to itself through pairs of sessions. There is no tunnel, no TUN and no TCP on the
// way: the rate is what coturn and its client together can, and only the CPU seconds per GB are to be compared.
func (s *turnServer) measure(b *testing.B, from *mesh.Node, w *passage) {
	b.Helper()
	before, start := w.cpu(), time.Now()
	out, err := from.Run("turnutils_uclient", "-y", "-c", "-z", "0", "-l", "1400",
		"-m", fmt.Sprint(turnClients), "-n", fmt.Sprint(turnPackets), s.Addr().String())
	took, spent := time.Since(start), w.cpu()-before
	found, missed := turnBytes.FindAllStringSubmatch(out, -1), turnLost.FindStringSubmatch(out)
	if err != nil || len(found) == 0 || missed == nil {
		b.Fatalf("coturn's client said nothing of use (%v): %s", err, out)
	}
	bytes, _ := strconv.ParseFloat(found[len(found)-1][1], 64)
	lost, _ := strconv.ParseFloat(missed[1], 64)
	w.add("udp", bytes*8/1e6/took.Seconds(), spent.Seconds()/(bytes/1e9), lost)
}

// reportRelay gives medians, and the ratio of each relayed way to the direct one, round by round.
func reportRelay(b *testing.B, ways []*passage) {
	for _, w := range ways {
		for _, l := range loads {
			if len(w.rates[l.name]) == 0 {
				continue
			}
			b.ReportMetric(median(w.rates[l.name]), w.name+"-"+l.name+"-Mbit/s")
			if l.name == "udp" {
				b.ReportMetric(median(w.lost[l.name]), w.name+"-udp-%lost")
			}
			if w.relay == nil {
				continue
			}
			b.ReportMetric(median(w.costs[l.name]), w.name+"-"+l.name+"-cpu-s/GB")
			if direct := ways[0].rates[l.name]; w.name != "coturn" {
				var ratios []float64
				for i, rate := range w.rates[l.name] {
					ratios = append(ratios, rate/direct[i])
				}
				b.ReportMetric(median(ratios), w.name+"/direct-"+l.name)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	load, _ := os.ReadFile("/proc/loadavg")
	b.Logf("load of the host: %s", strings.TrimSpace(string(load)))
}
