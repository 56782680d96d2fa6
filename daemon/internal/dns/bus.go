package dns

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// busTime is how long a service on the bus has for an answer: warrend recover is to be done within 2 s.
const busTime = 1500 * time.Millisecond

// The names on the system bus that matter.
const (
	busResolved = "org.freedesktop.resolve1"
	busNM       = "org.freedesktop.NetworkManager"
)

// busSocket is where the system bus listens (D-Bus specification, "well-known message bus instances").
const busSocket = "/run/dbus/system_bus_socket"

// errSilent is what is wrong with a bus that takes connections, and no more.
var errSilent = errors.New("the system bus does not answer")

// connectBus connects to the system bus. A host without one is fine: the error says so. It is errSilent where there is one.
func connectBus(ctx context.Context) (*dbus.Conn, error) {
	conn, err := dbus.SystemBusPrivate(dbus.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		return nil, err
	}
	patience := busTime
	if end, bound := ctx.Deadline(); bound {
		patience = min(patience, time.Until(end))
	}
	silence := time.AfterFunc(patience, func() { _ = conn.Close() }) // Auth and Hello would wait without end
	err = conn.Auth(nil)
	if err == nil {
		err = conn.Hello()
	}
	if !silence.Stop() {
		err = errSilent
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// call calls a method of a service that runs: none is started for us.
func call(ctx context.Context, conn *dbus.Conn, dest string, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	return conn.Object(dest, path).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
}

// property reads a property into out.
func property(ctx context.Context, conn *dbus.Conn, dest string, path dbus.ObjectPath, iface, name string, out any) error {
	var v dbus.Variant
	if err := call(ctx, conn, dest, path, "org.freedesktop.DBus.Properties.Get", iface, name).Store(&v); err != nil {
		return err
	}
	return v.Store(out)
}

// owned reports whether a name has an owner. An error is no answer: the service may well run.
func owned(ctx context.Context, conn *dbus.Conn, name string) (has bool, err error) {
	if err = call(ctx, conn, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.NameHasOwner", name).Store(&has); err != nil {
		return false, fmt.Errorf("the system bus does not say whether %s runs: %w", name, err)
	}
	return has, nil
}

// subscribe asks for the signals that say that something about names changed.
func subscribe(conn *dbus.Conn) error {
	for _, options := range [][]dbus.MatchOption{
		{dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, busResolved)},
		{dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, busNM)},
		{dbus.WithMatchSender(busResolved), dbus.WithMatchInterface("org.freedesktop.DBus.Properties")},
		{dbus.WithMatchSender(busNM), dbus.WithMatchInterface("org.freedesktop.DBus.Properties"), dbus.WithMatchObjectPath(nmDNS)},
		{dbus.WithMatchSender(busNM), dbus.WithMatchInterface("org.freedesktop.DBus.Properties"), dbus.WithMatchObjectPath(nmPath)},
		{dbus.WithMatchSender(busNM), dbus.WithMatchInterface("org.freedesktop.DBus.Properties"), dbus.WithMatchPathNamespace(nmPath + "/IP4Config")},
		{dbus.WithMatchSender(busNM), dbus.WithMatchInterface("org.freedesktop.DBus.Properties"), dbus.WithMatchPathNamespace(nmPath + "/IP6Config")},
	} {
		if err := conn.AddMatchSignal(options...); err != nil {
			return err
		}
	}
	return nil
}
