package ui

import (
	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"github.com/warren-mesh/warren/app/internal/view"
)

// exits is the page of the exit nodes: a list to choose from, and what goes with it.
type exits struct {
	object   fyne.CanvasObject
	do       func(view.Intent)
	v        view.Exits
	list     *list
	state    *widget.Label
	explains *widget.Label
	none     *widget.Label
	nearest  *push
	portal   *push
	switches *switches
	side     *fyne.Container
	line     fyne.CanvasObject // between what the page is about and what can be set
}

func newExits(do func(view.Intent)) *exits {
	x := &exits{do: do, state: widget.NewLabel(""), explains: wrapped(), none: wrapped(), switches: newSwitches(do)}
	x.state.TextStyle.Bold, x.state.SizeName, x.state.Truncation = true, theme.SizeNameSubHeadingText, fyne.TextTruncateEllipsis
	x.explains.Importance, x.none.Importance = widget.LowImportance, widget.LowImportance
	x.list = newList(func() int { return len(x.v.Rows) }, newExitRow, x.row)
	x.list.OnSelected = func(i widget.ListItemID) {
		x.list.UnselectAll() // the mark says which one is chosen
		if i < len(x.v.Rows) && !x.v.Rows[i].Chosen {
			x.do(x.v.Rows[i].Do)
		}
	}
	x.nearest = newPush("", theme.SearchIcon(), func() { do(x.v.Nearest.Do) })
	x.portal = newPush("", theme.LoginIcon(), func() { do(x.v.Portal.Do) })
	x.none.Alignment = fyne.TextAlignCenter
	nobody := container.NewVBox(layout.NewSpacer(), x.none, layout.NewSpacer())
	left := container.NewBorder(nil, container.NewPadded(x.nearest), nil, nil, container.NewStack(x.list, nobody))
	x.line = inset(widget.NewSeparator())
	x.side = container.NewVBox(x.state, x.explains, x.line, x.switches.object, inset(container.New(&flow{}, x.portal)))
	x.object = beside(left, container.NewScroll(airy(x.side)))
	return x
}

// newExitRow is a mark, the name, how it is reached, and how far it is as a bar.
func newExitRow() fyne.CanvasObject {
	mark := widget.NewIcon(theme.RadioButtonIcon())
	name, how := widget.NewLabel(""), widget.NewLabel("")
	name.TextStyle.Bold, name.Truncation = true, fyne.TextTruncateEllipsis
	how.SizeName, how.Importance, how.Truncation = theme.SizeNameCaptionText, widget.LowImportance, fyne.TextTruncateEllipsis
	text := container.New(layout.NewCustomPaddedVBoxLayout(-12), name, how)
	far := container.NewCenter(container.NewGridWrap(fyne.NewSize(64, 8), container.New(&share{high: 8}, newBlock(look{fill: theme.ColorNamePrimary, radius: 4}))))
	return container.NewBorder(nil, nil, container.New(layout.NewCustomPaddedLayout(0, 0, 8, 0), container.NewCenter(mark)), container.New(layout.NewCustomPaddedLayout(0, 0, 0, 14), far), text)
}

func (x *exits) row(i widget.ListItemID, o fyne.CanvasObject) {
	if i >= len(x.v.Rows) {
		return
	}
	r := &x.v.Rows[i]
	parts := o.(*fyne.Container).Objects
	text := parts[0].(*fyne.Container).Objects
	mark := parts[1].(*fyne.Container).Objects[0].(*fyne.Container).Objects[0].(*widget.Icon)
	place := parts[2].(*fyne.Container).Objects[0].(*fyne.Container).Objects[0].(*fyne.Container).Objects[0].(*fyne.Container)
	name := text[0].(*widget.Label)
	importance := widget.MediumImportance
	if !r.Here {
		importance = widget.LowImportance
	}
	if name.Importance != importance {
		name.Importance = importance
		name.Refresh()
	}
	set(name, r.Name)
	set(text[1].(*widget.Label), r.How)
	icon := fyne.Resource(theme.RadioButtonIcon())
	switch {
	case r.Trouble:
		icon = theme.NewErrorThemedResource(theme.RadioButtonCheckedIcon())
	case r.Chosen:
		icon = theme.NewPrimaryThemedResource(theme.RadioButtonCheckedIcon())
	}
	mark.SetResource(icon)
	place.Layout = &share{parts: []float32{r.Far}, high: 8}
	show(place.Objects[0], r.Far > 0)
	place.Refresh()
}

func (x *exits) draw(v *view.Exits) {
	x.v = *v
	x.list.Refresh()
	changed := set(x.state, v.State)
	changed = set(x.explains, v.Explains) || changed
	changed = set(x.none, v.None) || changed
	changed = show(x.none, v.None != "") || changed
	changed = show(x.line, len(v.Settings) > 0) || changed
	changed = button(x.nearest, v.Nearest) || changed
	changed = button(x.portal, v.Portal) || changed
	if x.switches.draw(v.Settings) || changed {
		relayout(x.side)
	}
}

// switches are settings, each with what it does.
type switches struct {
	object *fyne.Container
	do     func(view.Intent)
	drawn  []view.Setting
	busy   bool // being drawn: what changes now, no person changes
}

func newSwitches(do func(view.Intent)) *switches {
	return &switches{object: container.New(layout.NewCustomPaddedVBoxLayout(0)), do: do}
}

// draw changes in place what is there already: the keyboard's focus stays where it is. It tells whether something came or went.
func (s *switches) draw(all []view.Setting) bool {
	s.busy = true
	defer func() { s.busy = false }()
	same := len(all) == len(s.drawn)
	for i := range all {
		same = same && s.drawn[i].Label == all[i].Label && s.drawn[i].Explains == all[i].Explains
	}
	s.drawn = all
	if !same {
		var lines []fyne.CanvasObject
		for i, one := range all {
			box := newCheck(one.Label, func(bool) {
				if !s.busy && i < len(s.drawn) {
					s.do(s.drawn[i].Do)
				}
			})
			explains := wrapped()
			explains.Importance, explains.SizeName = widget.LowImportance, theme.SizeNameCaptionText
			explains.SetText(one.Explains)
			lines = append(lines, container.New(layout.NewCustomPaddedVBoxLayout(-10), box, container.New(layout.NewCustomPaddedLayout(0, 4, 25, 0), explains)))
		}
		s.object.Objects = lines
		s.object.Refresh()
	}
	for i, one := range all {
		box := s.object.Objects[i].(*fyne.Container).Objects[0].(*check)
		if box.Checked != one.On {
			box.SetChecked(one.On)
		}
		switch {
		case one.Disabled && !box.Disabled():
			box.Disable()
		case !one.Disabled && box.Disabled():
			box.Enable()
		}
	}
	return !same
}
