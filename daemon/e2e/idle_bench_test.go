package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

// How long BenchmarkIdle lets the daemon come to rest, and looks.
const (
	idleRest = 30 * time.Second
	idleLook = time.Minute
)

// BenchmarkIdle counts how often a daemon wakes that nobody asks anything of, with no peers, few and many, all online and
// silent: a thread that begins to run is one wake-up (both kinds of context switches of proc(5)). And what it computes meanwhile.
func BenchmarkIdle(b *testing.B) {
	for _, peers := range []int{0, 10, 1000} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			for b.Loop() {
				measureIdle(b, peers)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func measureIdle(b *testing.B, peers int) {
	n := lab.New(b)
	m := mesh.Start(b, n, mesh.Build(b))
	m.Coord.AddUser("anna", "correct horse battery staple")
	alice := m.Behind(lab.EasyNAT, "alice")
	alice.Up(m.Coord.Key())
	populate(b, m.Coord, peers)
	lab.Eventually(b, 2*time.Minute, func() error {
		online := 0
		for _, p := range alice.Status().Peers {
			if p.Online {
				online++
			}
		}
		if online != peers {
			return errorf("alice sees %d of %d machines online", online, peers)
		}
		return nil
	})
	time.Sleep(idleRest)
	pid := alice.Daemon.Pid()
	woke, busy := wakeups(b, pid), alice.Daemon.CPU()
	time.Sleep(idleLook)
	b.ReportMetric(float64(wakeups(b, pid)-woke)*float64(time.Minute/idleLook), "wakeups/min")
	b.ReportMetric(float64((alice.Daemon.CPU()-busy).Milliseconds())*float64(time.Minute/idleLook), "cpu-ms/min")
	b.ReportMetric(mebibytes(alice.Daemon.RSS()), "MiB")
}

// populate has machines join that speak to the coordination server only, and stay online until the test ends.
func populate(b *testing.B, c *mesh.Coord, machines int) {
	ctx, stop := context.WithCancel(b.Context())
	var work sync.WaitGroup
	b.Cleanup(func() { stop(); work.Wait() })
	url := forward(ctx, b, &work, c)
	_, pin, err := coord.ParseServer(c.Invite)
	if err != nil {
		b.Fatal(err)
	}
	authKey, err := os.ReadFile(c.Key("--reusable"))
	if err != nil {
		b.Fatal(err)
	}
	joined := make(chan error, machines)
	for i := range machines {
		client, err := coord.NewClient(coord.ClientConfig{URL: url, Pin: pin, Machine: key.NewMachine()})
		if err != nil {
			b.Fatal(err)
		}
		work.Go(func() {
			defer client.Close()
			joined <- func() error {
				_, err := client.Register(ctx, key.NewNode(), coord.RegisterRequest{
					Hostname: fmt.Sprintf("m%d", i), AuthKey: strings.TrimSpace(string(authKey)), OS: "linux", Version: "1.0.0",
				})
				if err != nil {
					return err
				}
				return client.Update(ctx, coord.NodeUpdate{Disco: key.NewDisco().Public(), OS: "linux", Version: "1.0.0", Endpoints: []coord.Endpoint{{
					Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(101 + i>>8), byte(i)}), 41641), Kind: coord.EndpointSTUN,
				}}})
			}()
			_ = client.Lines(ctx, 0, func(*coord.Line) error { return nil })
		})
		if err := <-joined; err != nil {
			b.Fatalf("machine %d: %v", i, err)
		}
	}
}

// forward makes the server reachable from the test's own network.
func forward(ctx context.Context, b *testing.B, work *sync.WaitGroup, c *mesh.Coord) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	work.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer near.Close()
				far, err := c.DialContext(ctx, "tcp", strings.TrimPrefix(c.URL, "https://"))
				if err != nil {
					return
				}
				defer far.Close()
				defer context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() })()
				work.Go(func() { _, _ = io.Copy(far, near) })
				_, _ = io.Copy(near, far)
			})
		}
	})
	return "https://" + l.Addr().String()
}

// wakeups is how often the threads of a process have begun to run.
func wakeups(b *testing.B, pid int) (n int) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		b.Fatalf("%v: %d threads", err, len(files))
	}
	switches := regexp.MustCompile(`(?m)^(?:non)?voluntary_ctxt_switches:\s+(\d+)$`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for _, found := range switches.FindAllSubmatch(text, -1) {
			count, _ := strconv.Atoi(string(found[1]))
			n += count
		}
	}
	return n
}
