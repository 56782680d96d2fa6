package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// The link of BenchmarkRelaySlow. Each loss cuts a stream's window (CUBIC, RFC 9438; others may not mind), and when it comes is
// chance: many streams at once are measured.
const (
	slowBy      = 100 * time.Millisecond
	slowLost    = 200 // one in so many
	slowStreams = "32"
	slowSeconds = "10"
	slowRounds  = 3
)

// BenchmarkRelaySlow has one of the two homes send over a line of 100 ms that loses one packet in 200, directly and through
// the relay over UDP, in turns: what the relay adds must not cost TCP more than the line does. A window is counted in segments, and
// those of a direct path may be larger: so the segments' rates are compared, too.
func BenchmarkRelaySlow(b *testing.B) {
	m, alice, bob := twoHomes(b)
	line := alice.Home.Delay(slowBy, slowLost)
	defer line.Heal()
	bob.Start("iperf3", "-s")
	rate := func(kind ipc.PathKind) (megabits, segments float64) {
		for _, pair := range [][2]*mesh.Node{{alice, bob}, {bob, alice}} {
			pair[0].WaitPath(pair[1], kind, 2*time.Minute)
		}
		var r struct {
			Start struct {
				MSS float64 `json:"tcp_mss_default"`
			} `json:"start"`
			End struct {
				Received iperfSum `json:"sum_received"`
			} `json:"end"`
		}
		lab.Eventually(b, time.Minute, func() error { // the server may still be busy with the last client
			out, err := alice.Run("iperf3", "-J", "-C", "cubic", "-P", slowStreams, "-t", slowSeconds, "-c", bob.Inner().String())
			if err == nil {
				err = json.Unmarshal([]byte(out), &r)
			}
			if err == nil && (r.End.Received.Rate == 0 || r.Start.MSS == 0) {
				err = errorf("iperf3 says nothing of use: %s", out[:min(len(out), 2000)])
			}
			return err
		})
		return r.End.Received.Rate / 1e6, r.End.Received.Rate / 8 / r.Start.MSS
	}
	b.ResetTimer()
	var direct, relayed, ratios, segments []float64
	for range slowRounds {
		megabits, count := rate(ipc.PathDirect)
		blocked := m.Net.BlockUDP(alice, bob)
		behind, less := rate(ipc.PathRelay)
		blocked.Heal()
		direct, relayed = append(direct, megabits), append(relayed, behind)
		ratios, segments = append(ratios, behind/megabits), append(segments, less/count)
	}
	b.ReportMetric(median(direct), "direct-Mbit/s")
	b.ReportMetric(median(relayed), "relay-Mbit/s")
	b.ReportMetric(median(ratios), "relay/direct")
	b.ReportMetric(median(segments), "relay/direct-segments")
	b.ReportMetric(0, "ns/op")
	b.Logf("direct %.1f, relayed %.1f, ratios %.2f, of segments %.2f", direct, relayed, ratios, segments)
}
