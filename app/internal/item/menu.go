package item

import (
	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
)

// Of com.canonical.dbusmenu.
const (
	menuInterface = "com.canonical.dbusmenu"
	menuPath      = dbus.ObjectPath("/StatusNotifierItem/menu")
	menuVersion   = uint32(3) // of the protocol
	// maxAsked bounds what a panel can ask about at once.
	maxAsked = 10_000
)

// layout is an item with those below it, as GetLayout has it.
type layout struct {
	ID       int32
	Props    map[string]dbus.Variant
	Children []dbus.Variant
}

// menu answers the panel. Its methods are com.canonical.dbusmenu's.
type menu struct{ item *Item }

var errNoItem = dbus.NewError("com.canonical.dbusmenu.Error.NoSuchItem", []any{"the menu has no such item"})

// GetLayout gives the menu below an item, depth levels of it, or all with -1.
func (m menu) GetLayout(parent, depth int32, names []string) (uint32, layout, *dbus.Error) {
	t, revision := m.item.snapshot()
	if t.nodes[parent] == nil {
		return 0, layout{}, errNoItem
	}
	return revision, t.layout(parent, depth, names), nil
}

func (t *tree) layout(id, depth int32, names []string) layout {
	n := t.nodes[id]
	l := layout{ID: id, Props: n.only(names), Children: []dbus.Variant{}}
	if depth != 0 {
		for _, child := range n.children {
			l.Children = append(l.Children, dbus.MakeVariant(t.layout(child, depth-1, names)))
		}
	}
	return l
}

// Answer is GetLayout and GetGroupProperties, for a bus that keeps their order. The panels of GNOME and Xfce (libdbusmenu) ask for
// the properties of each list in turn, and show a submenu empty for good whose lines they learn of before the line that opens it.
func (i *Item) Answer(path dbus.ObjectPath, method string, args []any) ([]any, bool) {
	if path != menuPath {
		return nil, false
	}
	switch method {
	case menuInterface + ".GetLayout":
		var parent, depth int32
		var names []string
		if dbus.Store(args, &parent, &depth, &names) != nil {
			return nil, false
		}
		revision, l, err := menu{i}.GetLayout(parent, depth, names)
		return []any{revision, l}, err == nil
	case menuInterface + ".GetGroupProperties":
		var ids []int32
		var names []string
		if dbus.Store(args, &ids, &names) != nil {
			return nil, false
		}
		all, err := menu{i}.GetGroupProperties(ids, names)
		return []any{all}, err == nil
	}
	return nil, false
}

// only gives the named properties, or all without a name.
func (n *node) only(names []string) map[string]dbus.Variant {
	if len(names) == 0 {
		return n.props
	}
	some := map[string]dbus.Variant{}
	for _, name := range names {
		if v, ok := n.props[name]; ok {
			some[name] = v
		}
	}
	return some
}

// GetGroupProperties gives the properties of several items, of all without an id.
func (m menu) GetGroupProperties(ids []int32, names []string) ([]updated, *dbus.Error) {
	t, _ := m.item.snapshot()
	if len(ids) == 0 {
		for id := range t.nodes {
			ids = append(ids, id)
		}
	}
	all := []updated{}
	for _, id := range ids[:min(len(ids), maxAsked)] {
		if n := t.nodes[id]; n != nil {
			all = append(all, updated{id, n.only(names)})
		}
	}
	return all, nil
}

// defaults are the properties that are not told.
var defaults = map[string]dbus.Variant{
	"type": dbus.MakeVariant("standard"), "label": dbus.MakeVariant(""), "enabled": dbus.MakeVariant(true), "visible": dbus.MakeVariant(true),
	"toggle-type": dbus.MakeVariant(""), "toggle-state": dbus.MakeVariant(int32(-1)), "children-display": dbus.MakeVariant(""),
}

// GetProperty gives one.
func (m menu) GetProperty(id int32, name string) (dbus.Variant, *dbus.Error) {
	t, _ := m.item.snapshot()
	n := t.nodes[id]
	if n == nil {
		return dbus.Variant{}, errNoItem
	}
	if v, ok := n.props[name]; ok {
		return v, nil
	}
	if v, ok := defaults[name]; ok {
		return v, nil
	}
	return dbus.Variant{}, dbus.NewError("com.canonical.dbusmenu.Error.NoSuchProperty", []any{"items have no such property"})
}

// Event says what a person did.
func (m menu) Event(id int32, event string, _ dbus.Variant, _ uint32) *dbus.Error {
	t, _ := m.item.snapshot()
	n := t.nodes[id]
	if n == nil {
		return errNoItem
	}
	if event == "clicked" && n.click {
		m.item.clicked(n.do)
	}
	return nil
}

// happened is one of EventGroup.
type happened struct {
	ID    int32
	Event string
	Data  dbus.Variant
	Time  uint32
}

// EventGroup is Event for several. It gives those that there are not.
func (m menu) EventGroup(events []happened) ([]int32, *dbus.Error) {
	missing := []int32{}
	for _, e := range events[:min(len(events), maxAsked)] {
		if m.Event(e.ID, e.Event, e.Data, e.Time) != nil {
			missing = append(missing, e.ID)
		}
	}
	return missing, nil
}

// AboutToShow says that the menu is as it should be: it always is.
func (m menu) AboutToShow(int32) (bool, *dbus.Error) { return false, nil }

// AboutToShowGroup is AboutToShow for several.
func (m menu) AboutToShowGroup([]int32) (needed, missing []int32, _ *dbus.Error) {
	return []int32{}, []int32{}, nil
}

// export puts the menu on the bus.
func (m menu) export(conn *dbus.Conn) error {
	return export(conn, menuPath, m, readable{menuInterface, func() map[string]any {
		return map[string]any{"Version": menuVersion, "TextDirection": "ltr", "Status": "normal", "IconThemePath": []string{}}
	}}, []introspect.Signal{
		{Name: "ItemsPropertiesUpdated", Args: []introspect.Arg{{Name: "updated", Type: "a(ia{sv})"}, {Name: "removed", Type: "a(ias)"}}},
		{Name: "LayoutUpdated", Args: []introspect.Arg{{Name: "revision", Type: "u"}, {Name: "parent", Type: "i"}}},
	})
}
