package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

// BenchmarkExit measures one TCP stream from a client behind a NAT to a host on the internet: by the host's own way, and
// through an exit node, in turns.
func BenchmarkExit(b *testing.B) { benchmarkExit(b, false) }

// BenchmarkExitSinglePackets is BenchmarkExit with the links' offloads off.
func BenchmarkExitSinglePackets(b *testing.B) { benchmarkExit(b, true) }

func benchmarkExit(b *testing.B, single bool) {
	n := lab.New(b)
	m := mesh.Start(b, n, mesh.Build(b))
	web := n.Internet().Host("web")
	alice := m.Behind(lab.EasyNAT, "alice")
	exit := m.Node(n.Internet().Host("exit"))
	key := m.Coord.Key("--reusable")
	for _, node := range []*mesh.Node{exit, alice} {
		node.Up(key)
	}
	exit.MustWarren("set", "--advertise-exit-node")
	approve(m, exit, "--approve-exit-node")
	lab.Eventually(b, 10*time.Second, func() error { _, err := alice.Warren("exit-node", "list"); return err })
	alice.WaitPing(exit, 10*time.Second)
	if single {
		n.SinglePackets()
	}
	web.Start("iperf3", "-s")
	ways := []*way{
		{name: "plain", to: web.Addr(), prepare: func() { alice.MustWarren("exit-node", "off") }},
		{
			name: "exit", to: web.Addr(), procs: []*lab.Proc{alice.Daemon, exit.Daemon},
			prepare: func() { alice.MustWarren("exit-node", "use", "exit") },
		},
	}
	b.ResetTimer()
	for range rounds {
		for _, w := range ways {
			w.measure(b, alice)
		}
	}
	for _, w := range ways {
		b.ReportMetric(median(w.rates), w.name+"-Mbit/s")
	}
	var ratios []float64
	for i, rate := range ways[1].rates {
		ratios = append(ratios, rate/ways[0].rates[i])
	}
	b.ReportMetric(median(ratios), "exit/plain")
	b.ReportMetric(median(ways[1].costs), "exit-cpu-s/GB")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkNames measures how many questions for a machine's name a host's resolver answers in a second, with 8 programs
// that each ask one after another.
func BenchmarkNames(b *testing.B) {
	n := lab.New(b)
	m := mesh.Start(b, n, mesh.Build(b))
	alice := m.Node(n.Internet().Host("alice"))
	alice.Up(m.Coord.Key())
	var at netip.Addr
	lab.Eventually(b, 10*time.Second, func() error {
		if s := alice.Status(); s.DNS != nil && len(s.DNS.Resolver) > 0 {
			at = s.DNS.Resolver[0]
			return nil
		}
		return fmt.Errorf("alice has no resolver yet")
	})
	question, err := new(dns.Msg).SetQuestion("alice.warren.internal.", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	var asked, answered atomic.Int64
	b.ResetTimer()
	start := time.Now()
	var wg sync.WaitGroup
	for range 8 {
		var c net.Conn
		if err := alice.Do(func() (err error) {
			c, err = net.Dial("udp", netip.AddrPortFrom(at, 53).String())
			return err
		}); err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			defer func() { _ = c.Close() }()
			buf := make([]byte, 512)
			for time.Since(start) < seconds*time.Second {
				asked.Add(1)
				if _, err := c.Write(question); err != nil {
					return
				}
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				if k, err := c.Read(buf); err == nil && k > len(question) { // with an answer
					answered.Add(1)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	if answered.Load() == 0 || answered.Load() < asked.Load()*99/100 {
		b.Fatalf("%d of %d questions were answered", answered.Load(), asked.Load())
	}
	b.ReportMetric(float64(answered.Load())/took.Seconds(), "answers/s")
	b.ReportMetric(0, "ns/op")
}
