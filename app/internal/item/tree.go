package item

import (
	"maps"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/warren-mesh/warren/app/internal/view"
)

// node is a line of the menu as the panel has it. It does not change.
type node struct {
	id       int32
	props    map[string]dbus.Variant // all but the defaults
	children []int32
	do       view.Intent
	click    bool // it can be clicked
}

// tree is a whole menu; 0 is its root.
type tree struct {
	nodes   map[int32]*node
	numbers map[string]int32 // by key
	next    int32            // number
}

// grow makes the tree of a menu. What was in the old one keeps its number.
func (old *tree) grow(items []view.Item) *tree {
	t := &tree{nodes: map[int32]*node{}, numbers: map[string]int32{}, next: old.next}
	root := &node{props: map[string]dbus.Variant{"children-display": dbus.MakeVariant("submenu")}}
	root.children = t.add(old, items)
	t.nodes[0] = root
	return t
}

func (t *tree) add(old *tree, items []view.Item) []int32 {
	var ids []int32
	for i := range items {
		item := &items[i]
		if _, twice := t.numbers[item.Key]; twice {
			continue // the view does not do that; two lines of one number would confuse every panel
		}
		id, known := old.numbers[item.Key]
		if !known {
			t.next++
			id = t.next
		}
		t.numbers[item.Key] = id
		n := &node{id: id, props: properties(item), do: item.Do}
		n.click = !item.Disabled && !item.Hidden && !item.Separator && item.Items == nil
		n.children = t.add(old, item.Items)
		t.nodes[id] = n
		ids = append(ids, id)
	}
	return ids
}

// properties are what the protocol calls them. What has its default is left out.
func properties(i *view.Item) map[string]dbus.Variant {
	p := map[string]dbus.Variant{}
	if i.Separator {
		p["type"] = dbus.MakeVariant("separator")
	} else {
		// An underscore marks the next letter as a key to press.
		p["label"] = dbus.MakeVariant(strings.ReplaceAll(i.Label, "_", "__"))
	}
	if i.Disabled {
		p["enabled"] = dbus.MakeVariant(false)
	}
	if i.Hidden {
		p["visible"] = dbus.MakeVariant(false)
	}
	if i.Items != nil {
		p["children-display"] = dbus.MakeVariant("submenu")
	}
	if i.Toggle != view.ToggleNone {
		state := int32(0)
		if i.Checked {
			state = 1
		}
		p["toggle-type"], p["toggle-state"] = dbus.MakeVariant(string(i.Toggle)), dbus.MakeVariant(state)
	}
	return p
}

// updated and removed are properties of one item, as ItemsPropertiesUpdated has them.
type (
	updated struct {
		ID    int32
		Props map[string]dbus.Variant
	}
	removed struct {
		ID    int32
		Names []string
	}
)

// change is what became different from one tree to the next.
type change struct {
	updated []updated
	removed []removed
	layout  bool
	parent  int32 // of the lines that came, went or moved; the root where there are several
}

// since compares. What is new in the tree is told with the list that it is in.
func (t *tree) since(old *tree) change {
	var c change
	for _, id := range slices.Sorted(maps.Keys(t.nodes)) {
		now, was := t.nodes[id], old.nodes[id]
		if was == nil {
			continue
		}
		if !slices.Equal(now.children, was.children) {
			if c.layout {
				c.parent = 0
			} else {
				c.layout, c.parent = true, id
			}
		}
		set := map[string]dbus.Variant{}
		for name, value := range now.props {
			if before, had := was.props[name]; !had || before.Value() != value.Value() {
				set[name] = value
			}
		}
		if len(set) > 0 {
			c.updated = append(c.updated, updated{id, set})
		}
		var gone []string
		for name := range was.props {
			if _, has := now.props[name]; !has {
				gone = append(gone, name)
			}
		}
		if slices.Sort(gone); len(gone) > 0 {
			c.removed = append(c.removed, removed{id, gone})
		}
	}
	return c
}
