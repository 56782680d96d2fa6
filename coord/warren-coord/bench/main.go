// Bench measures a coordination server as a network of simulated machines sees it, and prints Go's benchmark format.
//
//	this process                                  warren-coord serve, a process of its own
//	  NODES machines, each with a coord.Client ──TLS──▶ SQLite, its own certificate, loopback
//	  what it reads, its CPU time                       its CPU time and memory, by /proc
//
// The machines speak the whole protocol: hello, session, registration with a reusable pre-auth key, node update, netmap
// stream; they verify each line's signature and numbers, and come back as the daemon does, with its waits. Of the
// network they keep nothing but their last number: 10,000 whole netmaps would be some 80 GB.
//
// A change concerns the machines that one rule lets see each other, -each of them; and, in networks of up to -all
// machines, measured once more, the whole network. For each size of network, beginning with an empty server:
//
//	join      all machines become nodes, -at at a time; one counts as joined when it has its first whole netmap
//	idle      nobody says anything
//	change    one machine says other endpoints; the time until the last of all whom that concerns has verified the
//	          line, and until the last of 100 of them has. Changes come one by one, with a rest between them.
//	restart   SIGTERM, and kill -9: until every machine has its stream again and a change made after that
//
// This process verifies what the server sends to all machines, on the same processors: with many machines it needs
// more of them than the server does, which the times include. The CPU seconds are each one's own.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are what can be asked for.
type options struct {
	program string // warren-coord
	nodes   int    // the largest network
	only    bool   // no smaller ones
	each    int    // machines that see each other; 0: all
	all     int    // the largest network in which all see all
	at      int    // machines that join at a time
	changes int    // measured on each network; 0: as many as take about half a minute
	idle    time.Duration
}

// sizes are the networks to measure: 100, 1,000, … and last the largest.
func (o options) sizes() (all []int) {
	for n := 100; n < o.nodes && !o.only; n *= 10 {
		all = append(all, n)
	}
	return append(all, o.nodes)
}

// concerned is how many machines a change concerns in a network of n.
func (o options) concerned(n int) int {
	if o.each == 0 {
		return n
	}
	return min(n, o.each)
}

func main() {
	var o options
	flag.StringVar(&o.program, "coord", "bin/warren-coord", "the server's program")
	flag.IntVar(&o.nodes, "nodes", fromEnv("NODES", 10_000), "machines of the largest network (NODES)")
	flag.BoolVar(&o.only, "only", false, "measure that network alone, and no smaller ones before")
	flag.IntVar(&o.each, "each", fromEnv("EACH", 100), "machines that see each other (EACH)")
	flag.IntVar(&o.all, "all", fromEnv("ALL", 1000), "the largest network to measure also with all machines seeing all (ALL)")
	flag.IntVar(&o.at, "at", fromEnv("AT", 64), "machines that join at a time (AT)")
	flag.IntVar(&o.changes, "changes", fromEnv("CHANGES", 0), "changes to measure on each network; 0: by its size (CHANGES)")
	flag.DurationVar(&o.idle, "idle", 20*time.Second, "how long to measure the idle server")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// measure measures each size of network.
func measure(ctx context.Context, o options) error {
	if o.nodes < 2 || o.at < 1 || o.each < 2 {
		return fmt.Errorf("%d nodes, %d at a time: there is nothing to measure", o.nodes, o.at)
	}
	var files syscall.Rlimit // Go has raised it to the hard limit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur < uint64(o.nodes)+200 {
		return fmt.Errorf("%d nodes need as many open files, and the limit is %d: raise it (ulimit -n), or ask for fewer (NODES=1000)", o.nodes, files.Cur)
	}
	fmt.Printf("goos: %s\ngoarch: %s\npkg: github.com/warren-mesh/warren/coord/warren-coord\nprocessors: %d\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, n := range o.sizes() {
		if err := one(ctx, o, n); err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
		if all := o; n <= o.all && n > o.each {
			all.each = 0
			if err := one(ctx, all, n); err != nil {
				return fmt.Errorf("%d nodes that all see all: %w", n, err)
			}
		}
	}
	return nil
}

// one measures one network from its beginning to its end.
func one(ctx context.Context, o options, n int) (err error) {
	dir, err := os.MkdirTemp("", "warren-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := setUp(ctx, o, n, dir)
	if err != nil {
		return err
	}
	defer s.kill()
	ctx, cancel := context.WithCancel(ctx)
	net := newNetwork(s, n)
	defer net.wait()
	defer cancel()
	fmt.Printf("load: %s at the start of %d nodes, %d of which see each other\n", loadAverage(), n, o.concerned(n))
	steps := []func(context.Context, *server, *network, options) error{join, idle, change, restart(syscall.SIGTERM), restart(syscall.SIGKILL)}
	for _, step := range steps {
		if err := step(ctx, s, net, o); err != nil {
			return err
		}
	}
	return nil
}

// say shows progress; the results are on stdout.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// result prints one line of results: value, unit, value, unit…
func result(o options, n int, what string, iterations int, values ...any) {
	var b strings.Builder
	fmt.Fprintf(&b, "BenchmarkCoord/nodes=%d/concerned=%d/%s\t%d", n, o.concerned(n), what, iterations)
	for i := 0; i+1 < len(values); i += 2 {
		switch v := values[i].(type) {
		case time.Duration:
			fmt.Fprintf(&b, "\t%.4g %v", v.Seconds(), values[i+1])
		case float64:
			fmt.Fprintf(&b, "\t%.4g %v", v, values[i+1])
		default:
			fmt.Fprintf(&b, "\t%v %v", v, values[i+1])
		}
	}
	fmt.Println(b.String())
}
