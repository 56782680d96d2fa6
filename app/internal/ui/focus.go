package ui

import (
	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"
)

// What can be reached with Tab: as Fyne's own, which know Space alone. Enter does the same here, Escape is the window's, and what
// gets the focus comes into sight.

// push is a button.
type push struct{ widget.Button }

func newPush(label string, icon fyne.Resource, do func()) *push {
	p := &push{widget.Button{Text: label, Icon: icon, OnTapped: do}}
	p.ExtendBaseWidget(p)
	return p
}

// FocusGained implements fyne.Focusable.
func (p *push) FocusGained() {
	p.Button.FocusGained()
	reveal(p)
}

// TypedKey implements fyne.Focusable.
func (p *push) TypedKey(k *fyne.KeyEvent) {
	if enters(k) {
		k = &fyne.KeyEvent{Name: fyne.KeySpace}
	}
	if !escapes(p, k) {
		p.Button.TypedKey(k)
	}
}

// check is a switch.
type check struct{ widget.Check }

func newCheck(label string, changed func(bool)) *check {
	c := &check{widget.Check{Text: label, OnChanged: changed}}
	c.ExtendBaseWidget(c)
	return c
}

// FocusGained implements fyne.Focusable.
func (c *check) FocusGained() {
	c.Check.FocusGained()
	reveal(c)
}

// TypedKey implements fyne.Focusable.
func (c *check) TypedKey(k *fyne.KeyEvent) {
	if enters(k) {
		c.TypedRune(' ')
	}
	escapes(c, k)
}

// list is a list to choose from.
type list struct {
	widget.List
	chosen func() bool // whether one is chosen: then what the arrows lead to is chosen at once; nil: it is not
}

func newList(length func() int, create func() fyne.CanvasObject, update func(widget.ListItemID, fyne.CanvasObject)) *list {
	l := &list{List: widget.List{Length: length, CreateItem: create, UpdateItem: update}}
	l.ExtendBaseWidget(l)
	return l
}

// TypedKey implements fyne.Focusable.
func (l *list) TypedKey(k *fyne.KeyEvent) {
	space := &fyne.KeyEvent{Name: fyne.KeySpace}
	switch {
	case escapes(l, k):
	case enters(k):
		l.List.TypedKey(space)
	case l.chosen != nil && (k.Name == fyne.KeyDown || k.Name == fyne.KeyUp):
		if l.chosen() { // else the first one is
			l.List.TypedKey(k)
		}
		l.List.TypedKey(space)
	default:
		l.List.TypedKey(k)
	}
}

func enters(k *fyne.KeyEvent) bool { return k.Name == fyne.KeyReturn || k.Name == fyne.KeyEnter }

// escapes gives Escape to the window, and tells whether it was that.
func escapes(o fyne.CanvasObject, k *fyne.KeyEvent) bool {
	if k.Name != fyne.KeyEscape {
		return false
	}
	if c := fyne.CurrentApp().Driver().CanvasForObject(o); c != nil && c.OnTypedKey() != nil {
		c.OnTypedKey()(k)
	}
	return true
}

// reveal scrolls what has the focus into sight.
func reveal(o fyne.CanvasObject) {
	d := fyne.CurrentApp().Driver()
	c := d.CanvasForObject(o)
	if c == nil {
		return
	}
	for _, s := range around(c.Content(), o) {
		at := d.AbsolutePositionForObject(o).Subtract(d.AbsolutePositionForObject(s))
		to, pad := s.Offset, theme.Padding()
		to.X += beyond(at.X-pad, o.Size().Width+2*pad, s.Size().Width)
		to.Y += beyond(at.Y-pad, o.Size().Height+2*pad, s.Size().Height)
		if to != s.Offset {
			s.ScrollToOffset(to)
		}
	}
}

// beyond is how far what begins at a place, and is so long, has to move to be within a length.
func beyond(at, long, within float32) float32 {
	if at < 0 || long > within {
		return at
	}
	return max(0, at+long-within)
}

// around gives what scrolls an object, the outermost first; nil also where the object is not below root.
func around(root, o fyne.CanvasObject) []*container.Scroll {
	scrolls, _ := path(root, o)
	return scrolls
}

func path(root, o fyne.CanvasObject) (scrolls []*container.Scroll, found bool) {
	var below []fyne.CanvasObject
	switch r := root.(type) {
	case *fyne.Container:
		below = r.Objects
	case *container.Scroll:
		below, scrolls = []fyne.CanvasObject{r.Content}, []*container.Scroll{r}
	case *container.AppTabs:
		for _, t := range r.Items {
			below = append(below, t.Content)
		}
	}
	for _, b := range below {
		if b == o {
			return scrolls, true
		}
		if inner, ok := path(b, o); ok {
			return append(scrolls, inner...), true
		}
	}
	return nil, false
}
