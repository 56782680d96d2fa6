package engine

import (
	"context"
	"errors"
	"time"

	"github.com/warren-mesh/warren/daemon/internal/firewall"
	"github.com/warren-mesh/warren/ipc"
)

// Lockdown holds what leaves this host beside the network; *firewall.Lockdown is one. It stands whether there is a plane or
// not, and longer than the daemon.
type Lockdown interface {
	// Want makes it as wished (nil: none), where it is not.
	Want(ctx context.Context, l *firewall.Lock) error
	// Pause opens it for so long; 0 ends a pause. What was not ended ends by itself, also without the daemon.
	Pause(ctx context.Context, d time.Duration) error
	// Paused says for how much longer it is open.
	Paused() time.Duration
	// Watch tells when somebody else changed the host's packet filter.
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// hold is what the loop knows of the lockdown.
type hold struct {
	done  *firewall.Lock // that stands; nil: look
	none  bool           // none stands, and none is wanted
	err   error          // why it does not stand as wished
	until time.Time      // a person signs in to a network: neither lockdown nor exit node; zero: not so
	timer *time.Timer    // when until comes, or when to try again
}

// startHold takes over a pause that an earlier daemon began.
func (e *Engine) startHold() {
	if e.cfg.Lockdown == nil {
		return
	}
	if d := e.cfg.Lockdown.Paused(); d > 0 {
		e.hold.until = time.Now().Add(d)
		e.hold.timer.Reset(d)
	}
}

// holdRetry is when a lockdown that could not be made is tried again.
const holdRetry = 5 * time.Second

// lock makes the lockdown as it should be, before anything else is made.
func (e *Engine) lock() {
	if e.cfg.Lockdown == nil {
		return
	}
	h := &e.hold
	var want *firewall.Lock
	if e.state.Lockdown {
		want = &firewall.Lock{}
		if l := e.state.Login(); l != nil {
			want.LAN = l.Routing.AllowLAN
		}
	}
	if want == nil && h.none || want != nil && h.done != nil && *h.done == *want {
		return
	}
	h.none, h.done = false, nil
	if h.err = e.cfg.Lockdown.Want(context.Background(), want); h.err != nil {
		e.log.Error("the lockdown is not as wished", "err", h.err)
		if h.until.IsZero() {
			h.timer.Reset(holdRetry)
		}
		return
	}
	h.none, h.done = want == nil, want
}

// watchFilter looks after our tables when somebody else was at the host's packet filter.
func (e *Engine) watchFilter(ctx context.Context) {
	if e.cfg.Lockdown == nil {
		return
	}
	events, err := e.cfg.Lockdown.Watch(ctx)
	if err != nil {
		e.log.Warn("what others change of the packet filter is mended late", "err", err)
		return
	}
	for range events {
		e.post(ctx, func() { e.hold.done, e.hold.none, e.applied = nil, false, nil })
	}
}

// Portal opens the way past the exit node and the lockdown for so long, so that a person can sign in to the network that the
// host is on; 0 closes it. It gives when it closes.
func (e *Engine) Portal(ctx context.Context, r ipc.PortalRequest) (*ipc.PortalReply, error) {
	d := r.Duration.Duration()
	if d < 0 || d > firewall.MaxPause {
		return nil, errPortalLong
	}
	reply := &ipc.PortalReply{}
	var failed error
	err := e.do(ctx, func() {
		h := &e.hold
		if e.state.Lockdown && e.cfg.Lockdown != nil {
			if failed = e.cfg.Lockdown.Pause(ctx, d); failed != nil {
				return
			}
		}
		e.applied, h.until = nil, time.Time{}
		if d > 0 {
			h.until = time.Now().Add(d)
			h.timer.Reset(d)
			e.log.Warn("for signing in to a network, packets leave past exit node and lockdown", "until", h.until)
		}
		reply.Until = h.until
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, hostError(err)
	}
	return reply, nil
}

// resumeHold ends what Portal began, or tries the lockdown again.
func (e *Engine) resumeHold() {
	h := &e.hold
	if !h.until.IsZero() && !time.Now().Before(h.until) {
		h.until, e.applied = time.Time{}, nil
		e.log.Info("packets leave by exit node and lockdown again")
	}
	h.done, h.none = nil, false
}
