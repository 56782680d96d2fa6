package item

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	"github.com/warren-mesh/warren/app/internal/icon"
	"github.com/warren-mesh/warren/app/internal/view"
)

// Of the StatusNotifierItem's protocol.
const (
	itemInterface = "org.kde.StatusNotifierItem"
	itemPath      = dbus.ObjectPath("/StatusNotifierItem")
	watcher       = "org.kde.StatusNotifierWatcher"
	watcherPath   = dbus.ObjectPath("/StatusNotifierWatcher")
)

// Item is the icon. Its methods may be called by anyone at any time.
type Item struct {
	conn   *dbus.Conn
	clicks func(view.Intent)
	opens  func()

	mu       sync.Mutex
	shown    view.Menu
	dark     bool // the desktop is
	tree     *tree
	revision uint32
}

// New puts an icon on the bus; Run shows it. clicks gets what a person asks for in the menu, opens is called when the
// icon itself is clicked, where the desktop tells the two apart; neither may block. Without opens a click opens the menu.
func New(conn *dbus.Conn, id string, first view.Menu, clicks func(view.Intent), opens func()) (*Item, error) {
	i := &Item{conn: conn, clicks: clicks, opens: opens, shown: first, revision: 1}
	i.tree = (&tree{}).grow(first.Items)
	if err := (menu{i}).export(conn); err != nil {
		return nil, fmt.Errorf("the menu on the session bus: %w", err)
	}
	var signals []introspect.Signal
	for _, name := range []string{"NewTitle", "NewIcon", "NewAttentionIcon", "NewToolTip"} {
		signals = append(signals, introspect.Signal{Name: name})
	}
	signals = append(signals, introspect.Signal{Name: "NewStatus", Args: []introspect.Arg{{Name: "status", Type: "s"}}})
	if err := export(conn, itemPath, methods{i}, readable{itemInterface, func() map[string]any { return i.properties(id) }}, signals); err != nil {
		return nil, fmt.Errorf("the icon on the session bus: %w", err)
	}
	return i, nil
}

// properties are org.kde.StatusNotifierItem's.
func (i *Item) properties(id string) map[string]any {
	i.mu.Lock()
	shown, dark := i.shown, i.dark
	i.mu.Unlock()
	status, tip := look(shown)
	return map[string]any{
		"Category": "Communications", "Id": id, "Title": "Warren", "Status": status, "WindowId": int32(0),
		"IconThemePath": "", "IconName": "", "IconPixmap": pixmaps(shown.Icon, dark),
		"OverlayIconName": "", "OverlayIconPixmap": []pixmap{},
		"AttentionIconName": "", "AttentionIconPixmap": pixmaps(view.IconAttention, dark), "AttentionMovieName": "",
		"ToolTip": tip, "ItemIsMenu": i.opens == nil, "Menu": menuPath,
	}
}

// look is how a menu's icon stands out, and what it says.
func look(m view.Menu) (status string, tip toolTip) {
	status = "Active"
	if m.Icon == view.IconAttention {
		status = "NeedsAttention"
	}
	return status, toolTip{Icons: []pixmap{}, Title: tipText.Replace(m.Tooltip)}
}

// tipText keeps what is written from being markup: some desktops read it as HTML. Others show it as it is, so that nothing else
// is escaped: no apostrophe, which names and sentences have.
var tipText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// toolTip is as the protocol has it.
type toolTip struct {
	Icon  string
	Icons []pixmap
	Title string
	Text  string
}

// pixmap is an image: ARGB, eight bits each, not premultiplied.
type pixmap struct {
	Width, Height int32
	Data          []byte
}

// sizes of icons, in pixels: what panels ask for at 100, 150 and 200 %.
var sizes = []int{16, 22, 24, 32, 48, 64}

// picture is an icon as it is on a desktop.
type picture struct {
	icon view.Icon
	dark bool
}

// drawn are the icons in all sizes, by picture: a panel reads them at each change, and to draw them takes longer than all else.
var drawn sync.Map

func pixmaps(of view.Icon, dark bool) []pixmap {
	key := picture{of, dark}
	if all, ok := drawn.Load(key); ok {
		return all.([]pixmap)
	}
	all := make([]pixmap, 0, len(sizes))
	for _, size := range sizes {
		img := icon.DrawOn(of, size, dark)
		data := make([]byte, 0, 4*size*size)
		for p := 0; p < len(img.Pix); p += 4 {
			data = append(data, img.Pix[p+3], img.Pix[p], img.Pix[p+1], img.Pix[p+2])
		}
		all = append(all, pixmap{int32(size), int32(size), data})
	}
	drawn.Store(key, all)
	return all
}

// SetDark tells whether the desktop is dark, which the icon follows.
func (i *Item) SetDark(dark bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dark != dark {
		i.dark = dark
		i.emit(itemPath, itemInterface+".NewIcon")
		i.emit(itemPath, itemInterface+".NewAttentionIcon")
	}
}

// Show changes what the panel shows, where it is different.
func (i *Item) Show(m view.Menu) {
	i.mu.Lock()
	defer i.mu.Unlock()
	was := i.shown
	i.shown = m
	next := i.tree.grow(m.Items)
	c := next.since(i.tree)
	i.tree = next
	if c.layout {
		i.revision++
	}
	if len(c.updated)+len(c.removed) > 0 {
		i.emit(menuPath, menuInterface+".ItemsPropertiesUpdated", append([]updated{}, c.updated...), append([]removed{}, c.removed...))
	}
	if c.layout {
		i.emit(menuPath, menuInterface+".LayoutUpdated", i.revision, c.parent)
	}
	if was.Icon != m.Icon {
		i.emit(itemPath, itemInterface+".NewIcon")
	}
	before, _ := look(was)
	status, _ := look(m)
	if before != status {
		i.emit(itemPath, itemInterface+".NewStatus", status)
	}
	if was.Tooltip != m.Tooltip {
		i.emit(itemPath, itemInterface+".NewToolTip")
	}
}

// emit tells the panel. A bus that is gone is seen by Run.
func (i *Item) emit(path dbus.ObjectPath, name string, values ...any) {
	_ = i.conn.Emit(path, name, values...)
}

func (i *Item) snapshot() (*tree, uint32) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.tree, i.revision
}

func (i *Item) clicked(do view.Intent) { i.clicks(do) }

// methods are org.kde.StatusNotifierItem's.
type methods struct{ item *Item }

// Activate is a click on the icon.
func (m methods) Activate(_, _ int32) *dbus.Error {
	if m.item.opens != nil {
		m.item.opens()
	}
	return nil
}

// SecondaryActivate is one with the middle button.
func (m methods) SecondaryActivate(x, y int32) *dbus.Error { return m.Activate(x, y) }

// ContextMenu asks for a menu that the program draws itself; panels draw ours.
func (methods) ContextMenu(_, _ int32) *dbus.Error { return nil }

// Scroll is the mouse's wheel.
func (methods) Scroll(_ int32, _ string) *dbus.Error { return nil }

// Run registers the icon with the desktop's panel, again whenever that starts anew, until ctx ends or the bus is gone.
// hosted is told, at first and at each change, whether there is a panel that shows icons.
func (i *Item) Run(ctx context.Context, hosted func(bool)) error {
	name := fmt.Sprintf("org.kde.StatusNotifierItem-%d-1", os.Getpid())
	if _, err := i.conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil {
		return fmt.Errorf("the icon's name on the session bus: %w", err)
	}
	signals := make(chan *dbus.Signal, 16)
	i.conn.Signal(signals)
	defer i.conn.RemoveSignal(signals)
	for _, match := range [][]dbus.MatchOption{
		{
			dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchInterface("org.freedesktop.DBus"),
			dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, watcher),
		},
		{dbus.WithMatchInterface(watcher), dbus.WithMatchMember("StatusNotifierHostRegistered")},
	} {
		if err := i.conn.AddMatchSignal(match...); err != nil {
			return fmt.Errorf("listening for the panel: %w", err)
		}
	}
	for {
		hosted(i.register(ctx, name))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-signals:
			if !ok {
				return fmt.Errorf("the session bus has gone")
			}
		}
	}
}

// register tells the panel of the icon, if there is one.
func (i *Item) register(ctx context.Context, name string) bool {
	w := i.conn.Object(watcher, watcherPath)
	if err := w.CallWithContext(ctx, watcher+".RegisterStatusNotifierItem", dbus.FlagNoAutoStart, name).Err; err != nil {
		return false
	}
	hosted := false
	if v, err := w.GetProperty(watcher + ".IsStatusNotifierHostRegistered"); err == nil {
		hosted, _ = v.Value().(bool)
	}
	return hosted
}
