package ui

import (
	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

// plotPoints is how many seconds a plot is wide.
const plotPoints = 60

// detail is all about one machine.
type detail struct {
	object *fyne.Container
	scroll *container.Scroll
	v      *view.Detail
	trace  view.Trace

	name, how, why *widget.Label
	answer         *widget.Label
	copies, ping   *push
	exit           *push
	buttons        *fyne.Container
	latency        *plot
	traffic        *plot
	plots          fyne.CanvasObject
	way            *way
	facts          *fyne.Container
	advice         *fyne.Container
	body           *fyne.Container
}

func newDetail(do func(view.Intent)) *detail {
	d := &detail{v: &view.Detail{}, name: widget.NewLabel(""), how: widget.NewLabel(""), why: wrapped(), answer: wrapped()}
	d.name.TextStyle.Bold, d.name.SizeName, d.name.Truncation = true, theme.SizeNameSubHeadingText, fyne.TextTruncateEllipsis
	d.how.Importance, d.how.Truncation = widget.LowImportance, fyne.TextTruncateEllipsis
	d.copies = newPush("", theme.ContentCopyIcon(), func() { do(d.v.Copy.Do) })
	d.ping = newPush("", theme.MediaReplayIcon(), func() { do(d.v.Ping.Do) })
	d.exit = newPush("", theme.LogoutIcon(), func() { do(d.v.Exit.Do) })
	d.buttons = container.New(&flow{}, d.copies, d.ping, d.exit)
	d.latency, d.traffic, d.way = newPlot(plotPoints), newPlot(plotPoints), newWay()
	d.facts = container.New(layout.NewFormLayout())
	head := container.New(layout.NewCustomPaddedVBoxLayout(-10), d.name, d.how)
	d.plots = inset(container.New(layout.NewGridLayoutWithColumns(2), d.latency.object, container.New(layout.NewCustomPaddedLayout(0, 0, 10, 0), d.traffic.object)))
	d.advice = container.NewVBox()
	d.body = container.NewVBox(head, d.buttons, d.answer, d.why, d.advice, d.plots, inset(d.way.object), d.facts)
	d.scroll = container.NewVScroll(d.body)
	d.object = container.NewStack(d.scroll)
	return d
}

// inset gives a picture the same edge as the text of labels has.
func inset(o fyne.CanvasObject) fyne.CanvasObject {
	p := theme.InnerPadding()
	return container.New(layout.NewCustomPaddedLayout(0, p, p, p), o)
}

// airy gives a page some air below the tabs.
func airy(o fyne.CanvasObject) fyne.CanvasObject {
	return container.New(layout.NewCustomPaddedLayout(8, 8, 4, 4), o)
}

// show draws a machine.
func (d *detail) show(v *view.Detail, in *view.Input, do func(view.Intent)) {
	was := d.v
	d.v = v
	if was.ID != v.ID {
		d.scroll.ScrollToTop()
	}
	set(d.name, v.Name)
	set(d.how, v.How)
	changed := set(d.why, v.Why)
	changed = drawAdvice(d.advice, was.Advice, v.Advice) || changed
	changed = show(d.advice, len(v.Advice) > 0) || changed
	changed = set(d.answer, v.Answer) || changed
	changed = show(d.answer, v.Answer != "") || changed
	changed = button(d.copies, v.Copy) || changed
	changed = button(d.ping, v.Ping) || changed
	changed = button(d.exit, v.Exit) || changed
	changed = show(d.plots, v.Here) || changed
	d.trace.Add(in.Status, v.ID)
	latencies, top := d.trace.Latencies()
	d.latency.show(v.Charts[0], say.Latency(ipc.Milliseconds(top)), v.Waiting, top*1.15, curve{latencies, theme.ColorNamePrimary})
	rx, tx, most := d.trace.Traffic()
	d.traffic.show(v.Charts[1], say.Bytes(uint64(max(most, 0)))+"/s", v.Waiting, max(most*1.15, 100), curve{rx, theme.ColorNamePrimary}, curve{tx, theme.ColorNameWarning})
	d.way.show(v.HowTitle, v.Way)
	drawFacts(d.facts, was.Facts, v.Facts, do)
	if changed || len(was.Way) != len(v.Way) || len(was.Facts) != len(v.Facts) {
		relayout(d.body)
	}
}
