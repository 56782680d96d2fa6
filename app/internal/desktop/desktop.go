// Package desktop is what the tray asks of the person's desktop, over the session bus where it can: to open a page in
// the browser, to tell whether it is dark, to take a text into the clipboard, and to be the only tray.
package desktop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

// Name is the program's name on the bus and in the menus of applications.
const Name = "io.github.warren_mesh.Warren"

// askLimit is how long another program of the desktop may take to answer.
const askLimit = 3 * time.Second

// ErrNoBus says that there is no session bus.
var ErrNoBus = errors.New("there is no session bus, through which a desktop shows icons (DBUS_SESSION_BUS_ADDRESS).\n" +
	"  Start warren-tray in a desktop's session, or under dbus-run-session")

// Desktop is the person's desktop.
type Desktop struct {
	// Keep puts a text into the clipboard without another program; nil where it cannot.
	Keep func(ctx context.Context, text string) error

	conn    *dbus.Conn
	environ []string
	answer  atomic.Pointer[Answer]
}

// Answer gives what a method of an object returns; it is false for what is to be called as usual.
type Answer func(path dbus.ObjectPath, method string, args []any) ([]any, bool)

// Connect joins the session bus. Close leaves it.
func Connect(ctx context.Context, environ []string) (*Desktop, error) {
	address := env(environ, "DBUS_SESSION_BUS_ADDRESS")
	if dir := env(environ, "XDG_RUNTIME_DIR"); address == "" && filepath.IsAbs(dir) {
		address = "unix:path=" + dbus.EscapeBusAddressValue(filepath.Join(dir, "bus"))
	}
	if address == "" {
		return nil, ErrNoBus
	}
	d := &Desktop{environ: environ}
	conn, err := dbus.Connect(address, dbus.WithContext(ctx), dbus.WithIncomingInterceptor(d.asked))
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNoBus, err)
	}
	d.conn = conn
	return d, nil
}

// InOrder has calls answered in the order in which they come. The bus's library calls each method on a goroutine of its own, so
// that the last one of several is often answered first. answer must not block.
func (d *Desktop) InOrder(answer Answer) { d.answer.Store(&answer) }

// asked sees each message before the library acts on it, one after another.
func (d *Desktop) asked(m *dbus.Message) {
	answer := d.answer.Load()
	if answer == nil || m.Type != dbus.TypeMethodCall || m.Flags&dbus.FlagNoReplyExpected != 0 {
		return
	}
	path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	of, _ := m.Headers[dbus.FieldInterface].Value().(string)
	method, _ := m.Headers[dbus.FieldMember].Value().(string)
	values, ok := (*answer)(path, of+"."+method, m.Body)
	if !ok {
		return
	}
	m.Flags |= dbus.FlagNoReplyExpected // what the library's own call returns is for nobody
	reply := &dbus.Message{Type: dbus.TypeMethodReply, Body: values, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(m.Serial()), dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(values...)),
	}}
	if sender, ok := m.Headers[dbus.FieldSender]; ok {
		reply.Headers[dbus.FieldDestination] = sender
	}
	d.conn.Send(reply, nil)
}

// Close leaves the bus.
func (d *Desktop) Close() error { return d.conn.Close() }

// Conn is the session bus.
func (d *Desktop) Conn() *dbus.Conn { return d.conn }

// activatable is the interface of programs that a desktop starts, and brings to the front.
const activatable = "org.freedesktop.Application"

// objectPath is where the program of a name has that interface.
func objectPath(name string) dbus.ObjectPath {
	return dbus.ObjectPath("/" + strings.ReplaceAll(name, ".", "/"))
}

// application is a program's part of org.freedesktop.Application, by which a desktop starts it and brings it to the front.
type application struct{ activated func(page string) }

// Activate shows the program.
func (a application) Activate(map[string]dbus.Variant) *dbus.Error {
	a.activated("")
	return nil
}

// Open shows files; the program has none.
func (a application) Open([]string, map[string]dbus.Variant) *dbus.Error {
	a.activated("")
	return nil
}

// ActivateAction shows a page.
func (a application) ActivateAction(page string, _ []dbus.Variant, _ map[string]dbus.Variant) *dbus.Error {
	a.activated(page)
	return nil
}

// Alone takes a name of the program on the bus. Where another one has it, that is asked to show a page, and Alone is
// false. activated is called when others ask this one.
func (d *Desktop) Alone(ctx context.Context, name, page string, activated func(page string)) (bool, error) {
	if err := d.conn.Export(application{activated}, objectPath(name), activatable); err != nil {
		return false, err
	}
	reply, err := d.conn.RequestName(name, dbus.NameFlagDoNotQueue)
	if err != nil {
		return false, fmt.Errorf("the name on the session bus: %w", err)
	}
	if reply == dbus.RequestNameReplyPrimaryOwner {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return false, d.activate(ctx, name, page)
}

// actionQuit ends a program, in place of a page's name.
const actionQuit = "quit"

// Quits tells whether another program asks this one to end, where Alone's callback gets a page.
func Quits(page string) bool { return page == actionQuit }

// Quit asks the program that has a name to end, if there is one.
func (d *Desktop) Quit(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	_ = d.activate(ctx, name, actionQuit) // an error is that there is none
}

// activate has the program that has a name do something: show a page.
func (d *Desktop) activate(ctx context.Context, name, page string) error {
	o := d.conn.Object(name, objectPath(name))
	return o.CallWithContext(ctx, activatable+".ActivateAction", dbus.FlagNoAutoStart, page, []dbus.Variant{}, map[string]dbus.Variant{}).Err
}

// OpenPage shows a page in the person's browser through the desktop's portal. The caller must have built the address
// itself.
func (d *Desktop) OpenPage(ctx context.Context, page string) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	portal := d.conn.Object("org.freedesktop.portal.Desktop", "/org/freedesktop/portal/desktop")
	return portal.CallWithContext(ctx, "org.freedesktop.portal.OpenURI.OpenURI", 0, "", page, map[string]dbus.Variant{}).Err
}

// Copy puts a text into the clipboard.
func (d *Desktop) Copy(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	klipper := d.conn.Object("org.kde.klipper", "/klipper")
	err := klipper.CallWithContext(ctx, "org.kde.klipper.klipper.setClipboardContents", dbus.FlagNoAutoStart, text).Err
	if err == nil {
		return nil
	}
	for _, c := range []struct{ display, program, flag, value string }{
		{"WAYLAND_DISPLAY", "wl-copy", "--type", "text/plain"}, {"DISPLAY", "xclip", "-selection", "clipboard"}, {"DISPLAY", "xsel", "-b", "-i"},
	} {
		if env(d.environ, c.display) == "" {
			continue
		}
		path, lost := exec.LookPath(c.program)
		if lost != nil || !filepath.IsAbs(path) {
			continue
		}
		cmd := exec.CommandContext(ctx, path, c.flag, c.value)
		cmd.Stdin = bytes.NewReader([]byte(text)) // a command line can be read by others
		cmd.Env = d.environ
		// It stays behind, to hand the text out: its end is not waited for longer than for its start.
		cmd.WaitDelay = time.Second
		if err = cmd.Run(); err == nil {
			return nil
		}
	}
	if d.Keep != nil {
		if err = d.Keep(ctx, text); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no clipboard can be reached: %w", err)
}

func env(environ []string, name string) string {
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}
