package ui

import (
	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

// machines is the page of the other machines: a list to search in, and all about the one that is chosen.
type machines struct {
	object fyne.CanvasObject
	do     func(view.Intent)

	all    view.Machines
	in     *view.Input
	shown  []view.Row // those that fit the search
	chosen int64      // a machine's number; 0: none

	search *entry
	list   *list
	none   *widget.Label
	pick   *widget.Label
	detail *detail
	seen   int64  // the machine that is shown; 0: none
	watch  func() // told when that is another
}

func newMachines(do func(view.Intent)) *machines {
	m := &machines{do: do, watch: func() {}}
	m.search = newEntry()
	m.search.OnChanged = func(string) { m.find() }
	m.list = newList(func() int { return len(m.shown) }, newRow, m.row)
	m.list.chosen = func() bool { return m.chosen != 0 }
	m.list.OnSelected = func(i widget.ListItemID) {
		if i < len(m.shown) {
			m.chosen = m.shown[i].ID
			m.drawDetail()
		}
	}
	m.none, m.pick = centred(), centred()
	m.none.Wrapping, m.pick.Wrapping = fyne.TextWrapWord, fyne.TextWrapWord
	m.detail = newDetail(do)
	above := container.NewPadded(m.search)
	left := container.New(layout.NewBorderLayout(above, nil, nil, nil), above, container.NewStack(m.list, container.NewVBox(layout.NewSpacer(), m.none, layout.NewSpacer()))) // Tab goes in this order
	m.object = beside(left, container.NewPadded(container.NewStack(m.detail.object, container.NewVBox(layout.NewSpacer(), m.pick, layout.NewSpacer()))))
	return m
}

func centred() *widget.Label {
	l := widget.NewLabel("")
	l.Alignment, l.Importance, l.Wrapping = fyne.TextAlignCenter, widget.LowImportance, fyne.TextWrapOff
	return l
}

// newRow is a line of the list: a dot, the name, and below it the address and the path.
func newRow() fyne.CanvasObject {
	dot := newBlock(look{radius: 5, width: 2})
	place := container.NewCenter(container.NewGridWrap(fyne.NewSquareSize(10), dot))
	name, how := widget.NewLabel(""), widget.NewLabel("")
	name.TextStyle.Bold, name.Truncation = true, fyne.TextTruncateEllipsis
	how.SizeName, how.Importance, how.Truncation = theme.SizeNameCaptionText, widget.LowImportance, fyne.TextTruncateEllipsis
	text := container.New(layout.NewCustomPaddedVBoxLayout(-12), name, how)
	return container.NewBorder(nil, nil, container.New(layout.NewCustomPaddedLayout(0, 0, 10, 0), place), nil, text)
}

// row fills a line.
func (m *machines) row(i widget.ListItemID, o fyne.CanvasObject) {
	if i >= len(m.shown) {
		return
	}
	r := &m.shown[i]
	parts := o.(*fyne.Container).Objects
	text := parts[0].(*fyne.Container).Objects
	place := parts[1].(*fyne.Container).Objects[0].(*fyne.Container)
	dot := place.Objects[0].(*fyne.Container).Objects[0].(*block)
	set(text[0].(*widget.Label), r.Name)
	how := r.How
	if r.Addr != "" {
		how = r.Addr + "  ·  " + how
	}
	set(text[1].(*widget.Label), how)
	line, fill := theme.ColorNameDisabled, fyne.ThemeColorName("")
	switch {
	case r.Kind == ipc.PathRelay:
		line = theme.ColorNameWarning
	case r.Here:
		line = theme.ColorNamePrimary
	}
	if r.Here { // a ring where it is not: nobody has to tell colours apart
		fill = line
	}
	dot.paint(fill, line)
}

func (m *machines) draw(v *view.Window, in *view.Input) {
	m.all, m.in = v.Machines, in
	hint(m.search, m.all.Search)
	set(m.pick, m.all.Pick)
	m.find()
}

// find shows what fits the search. Who was chosen stays chosen, wherever it moves.
func (m *machines) find() {
	m.shown = m.all.Find(m.search.Text)
	m.list.Refresh()
	set(m.none, m.all.None)
	if len(m.all.Rows) > 0 {
		set(m.none, m.all.Nobody)
	}
	show(m.none, len(m.shown) == 0)
	at := -1
	for i := range m.shown {
		if m.shown[i].ID == m.chosen {
			at = i
		}
	}
	switch {
	case at >= 0:
		m.list.Select(at)
	case len(m.all.Rows) > 0: // else nothing is known yet, or any more
		m.chosen = 0
		m.list.UnselectAll()
	}
	m.drawDetail()
}

func (m *machines) drawDetail() {
	var v *view.Detail
	if m.chosen != 0 && m.in != nil {
		v = m.in.Detail(m.chosen)
	}
	show(m.detail.object, v != nil)
	show(m.pick, v == nil && len(m.all.Rows) > 0)
	seen := int64(0)
	if v != nil {
		seen = m.chosen
		m.detail.show(v, m.in, m.do)
	}
	if m.seen != seen {
		m.seen = seen
		m.watch()
	}
}

// choose shows a machine, also one that the search has hidden.
func (m *machines) choose(id int64) {
	m.chosen = id
	m.search.SetText("")
	m.find()
}
