package firewall

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// manyRules are n rules beside the one that lets the test's traffic in; every tenth is for the peer, too.
func manyRules(n int) *coord.Filter {
	f := grantsOf(append(onPort(5201), coord.Service{Proto: coord.ProtoICMP})...)
	f.Sets = nil
	for i := range n {
		s := coord.FilterSet{Name: fmt.Sprintf("group:%05d", i)}
		for j := range 2 {
			a := netip.AddrFrom4([4]byte{100, byte(80 + j), byte(i >> 8), byte(i)})
			s.Nets = append(s.Nets, netip.PrefixFrom(a, 32))
		}
		if i%10 == 0 {
			s.Nets = slices.Insert(s.Nets, 0, netip.PrefixFrom(peer4, 32))
		}
		f.Sets = append(f.Sets, s)
		port := uint16(10_000 + 10*i%50_000)
		f.In = append(f.In, coord.FilterRule{From: []string{s.Name}, Allow: []coord.Service{{Proto: coord.ProtoTCP, First: port, Last: port}}})
	}
	f.Sets = append(f.Sets, coord.FilterSet{Name: "members", Nets: mesh[:1]})
	f.In[0].From = []string{"members"}
	return f
}

// carried is what one transfer came to.
type carried struct {
	bytes, packets, seconds float64
	cpu                     time.Duration // of both ends, with the kernel's work for them
}

// carry sends from the peer to the host for a second. Each time has a server of its own: small packets without end can
// starve what the two ends say to each other, and a server that lost its client so is busy with it for two minutes.
func carry(b *testing.B, p *place, args ...string) carried {
	b.Helper()
	var cmd *exec.Cmd
	var text string
	var served time.Duration
	lab.Eventually(b, 3*time.Minute, func() (err error) {
		server := p.host.Start("iperf3", "-s", "--forceflush")
		defer func() { _ = server.Stop() }() // iperf3 says 1 when it is told to end
		server.WaitOutput("Server listening", time.Minute)
		cmd = p.peer.Command(append([]string{"timeout", "20", "iperf3", "-J", "-t", "1", "-c", host4.String()}, args...)...)
		text, err = p.peer.RunCmd(cmd)
		served = server.CPU()
		return err
	})
	var r struct {
		End struct {
			Sum struct {
				Packets, Seconds float64
				Lost             float64 `json:"lost_packets"`
			} `json:"sum"`
			Received struct{ Bytes, Seconds float64 } `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.End.Sum.Seconds+r.End.Received.Bytes == 0 {
		b.Fatalf("%v: %s", err, text)
	}
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return carried{
		bytes: r.End.Received.Bytes, packets: r.End.Sum.Packets - r.End.Sum.Lost, seconds: r.End.Sum.Seconds,
		cpu: served + time.Duration(used.Utime.Nano()+used.Stime.Nano()),
	}
}

// BenchmarkPolicyPackets measures what the packet filter costs, over a tunnel that costs nothing itself: small packets in a
// second, one for one, and the time of the processor for a gigabyte of TCP, by the number of rules, in turn.
func BenchmarkPolicyPackets(b *testing.B) {
	p := newPlace(b)
	access := newFilter(b)
	kinds := []struct {
		name  string
		rules *coord.Filter
	}{{"none", nil}, {"0-rules", manyRules(0)}, {"100-rules", manyRules(100)}, {"5000-rules", manyRules(5000)}}
	rates, costs := make(map[string][]float64), make(map[string][]float64)
	b.ResetTimer()
	for range 5 {
		for _, k := range kinds {
			p.do(b, func() error { return access.Apply(b.Context(), Admission{Rules: k.rules, Self: base.Self}) })
			small := carry(b, p, "-u", "-l", "64", "-b", "0")
			rates[k.name] = append(rates[k.name], small.packets/small.seconds)
			large := carry(b, p)
			costs[k.name] = append(costs[k.name], large.cpu.Seconds()/(large.bytes/1e9))
		}
	}
	median := func(xs []float64) float64 { return slices.Sorted(slices.Values(xs))[len(xs)/2] }
	for _, k := range kinds {
		b.ReportMetric(median(rates[k.name]), k.name+"-packets/s")
		b.ReportMetric(median(costs[k.name]), k.name+"-cpu-s/GB")
	}
	var ratios []float64
	for i, rate := range rates["5000-rules"] {
		ratios = append(ratios, rate/rates["0-rules"][i])
	}
	b.ReportMetric(median(ratios), "5000/0-packets")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPolicyLoad measures how long the packet filter takes for rules that it did not have, and for one more source.
func BenchmarkPolicyLoad(b *testing.B) {
	newWire(b)
	for _, n := range []int{100, 5000} {
		b.Run(fmt.Sprintf("%d-rules", n), func(b *testing.B) {
			for range b.N {
				f := newFilter(b)
				admit(b, f, manyRules(n))
			}
		})
		b.Run(fmt.Sprintf("%d-rules-and-one-source-more", n), func(b *testing.B) {
			f := newFilter(b)
			with, without := manyRules(n), manyRules(n)
			with.Sets[0].Nets = append(with.Sets[0].Nets, netip.MustParsePrefix("100.90.0.1/32"))
			admit(b, f, without)
			b.ResetTimer()
			for i := range b.N {
				admit(b, f, []*coord.Filter{with, without}[i%2])
			}
		})
	}
}
