package ui

import (
	"slices"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"github.com/warren-mesh/warren/app/internal/view"
)

// network is the page of what the network lets through, as pictures.
type network struct {
	object *fyne.Container
	do     func(view.Intent)
	v      view.Network

	none    *widget.Label
	all     *fyne.Container
	verdict *widget.Label
	mark    *widget.Icon
	check   *push
	tiles   *fyne.Container
	relays  *fyne.Container
	facts   *fyne.Container
	advice  *fyne.Container
	titles  [2]*widget.Label
}

func newNetwork(do func(view.Intent)) *network {
	n := &network{do: do, none: centred(), verdict: wrapped(), mark: widget.NewIcon(nil)}
	n.verdict.TextStyle.Bold, n.verdict.SizeName = true, theme.SizeNameSubHeadingText
	n.check = newPush("", theme.ViewRefreshIcon(), func() { do(n.v.Check.Do) })
	n.tiles = container.New(&columns{least: 175, most: 4})
	n.relays = container.New(layout.NewFormLayout())
	n.facts = container.New(layout.NewFormLayout())
	n.advice = container.NewVBox()
	for i := range n.titles {
		n.titles[i] = widget.NewLabel("")
		n.titles[i].TextStyle.Bold = true
	}
	mark := container.NewCenter(container.NewGridWrap(fyne.NewSquareSize(32), n.mark))
	head := container.NewBorder(nil, nil, container.New(layout.NewCustomPaddedLayout(0, 0, 8, 0), mark), container.NewCenter(n.check), n.verdict)
	n.all = container.NewVBox(head, n.advice, n.tiles, gap(2), n.titles[0], n.relays, n.titles[1], n.facts)
	n.object = container.NewStack(container.NewScroll(airy(container.New(column(pageWidth+120), n.all))), container.NewCenter(n.none))
	return n
}

// moodIcon and moodColor say the same twice: nobody has to tell colours apart.
func moodIcon(m view.Mood) fyne.Resource {
	switch m {
	case view.MoodGood:
		return theme.NewPrimaryThemedResource(theme.ConfirmIcon())
	case view.MoodBad:
		return theme.NewErrorThemedResource(theme.CancelIcon())
	case view.MoodMiddle:
		return theme.NewWarningThemedResource(theme.WarningIcon())
	}
	return theme.NewDisabledResource(theme.QuestionIcon())
}

func moodColor(m view.Mood) fyne.ThemeColorName {
	switch m {
	case view.MoodGood:
		return theme.ColorNamePrimary
	case view.MoodBad:
		return theme.ColorNameError
	case view.MoodMiddle:
		return theme.ColorNameWarning
	}
	return theme.ColorNameDisabled
}

func (n *network) draw(v *view.Network) {
	was := n.v
	n.v = *v
	show(n.all, v.None == "")
	show(n.none, v.None != "")
	set(n.none, v.None)
	changed := set(n.verdict, v.Verdict)
	changed = button(n.check, v.Check) || changed
	if was.Mood != v.Mood {
		n.mark.SetResource(moodIcon(v.Mood))
	}
	changed = set(n.titles[0], v.RelaysTitle) || changed
	changed = set(n.titles[1], v.FactsTitle) || changed
	changed = show(n.titles[0], len(v.Relays) > 0) || changed
	changed = show(n.titles[1], len(v.Facts) > 0) || changed
	if !slices.Equal(was.Tiles, v.Tiles) {
		changed = true
		n.tiles.RemoveAll()
		for _, t := range v.Tiles {
			n.tiles.Add(tile(t))
		}
	}
	if !slices.Equal(was.Relays, v.Relays) {
		changed = true
		n.relays.RemoveAll()
		for _, r := range v.Relays {
			name, text := widget.NewLabel(r.Name), widget.NewLabel(r.Text)
			name.TextStyle.Bold = r.Home
			part := r.Share
			n.relays.Add(name)
			n.relays.Add(container.NewBorder(nil, nil, nil, container.NewGridWrap(fyne.NewSize(190, text.MinSize().Height), text), bar(part, moodColor(r.Mood))))
		}
	}
	changed = drawAdvice(n.advice, was.Advice, v.Advice) || changed
	drawFacts(n.facts, was.Facts, v.Facts, n.do)
	if changed || len(was.Facts) != len(v.Facts) {
		relayout(n.all)
	}
}

// drawAdvice lists what a person could change, and tells whether that is new.
func drawAdvice(to *fyne.Container, was, now []string) bool {
	if slices.Equal(was, now) {
		return false
	}
	to.RemoveAll()
	for _, a := range now {
		l := wrapped()
		l.SetText(a)
		to.Add(container.NewBorder(nil, nil, container.NewVBox(container.NewPadded(widget.NewIcon(theme.InfoIcon()))), nil, l))
	}
	return true
}

// tile is one finding: a mark, what it is about, and what was found.
func tile(t view.Tile) fyne.CanvasObject {
	label, text := widget.NewLabel(t.Label), wrapped()
	label.TextStyle.Bold = true
	text.SizeName = theme.SizeNameCaptionText
	text.SetText(t.Text)
	back := panel()
	edge := newBlock(look{fill: moodColor(t.Mood), radius: 2, least: fyne.NewSize(4, 0)})
	mark := container.NewCenter(widget.NewIcon(moodIcon(t.Mood)))
	head := container.NewBorder(nil, nil, container.New(layout.NewCustomPaddedLayout(0, 0, 6, -4), mark), nil, label)
	inner := container.NewBorder(nil, nil, edge, nil, container.New(layout.NewCustomPaddedVBoxLayout(-8), head, text))
	return container.NewStack(back, inner)
}
