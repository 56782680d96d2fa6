package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Bounds of the waits, which only a broken server reaches.
const (
	joinTimeout    = time.Hour
	changeTimeout  = 2 * time.Minute
	restartTimeout = 10 * time.Minute
	sampled        = 100 // machines of the smaller figure for changes

	// Between two changes, so that each comes alone: what a server gathers in a storm, join shows.
	restTimes    = 4
	shortestRest = 100 * time.Millisecond
)

// join makes all machines nodes.
func join(life context.Context, s *server, net *network, o options) error {
	ctx, cancel := context.WithTimeout(life, joinTimeout)
	defer cancel()
	before, err := s.usage()
	if err != nil {
		return err
	}
	start := time.Now()
	var work sync.WaitGroup
	todo := make(chan *node)
	var once sync.Once
	var failed error
	for range min(o.at, len(net.nodes)) {
		work.Go(func() {
			for n := range todo {
				if err := n.join(ctx, life); err != nil {
					once.Do(func() { failed = err; cancel() })
				}
			}
		})
	}
	done := 0
	progress := time.NewTicker(5 * time.Second)
	defer progress.Stop()
	for done < len(net.nodes) && ctx.Err() == nil {
		select {
		case todo <- net.nodes[done]:
			done++
		case <-progress.C:
			say("%d of %d nodes joined", net.joined.Load(), len(net.nodes))
		case <-ctx.Done():
		}
	}
	close(todo)
	work.Wait()
	if failed != nil {
		return fmt.Errorf("a machine could not join: %w", failed)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	took := time.Since(start)
	if err := net.settled(ctx); err != nil { // all have heard of one another
		return err
	}
	after, err := s.usage()
	if err != nil {
		return err
	}
	n := len(net.nodes)
	used := after.minus(before)
	result(o, n, "join", n, took, "s", float64(n)/took.Seconds(), "nodes/s", time.Since(start), "s-until-told",
		net.retries.Load(), "retries", used.cpu, "server-cpu-s", used.ours, "bench-cpu-s", used.read, "wire-B",
		used.read/int64(n), "wire-B/node",
		after.resident>>20, "server-MiB", after.peak>>20, "server-peak-MiB")
	return nil
}

// idle lets the server alone.
func idle(ctx context.Context, s *server, net *network, o options) error {
	before, err := s.usage()
	if err != nil {
		return err
	}
	say("idle for %v", o.idle)
	if !rest(ctx, o.idle) {
		return ctx.Err()
	}
	after, err := s.usage()
	if err != nil {
		return err
	}
	used := after.minus(before)
	result(o, len(net.nodes), "idle", 1, 100*used.cpu.Seconds()/o.idle.Seconds(), "server-cpu-%", after.resident>>20, "server-MiB",
		float64(used.read)/o.idle.Seconds()/float64(len(net.nodes)), "wire-B/s/node")
	return nil
}

// change measures one machine's news to all whom it concerns.
func change(ctx context.Context, s *server, net *network, o options) error {
	n := len(net.nodes)
	count := o.changes
	if count == 0 {
		count = min(200, max(30, 100_000/o.concerned(n)))
	}
	before, err := s.usage()
	if err != nil {
		return err
	}
	said := make([]time.Duration, 0, count)
	all, some := slices.Clone(said), slices.Clone(said)
	for i := range count {
		if i%50 == 0 {
			say("change %d of %d", i, count)
		}
		c, err := net.circles[i%len(net.circles)].change(ctx, changeTimeout)
		if err != nil {
			return err
		}
		said, all, some = append(said, c.said), append(all, c.last(0)), append(some, c.last(sampled))
		if !rest(ctx, max(shortestRest, restTimes*c.last(0))) {
			return ctx.Err()
		}
	}
	after, err := s.usage()
	if err != nil {
		return err
	}
	used := after.minus(before)
	per := func(d time.Duration) float64 { return 1000 * d.Seconds() / float64(count) }
	result(o, n, "change", count, percentile(all, 50), "p50-ms-to-all", percentile(all, 99), "p99-ms-to-all",
		percentile(some, 50), "p50-ms-to-100", percentile(some, 99), "p99-ms-to-100", percentile(said, 50), "p50-ms-answer",
		per(used.cpu), "server-cpu-ms/change", per(used.ours), "bench-cpu-ms/change",
		used.read/int64(count), "wire-B/change", float64(used.read)/float64(count)/float64(o.concerned(n)), "wire-B/change/node")
	return nil
}

// rest waits, and reports whether ctx has not ended.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// percentile is in milliseconds. Of few values the 99th is the largest.
func percentile(all []time.Duration, p int) float64 {
	slices.Sort(all)
	return 1000 * all[min(len(all)-1, len(all)*p/100)].Seconds()
}

// restart ends the server with the signal and starts it again.
func restart(sig syscall.Signal) func(context.Context, *server, *network, options) error {
	return func(ctx context.Context, s *server, net *network, o options) error {
		ctx, cancel := context.WithTimeout(ctx, restartTimeout)
		defer cancel()
		start := time.Now()
		say("restart after %v", sig)
		if err := s.end(sig); err != nil {
			return err
		}
		down := time.Since(start)
		read := readBytes() // after the end: the kernel adds what the server itself has read to what its parent has
		if err := s.start(ctx); err != nil {
			return err
		}
		up := time.Since(start)
		if err := net.back(ctx, s); err != nil {
			return err
		}
		streams := time.Since(start)
		if err := net.settled(ctx); err != nil {
			return err
		}
		took := time.Since(start)
		now, err := s.usage()
		if err != nil {
			return err
		}
		name := map[syscall.Signal]string{syscall.SIGTERM: "restart", syscall.SIGKILL: "kill"}[sig]
		n := len(net.nodes)
		result(o, n, name, 1, took, "s-until-current", streams, "s-until-streams", up, "s-until-up", down, "s-until-down",
			now.cpu, "server-cpu-s", readBytes()-read, "wire-B", net.fulls.Swap(0), "whole-netmaps",
			now.resident>>20, "server-MiB", now.peak>>20, "server-peak-MiB")
		return nil
	}
}

// settled makes a change in each circle and waits until every machine has it, and thereby all that came before.
func (net *network) settled(ctx context.Context) error {
	for _, o := range net.circles {
		for {
			_, err := o.change(ctx, joinTimeout)
			if err == nil {
				break
			}
			if ctx.Err() != nil || errors.Is(err, errNobodyHeard) {
				return err
			}
			say("again: %v", err)
			if !rest(ctx, time.Second) {
				return ctx.Err()
			}
		}
	}
	return nil
}
