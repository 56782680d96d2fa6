package item

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/warren-mesh/warren/app/internal/view"
)

// menus are random menus of few keys, so that they have much in common.
func menus(t *rapid.T, name string) []view.Item {
	draw := func(prefix string) []view.Item {
		keys := rapid.SliceOfNDistinct(rapid.IntRange(0, 6), 0, 7, rapid.ID[int]).Draw(t, name+prefix)
		var items []view.Item
		for _, k := range keys {
			items = append(items, view.Item{
				Key: fmt.Sprint(prefix, k), Label: rapid.SampledFrom([]string{"a", "b_c"}).Draw(t, "label"),
				Hidden: rapid.Bool().Draw(t, "hidden"), Disabled: rapid.Bool().Draw(t, "disabled"), Checked: rapid.Bool().Draw(t, "checked"),
				Toggle: rapid.SampledFrom([]view.Toggle{view.ToggleNone, view.ToggleRadio}).Draw(t, "toggle"),
			})
		}
		return items
	}
	items := draw("top")
	for i := range items {
		if i < 2 {
			items[i].Items = draw(items[i].Key + "-")
		}
	}
	return items
}

// A panel that applies the changes that it is told must have what the tree has; and a key must keep its number.
func TestChangesLeadFromOneMenuToTheNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		was := (&tree{}).grow(menus(t, "first"))
		highest := was.next
		for range 3 {
			now := was.grow(menus(t, "next"))
			for key, id := range now.numbers {
				if before, known := was.numbers[key]; known && before != id || !known && id <= highest {
					t.Fatalf("%s had %d, and has %d; the highest was %d", key, before, id, highest)
				}
			}
			c := now.since(was)
			panel := map[int32]*node{}
			for id, n := range was.nodes {
				copied := *n
				panel[id] = &copied
			}
			told(panel, now, c)
			for id, n := range now.nodes {
				seen := panel[id]
				if seen == nil || !slices.Equal(seen.children, n.children) || fmt.Sprint(seen.props) != fmt.Sprint(n.props) {
					t.Fatalf("the panel has %+v, the program %+v, told was %+v", seen, n, c)
				}
			}
			was, highest = now, now.next
		}
	})
}

// told is what a panel does with a change.
func told(panel map[int32]*node, now *tree, c change) {
	for _, u := range c.updated {
		panel[u.ID].props = maps.Clone(panel[u.ID].props)
		maps.Copy(panel[u.ID].props, u.Props)
	}
	for _, r := range c.removed {
		panel[r.ID].props = maps.Clone(panel[r.ID].props)
		for _, name := range r.Names {
			delete(panel[r.ID].props, name)
		}
	}
	if c.layout {
		take(panel, now, c.parent)
	}
}

func take(panel map[int32]*node, now *tree, id int32) {
	copied := *now.nodes[id]
	panel[id] = &copied
	for _, child := range copied.children {
		take(panel, now, child)
	}
}

func TestAPanelMayAskForAnything(t *testing.T) {
	i := &Item{revision: 1, clicks: func(do view.Intent) { t.Errorf("%v was clicked", do) }}
	i.tree = (&tree{}).grow([]view.Item{{Key: "a", Label: "a_b"}, {Key: "off", Label: "off", Disabled: true, Do: view.Intent{Op: view.OpQuit}}})
	m := menu{i}
	for _, id := range []int32{-1, 3, 1 << 30, -1 << 31} {
		if _, _, err := m.GetLayout(id, -1, nil); err == nil {
			t.Errorf("there is a layout of %d", id)
		}
		if _, err := m.GetProperty(id, "label"); err == nil {
			t.Errorf("there is a label of %d", id)
		}
		if missing, _ := m.EventGroup([]happened{{ID: id, Event: "clicked"}}); len(missing) != 1 {
			t.Errorf("%d can be clicked", id)
		}
	}
	if err := m.Event(2, "clicked", defaults["label"], 0); err != nil { // it is off: nothing happens
		t.Error(err)
	}
	if v, err := m.GetProperty(1, "label"); err != nil || v.Value() != "a__b" {
		t.Errorf("the label is %v, %v", v, err)
	}
	if v, err := m.GetProperty(1, "visible"); err != nil || v.Value() != true {
		t.Errorf("visible is %v, %v", v, err)
	}
	if _, err := m.GetProperty(1, "colour"); err == nil {
		t.Error("it has a colour")
	}
	if _, l, err := m.GetLayout(0, 0, []string{"label"}); err != nil || len(l.Children) != 0 || len(l.Props) != 0 {
		t.Errorf("the root alone is %+v, %v", l, err)
	}
	if all, _ := m.GetGroupProperties(nil, nil); len(all) != 3 {
		t.Errorf("all are %d", len(all))
	}
}
