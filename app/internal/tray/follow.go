package tray

import (
	"context"
	"errors"
	"time"

	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

const (
	// retry is the pause before the daemon is looked for again, whose return people see within two seconds. At first it is
	// short: a daemon that stops is mostly one that starts again.
	retry      = time.Second
	firstRetry = 300 * time.Millisecond
	firstTries = 50
	// pace is the least time between two drawings: no eye is faster. Changes in between are told once. To read and draw a
	// status costs in proportion to the machines in it, so a network of thousands that changes all the time is drawn less
	// often: a twentieth of a processor is enough for it.
	pace        = 50 * time.Millisecond
	machinePace = 50 * time.Microsecond // and so much for each machine
	// askLimit is how long the daemon may take to say what it knows.
	askLimit = 5 * time.Second
)

// follow tells the loop what the daemon says, through its restarts.
func (p *program) follow(ctx context.Context) {
	for tries := 0; ctx.Err() == nil; tries++ {
		var last *known
		watching, stop := context.WithCancel(ctx)
		watch := p.client.Watch
		if p.live.Load() {
			watch = p.client.WatchLive
		}
		go func() {
			select {
			case <-p.looks:
				stop()
			case <-watching.Done():
			}
		}()
		err := watch(watching, func(s *ipc.Status) error {
			f := facts{status: s, autostart: p.autostart()}
			tries = 0
			if k := knows(s); last == nil || *last != k {
				if !p.ask(ctx, &f) {
					return errLater
				}
				last = &k
			}
			send(ctx, p.facts, f)
			pause(ctx, pace+time.Duration(len(s.Peers))*machinePace)
			return watching.Err()
		})
		again := watching.Err() != nil
		stop()
		switch {
		case ctx.Err() != nil:
			return
		case again: // in another way
			tries = 0
			continue
		}
		if !errors.Is(err, errLater) {
			send(ctx, p.facts, facts{missing: p.refusal(err), autostart: p.autostart()})
		}
		if tries < firstTries {
			pause(ctx, firstRetry)
		} else {
			pause(ctx, retry)
		}
	}
}

// errLater says that the daemon ended between two questions.
var errLater = errors.New("to be asked again")

// look says whether somebody looks at what changes by the second.
func (p *program) look(live bool) {
	if p.live.Swap(live) != live {
		select {
		case p.looks <- struct{}{}:
		default:
		}
	}
}

// known is what prefs and profiles go with: where it changed, they may have.
type known struct {
	state                          ipc.State
	profile, server, user, network string
	prefs                          uint32
}

func knows(s *ipc.Status) known {
	return known{s.State, s.Profile, s.Server, s.Self.User, s.Network.Name, s.Prefs}
}

// ask completes what a status does not hold. It is false where the daemon does not answer.
func (p *program) ask(ctx context.Context, f *facts) bool {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	prefs, err := p.client.Prefs(ctx)
	if err != nil {
		return false
	}
	profiles, err := p.client.Profiles(ctx)
	if err != nil {
		return false
	}
	f.prefs, f.profiles = &prefs, append([]ipc.Profile{}, profiles.Profiles...)
	return true
}

// autostart tells whether the desktop starts the tray, as the menu shows it.
func (p *program) autostart() string {
	if p.Autostart == nil {
		return ""
	}
	on, err := p.Autostart.On()
	switch {
	case err != nil:
		return ""
	case on:
		return view.On
	}
	return view.Off
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
