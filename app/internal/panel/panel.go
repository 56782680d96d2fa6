// Package panel plays a desktop's panel for tests: on a session bus of its own it is the StatusNotifierWatcher, reads
// the icon that registers, and reads and clicks its menu as com.canonical.dbusmenu has it. It keeps what a real panel
// keeps: it asks for the menu once, follows the signals, and asks again only for what they name.
package panel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
)

const (
	watcher       = "org.kde.StatusNotifierWatcher"
	watcherPath   = dbus.ObjectPath("/StatusNotifierWatcher")
	itemInterface = "org.kde.StatusNotifierItem"
	menuInterface = "com.canonical.dbusmenu"
	notifier      = "org.freedesktop.Notifications"
)

// Line is a line of the menu, as a person sees it.
type Line struct {
	ID        int32
	Label     string // without the marks of keys
	Separator bool   `json:",omitempty"`
	Disabled  bool   `json:",omitempty"`
	Hidden    bool   `json:",omitempty"`
	Checked   bool   `json:",omitempty"`
	Lines     []Line `json:",omitempty"`
}

// Shown is all that a person sees of the tray.
type Shown struct {
	Status  string // Active or NeedsAttention
	Tooltip string
	Icon    []byte // the pixels of its smallest size
	Menu    []Line
	Notes   []string // notifications, in order
	Layouts int      // how often the menu was laid out anew
	Changes int      // how often lines of it changed
	Items   int      // icons that have registered
}

// Panel is the desktop's side. Close it.
type Panel struct {
	conn   *dbus.Conn
	work   sync.WaitGroup
	adopts chan registration

	mu      sync.Mutex
	item    dbus.BusObject
	menu    dbus.BusObject
	nodes   map[int32]*node
	shown   Shown
	changed chan struct{}       // closed and replaced at every change
	buttons map[uint32][]string // of the notifications that are shown
	last    uint32              // notification
	scheme  uint32              // of colours, as the portal has it
	theme   string              // as Xfce has it; empty: it does not say
	failed  error
}

// registration is an icon that asks to be shown.
type registration struct {
	service string
	path    dbus.ObjectPath
}

type node struct {
	props    map[string]dbus.Variant
	children []int32
}

// Bus starts a session bus in a directory, for as long as ctx lasts, and gives its address. wait returns when it has ended.
func Bus(ctx context.Context, dir string) (address string, wait func(), err error) {
	socket := filepath.Join(dir, "bus")
	conf := filepath.Join(dir, "bus.conf")
	text := `<busconfig><type>session</type><listen>unix:path=` + socket + `</listen><auth>EXTERNAL</auth><policy context="default">` +
		`<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, "dbus-daemon", "--config-file="+conf, "--nofork", "--print-address=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it says its address when it listens
		return "", nil, fmt.Errorf("dbus-daemon: %w", err)
	}
	return "unix:path=" + socket, func() { _ = cmd.Wait() }, nil
}

// Start plays the panel on a bus. Without hosted there is a watcher, but nothing that shows icons.
func Start(ctx context.Context, address string, hosted bool) (*Panel, error) {
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	p := &Panel{conn: conn, changed: make(chan struct{}), nodes: map[int32]*node{}, buttons: map[uint32][]string{}, adopts: make(chan registration, 16)}
	signals := make(chan *dbus.Signal, 1024)
	conn.Signal(signals)
	p.work.Go(func() { // one after the other: an answer must not overtake the next one
		for {
			select {
			case r := <-p.adopts:
				p.adopt(r.service, r.path)
			case s, ok := <-signals:
				if !ok {
					return
				}
				p.signal(s)
			}
		}
	})
	if err := p.export(hosted); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return p, nil
}

func (p *Panel) export(hosted bool) error {
	_, err := prop.Export(p.conn, watcherPath, prop.Map{watcher: {
		"IsStatusNotifierHostRegistered": {Value: hosted}, "ProtocolVersion": {Value: int32(0)}, "RegisteredStatusNotifierItems": {Value: []string{}},
	}})
	return errors.Join(err,
		p.conn.AddMatchSignal(dbus.WithMatchInterface(menuInterface)), p.conn.AddMatchSignal(dbus.WithMatchInterface(itemInterface)),
		p.conn.Export(registrar{p}, watcherPath, watcher),
		p.conn.Export(notes{p}, "/org/freedesktop/Notifications", notifier),
		p.conn.Export(settings{p}, "/org/freedesktop/portal/desktop", "org.freedesktop.portal.Settings"),
		p.conn.Export(xfconf{p}, "/org/xfce/Xfconf", "org.xfce.Xfconf"), p.own("org.xfce.Xfconf"),
		p.own(watcher), p.own(notifier), p.own("org.freedesktop.portal.Desktop"))
}

func (p *Panel) own(name string) error {
	reply, err := p.conn.RequestName(name, dbus.NameFlagDoNotQueue)
	if err == nil && reply != dbus.RequestNameReplyPrimaryOwner {
		err = fmt.Errorf("the bus has a %s already", name)
	}
	return err
}

// Close leaves the bus.
func (p *Panel) Close() error {
	err := p.conn.Close()
	p.work.Wait()
	return err
}

type registrar struct{ p *Panel }

// RegisterStatusNotifierItem is the watcher's; the item names itself by its bus name, or by its path.
func (r registrar) RegisterStatusNotifierItem(service string, sender dbus.Sender) *dbus.Error {
	path := dbus.ObjectPath("/StatusNotifierItem")
	if strings.HasPrefix(service, "/") {
		service, path = string(sender), dbus.ObjectPath(service)
	}
	select {
	case r.p.adopts <- registration{service, path}:
		return nil
	default:
		return dbus.MakeFailedError(errors.New("too many icons"))
	}
}

// adopt reads an icon and its menu.
func (p *Panel) adopt(service string, path dbus.ObjectPath) {
	item := p.conn.Object(service, path)
	at, err := item.GetProperty(itemInterface + ".Menu")
	if p.gone(err) {
		return
	}
	if err != nil {
		p.edit(func() { p.failed = err })
		return
	}
	menuPath, _ := at.Value().(dbus.ObjectPath)
	p.edit(func() {
		p.item, p.menu = item, p.conn.Object(service, menuPath)
		p.shown.Items++
		p.nodes = map[int32]*node{}
	})
	p.look()
	p.layout(0)
}

// gone tells whether the program has left the bus, or we have; its icon is gone then.
func (p *Panel) gone(err error) bool {
	var e dbus.Error
	left := errors.As(err, &e) && slices.Contains([]string{
		"org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Disconnected",
	}, e.Name)
	if !left && !errors.Is(err, dbus.ErrClosed) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	p.edit(func() { p.nodes = map[int32]*node{} })
	return true
}

// look reads what the icon shows.
func (p *Panel) look() {
	var all map[string]dbus.Variant
	err := p.item.Call("org.freedesktop.DBus.Properties.GetAll", 0, itemInterface).Store(&all)
	if p.gone(err) {
		return
	}
	var tip struct {
		Icon  string
		Icons []struct {
			W, H int32
			Data []byte
		}
		Title, Text string
	}
	var icons []struct {
		W, H int32
		Data []byte
	}
	status := ""
	if err == nil {
		err = errors.Join(all["ToolTip"].Store(&tip), all["IconPixmap"].Store(&icons), all["Status"].Store(&status))
	}
	p.edit(func() {
		p.failed = errors.Join(p.failed, err)
		p.shown.Status, p.shown.Tooltip = status, tip.Title
		if len(icons) > 0 {
			p.shown.Icon = icons[0].Data
		}
	})
}

// layout asks for the menu below an item.
func (p *Panel) layout(parent int32) {
	var revision uint32
	var top struct {
		ID       int32
		Props    map[string]dbus.Variant
		Children []dbus.Variant
	}
	err := p.menu.Call(menuInterface+".GetLayout", 0, parent, int32(-1), []string{}).Store(&revision, &top)
	if p.gone(err) {
		return
	}
	p.edit(func() {
		p.failed = errors.Join(p.failed, err)
		p.shown.Layouts++
		if err == nil {
			p.take(top.ID, top.Props, top.Children)
		}
	})
}

// take puts a part of the menu in place of what it was.
func (p *Panel) take(id int32, props map[string]dbus.Variant, children []dbus.Variant) {
	n := &node{props: props}
	p.nodes[id] = n
	for _, c := range children {
		var child struct {
			ID       int32
			Props    map[string]dbus.Variant
			Children []dbus.Variant
		}
		if err := c.Store(&child); err != nil {
			p.failed = errors.Join(p.failed, err)
			return
		}
		n.children = append(n.children, child.ID)
		p.take(child.ID, child.Props, child.Children)
	}
}

// signal follows what the program tells.
func (p *Panel) signal(s *dbus.Signal) {
	if p.item == nil {
		return
	}
	switch s.Name {
	case menuInterface + ".LayoutUpdated":
		if parent, ok := s.Body[1].(int32); ok {
			p.layout(parent)
		}
	case menuInterface + ".ItemsPropertiesUpdated":
		p.properties(s)
	case itemInterface + ".NewIcon", itemInterface + ".NewStatus", itemInterface + ".NewToolTip":
		p.look()
	}
}

func (p *Panel) properties(s *dbus.Signal) {
	var set []struct {
		ID    int32
		Props map[string]dbus.Variant
	}
	var gone []struct {
		ID    int32
		Names []string
	}
	err := dbus.Store(s.Body, &set, &gone)
	p.edit(func() {
		p.failed = errors.Join(p.failed, err)
		p.shown.Changes++
		for _, u := range set {
			if n := p.nodes[u.ID]; n != nil {
				for name, v := range u.Props {
					n.props[name] = v
				}
			}
		}
		for _, r := range gone {
			if n := p.nodes[r.ID]; n != nil {
				for _, name := range r.Names {
					delete(n.props, name)
				}
			}
		}
	})
}

func (p *Panel) edit(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Shown gives what is to be seen now.
func (p *Panel) Shown() (Shown, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shown
	s.Menu, s.Notes = p.lines(0), slices.Clone(s.Notes)
	return s, p.failed
}

func (p *Panel) lines(parent int32) []Line {
	var lines []Line
	if p.nodes[parent] == nil {
		return nil
	}
	for _, id := range p.nodes[parent].children {
		n := p.nodes[id]
		label, _ := n.props["label"].Value().(string)
		kind, _ := n.props["type"].Value().(string)
		enabled, has := n.props["enabled"].Value().(bool)
		visible, hides := n.props["visible"].Value().(bool)
		state, _ := n.props["toggle-state"].Value().(int32)
		// A single underscore marks a key.
		label = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(label, "__", "\x00"), "_", ""), "\x00", "_")
		lines = append(lines, Line{
			ID: id, Label: label, Separator: kind == "separator", Disabled: has && !enabled, Hidden: hides && !visible, Checked: state == 1,
			Lines: p.lines(id),
		})
	}
	return lines
}

// Await returns when what is shown is what ok wants.
func (p *Panel) Await(ctx context.Context, ok func(Shown) bool) (Shown, error) {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		s, err := p.Shown()
		if err != nil {
			return s, err
		}
		if ok(s) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			text, _ := json.MarshalIndent(s, "", " ")
			return s, fmt.Errorf("%w; shown is %s", context.Cause(ctx), text)
		case <-changed:
		}
	}
}

// Find gives the line of the labels: of the menu, then of its submenu. A label may be cut, with "…" at its end.
func (s Shown) Find(labels ...string) (Line, bool) {
	lines := s.Menu
	for n, label := range labels {
		start, cut := strings.CutSuffix(label, "…")
		i := slices.IndexFunc(lines, func(l Line) bool {
			return !l.Hidden && !l.Separator && (l.Label == label || cut && strings.HasPrefix(l.Label, start))
		})
		if i < 0 {
			return Line{}, false
		}
		if n == len(labels)-1 {
			return lines[i], true
		}
		lines = lines[i].Lines
	}
	return Line{}, false
}

// Click waits for the line of the labels, until it can be clicked, and clicks it.
func (p *Panel) Click(ctx context.Context, labels ...string) error {
	s, err := p.Await(ctx, func(s Shown) bool { l, ok := s.Find(labels...); return ok && !l.Disabled })
	if err != nil {
		return fmt.Errorf("%q cannot be clicked: %w", labels, err)
	}
	l, _ := s.Find(labels...)
	return p.ClickID(ctx, l.ID)
}

// ClickID clicks a line by its number, whether it is there or not.
func (p *Panel) ClickID(ctx context.Context, id int32) error {
	p.mu.Lock()
	menu := p.menu
	p.mu.Unlock()
	return menu.CallWithContext(ctx, menuInterface+".Event", 0, id, "clicked", dbus.MakeVariant(""), uint32(0)).Err
}

// Activate clicks the icon itself.
func (p *Panel) Activate(ctx context.Context) error {
	p.mu.Lock()
	item := p.item
	p.mu.Unlock()
	return item.CallWithContext(ctx, itemInterface+".Activate", 0, int32(0), int32(0)).Err
}
