package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
)

// BenchmarkRegistrations measures whole first contacts: TLS, hello, session, registration with a pre-auth key on disk.
func BenchmarkRegistrations(b *testing.B) {
	r := serve(b)
	k := r.authKey(KeyOptions{Reusable: true, Expires: time.Hour * 24})
	const at = 64
	todo := make(chan int)
	var wg sync.WaitGroup
	for range at {
		wg.Go(func() {
			for i := range todo {
				d := r.device()
				if _, err := d.Register(context.Background(), d.node, coord.RegisterRequest{Hostname: fmt.Sprint("m", i), AuthKey: k}); err != nil {
					b.Error(err)
				}
				d.Close()
			}
		})
	}
	b.ResetTimer()
	for i := range b.N {
		todo <- i
	}
	close(todo)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "registrations/s")
}

// BenchmarkChangeLatency measures from one machine's update to all followers having it, verified: where they are at the
// speaker's server, and where all are at another one that has the same PostgreSQL database. Changes come one by one, with
// a rest between them that counts for the time per operation.
func BenchmarkChangeLatency(b *testing.B) {
	b.Run("2", func(b *testing.B) { r := serve(b); changeLatency(b, 2, r, r) })
	b.Run("100", func(b *testing.B) { r := serve(b); changeLatency(b, 100, r, r) })
	b.Run("100 across", func(b *testing.B) {
		here, there := pair(b, pgtest.Start(b).Database("latency"), Options{})
		changeLatency(b, 100, here, there)
	})
}

// changeLatency has a machine speak here, and others follow there.
func changeLatency(b *testing.B, followers int, here, there *running) {
	k := here.authKey(KeyOptions{Reusable: true})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	got := make(chan coord.RelayID, followers)
	for i := range followers {
		d := there.device()
		d.join(fmt.Sprint("m", i), k)
		wg.Go(func() {
			last := coord.RelayID(0)
			_ = d.Netmap(ctx, nil, func(m *coord.Netmap) error {
				if p := peerNamed(m, "speaker"); p != nil && p.Relay != last {
					last = p.Relay
					got <- last
				}
				return nil
			})
		})
	}
	speaker := here.device()
	speaker.join("speaker", k)
	var took []time.Duration
	i := coord.RelayID(0)
	for b.Loop() {
		i++
		start := time.Now()
		if err := speaker.Update(ctx, coord.NodeUpdate{Relay: i}); err != nil {
			b.Fatal(err)
		}
		for n := 0; n < followers; {
			if <-got == i {
				n++
			}
		}
		took = append(took, time.Since(start))
		time.Sleep(2 * breath * took[len(took)-1])
	}
	cancel()
	wg.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
