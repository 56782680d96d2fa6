// Package sleep tells when this machine has slept, as logind says.
//
// A machine that wakes finds a network that has forgotten it: NATs have, and the peers use their relays. None of this shows in
// addresses or routes, which are often the same as before; and time itself says little, since clocks stand still meanwhile.
package sleep

import (
	"context"
	"log/slog"
	"time"

	"github.com/godbus/dbus/v5"
)

// logind's object, and its signal: with true before the machine sleeps, with false when it is awake again
// (org.freedesktop.login1(5)).
const (
	service = "org.freedesktop.login1"
	object  = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"
	signal  = "PrepareForSleep"
)

// Bounds of a Watch.
const (
	againFirst = time.Second      // from the end of the bus to the next try, growing twofold
	againMost  = 10 * time.Minute // where there is no bus, somebody may start one yet
	dialTime   = 5 * time.Second
	kept       = 8 // signals that wait
)

// What the log says.
const (
	telling = "logind tells of this machine's sleep"
	silent  = "nobody tells of this machine's sleep"
)

// Watch sends to woke after each sleep, without waiting for who reads it, until ctx ends. dial connects to the system bus; nil: as
// the environment says. A host without a bus or without logind is never told to have slept.
func Watch(ctx context.Context, dial func(context.Context) (*dbus.Conn, error), log *slog.Logger, woke chan<- struct{}) {
	if dial == nil {
		dial = func(ctx context.Context) (*dbus.Conn, error) { return dbus.ConnectSystemBus(dbus.WithContext(ctx)) }
	}
	for again := againFirst; ; again = min(2*again, againMost) {
		listened, err := listen(ctx, dial, log, woke)
		if ctx.Err() != nil {
			return
		}
		if listened {
			again = againFirst
		}
		log.Debug(silent, "err", err, "again", again)
		wait := time.NewTimer(again)
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

// listen listens until ctx or the bus ends. It reports whether it could.
func listen(ctx context.Context, dial func(context.Context) (*dbus.Conn, error), log *slog.Logger, woke chan<- struct{}) (listened bool, err error) {
	conn, err := dial(ctx) // it ends with ctx
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	signals := make(chan *dbus.Signal, kept)
	conn.Signal(signals)
	asking, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	// The bus passes the signal on from whoever owns logind's name, now or later, and from nobody else.
	if err := conn.AddMatchSignalContext(asking, dbus.WithMatchSender(service), dbus.WithMatchObjectPath(object),
		dbus.WithMatchInterface(manager), dbus.WithMatchMember(signal)); err != nil {
		return false, err
	}
	log.Debug(telling)
	for {
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case s, open := <-signals:
			if !open {
				return true, dbus.ErrClosed
			}
			if awake(s) {
				select {
				case woke <- struct{}{}:
				default: // it has not been read that there was another one
				}
			}
		}
	}
}

// awake reports whether the signal says that a sleep is over. Signals sent to this connection alone come whatever it asked for.
func awake(s *dbus.Signal) bool {
	if s.Path != object || s.Name != manager+"."+signal || len(s.Body) != 1 {
		return false
	}
	before, ok := s.Body[0].(bool)
	return ok && !before
}
