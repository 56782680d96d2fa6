package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/dbus"

	"github.com/warren-mesh/warren/daemon/internal/engine"
)

// failed are the results of a service that systemd starts again (systemd.exec(5), SERVICE_RESULT): nobody stopped it.
var failed = []string{"exit-code", "signal", "core-dump", "watchdog", "oom-kill"}

// askLimit is for systemd's answer, which is on the same host and waits for nothing.
const askLimit = time.Second

// follows reports, to a command that systemd runs before a daemon's start or after its end, whether nobody wants the host back:
// another daemon follows, or the host goes down. Only a person who stops the service wants it.
func follows(ctx context.Context, log *slog.Logger) bool {
	result, ended := os.LookupEnv("SERVICE_RESULT")
	if !ended {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	job, state, err := asked(ctx)
	if err != nil {
		log.Warn("systemd does not say whether the daemon is stopped or restarted", "err", err, "result", result)
		return slices.Contains(failed, result)
	}
	log.Debug("asked systemd", "job", job, "state", state, "result", result)
	return stays(job, state)
}

// stays decides what follows reports. A restart is one job from the stop to the start, and a daemon that ended by itself has none;
// when the host goes down every service is stopped, this one before the network.
func stays(job, state string) bool { return job != "stop" || state == "stopping" }

// asked asks systemd which job there is for this process' unit ("": none), and in which state the host is.
func asked(ctx context.Context) (job, state string, err error) {
	c, err := dbus.NewSystemdConnectionContext(ctx) // its own socket: the bus may be gone
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	unit, err := c.GetUnitNameByPID(ctx, uint32(os.Getpid()))
	if err != nil {
		return "", "", fmt.Errorf("which unit this is: %w", err)
	}
	jobs, err := c.ListJobsContext(ctx)
	if err != nil {
		return "", "", fmt.Errorf("its jobs: %w", err)
	}
	for _, j := range jobs {
		if j.Unit == unit {
			job = j.JobType
		}
	}
	p, err := c.SystemStateContext(ctx)
	if err != nil {
		return "", "", fmt.Errorf("the host's state: %w", err)
	}
	state, _ = p.Value.Value().(string)
	return job, state, nil
}

// firstLimit is how long the start may wait for the host; it goes on then, and the daemon tries again.
const firstLimit = 10 * time.Second

// ready tells systemd that the daemon has started. What starts after it finds the host as it should be: with an exit node nothing of
// it goes around that.
func ready(ctx context.Context, e *engine.Engine) {
	ctx, cancel := context.WithTimeout(ctx, firstLimit)
	defer cancel()
	e.Alive(ctx)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
}

// watchdog tells systemd that the loop still turns, at twice the rate that the unit asks for.
func watchdog(ctx context.Context, e *engine.Engine) {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil || period == 0 {
		return
	}
	tick := time.NewTicker(period / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			alive, cancel := context.WithTimeout(ctx, period/4)
			if e.Alive(alive) {
				_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
			}
			cancel()
		}
	}
}
