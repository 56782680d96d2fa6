package ui

import (
	"image/color"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"github.com/warren-mesh/warren/app/internal/icon"
	"github.com/warren-mesh/warren/app/internal/view"
)

// size of the window at first, in Fyne's units.
var size = fyne.NewSize(860, 560)

// Window is the window. All its methods are for Fyne's own goroutine.
type Window struct {
	fyne.Window
	do   func(view.Intent)
	in   *view.Input
	view view.Window

	picture *canvas.Image
	state   *widget.Label
	below   *widget.Label
	copies  *widget.Button
	power   *widget.Button
	failed  *widget.Label
	alarm   *fyne.Container
	top     *fyne.Container // all of these

	content  *fyne.Container
	body     *fyne.Container // one of these is visible
	first    *first
	waiting  *waiting
	pages    *container.AppTabs
	tabs     []*container.TabItem
	machines *machines
	settings *settings
	problems *fyne.Container
	about    *fyne.Container
}

// New makes the window of an application; do gets what a person asks for, and must not block. Texts are copied here.
func New(app fyne.App, do func(view.Intent)) *Window {
	w := &Window{Window: app.NewWindow("Warren")}
	w.do = func(i view.Intent) {
		switch i.Op {
		case view.OpNone:
		case view.OpCopy:
			app.Clipboard().SetContent(i.Arg)
		default:
			do(i)
		}
	}
	w.head()
	w.first, w.waiting = newFirst(w.do), newWaiting(w.do)
	w.machines, w.settings = newMachines(w.do), newSettings(w.do)
	w.problems, w.about = container.NewVBox(), container.New(layout.NewFormLayout())
	w.tabs = []*container.TabItem{
		container.NewTabItemWithIcon("", theme.ComputerIcon(), w.machines.object),
		container.NewTabItemWithIcon("", theme.SettingsIcon(), container.NewVScroll(container.NewPadded(w.settings.object))),
		container.NewTabItemWithIcon("", theme.WarningIcon(), container.NewVScroll(container.NewPadded(w.problems))),
		container.NewTabItemWithIcon("", theme.InfoIcon(), container.NewVScroll(container.NewPadded(w.about))),
	}
	w.pages = container.NewAppTabs(w.tabs...)
	w.body = container.NewStack(w.pages, w.first.object, w.waiting.object)

	text := container.NewVBox(w.state, w.below)
	buttons := container.NewHBox(container.NewCenter(w.copies), container.NewCenter(w.power))
	head := container.NewBorder(nil, nil, container.NewPadded(container.NewCenter(w.picture)), buttons, container.NewVBox(layout.NewSpacer(), text, layout.NewSpacer()))
	w.top = container.NewVBox(container.NewPadded(head), w.alarm, widget.NewSeparator())
	w.content = container.NewBorder(w.top, nil, nil, nil, w.body)
	w.SetContent(w.content)
	w.Resize(size)
	return w
}

// head is what stands above every page.
func (w *Window) head() {
	w.picture = canvas.NewImageFromImage(icon.Draw(view.IconDisconnected, iconPixels))
	w.picture.FillMode = canvas.ImageFillContain
	w.picture.SetMinSize(fyne.NewSquareSize(44))
	w.state = widget.NewLabel("")
	w.state.TextStyle.Bold, w.state.SizeName, w.state.Truncation = true, theme.SizeNameSubHeadingText, fyne.TextTruncateEllipsis
	w.below = widget.NewLabel("")
	w.below.Truncation = fyne.TextTruncateEllipsis
	w.copies = widget.NewButtonWithIcon("", theme.ContentCopyIcon(), func() { w.do(w.view.Copy.Do) })
	w.power = widget.NewButton("", func() { w.do(w.view.Power.Do) })
	w.failed = widget.NewLabel("")
	w.failed.Wrapping = fyne.TextWrapWord
	w.alarm = container.NewStack(canvas.NewRectangle(color.NRGBA{0xc2, 0x55, 0x0a, 0x30}), w.failed)
}

// iconPixels is how the icon is drawn: enough for a display at 200 %.
const iconPixels = 96

// Draw shows what the daemon says.
func (w *Window) Draw(in *view.Input) {
	was := w.view
	w.in, w.view = in, view.DrawWindow(in)
	v := &w.view
	if was.Icon != v.Icon {
		w.picture.Image = icon.Draw(v.Icon, iconPixels)
		w.picture.Refresh()
	}
	w.drawHead(v)
	for i, t := range v.Tabs {
		w.tabs[i].Text = t.Label
	}
	if len(was.Tabs) == 0 || was.Tabs[0] != v.Tabs[0] {
		w.pages.Refresh()
	}
	w.first.draw(v.First)
	w.waiting.draw(v.Waiting)
	show(w.waiting.object, v.Waiting != nil)
	show(w.first.object, v.First != nil && v.Waiting == nil)
	show(w.pages, v.First == nil && v.Waiting == nil)
	w.machines.draw(v, in)
	w.settings.draw(v)
	drawProblems(w.problems, &was, v)
	drawFacts(w.about, was.About, v.About, w.do)
}

// drawHead shows how things stand.
func (w *Window) drawHead(v *view.Window) {
	changed := set(w.state, v.State)
	changed = set(w.below, v.Below) || changed
	changed = set(w.failed, v.Failed) || changed
	changed = show(w.below, v.Below != "") || changed
	changed = show(w.alarm, v.Failed != "") || changed
	changed = button(w.copies, v.Copy) || changed
	changed = button(w.power, v.Power) || changed
	importance := widget.MediumImportance
	if v.Power.Do.Op == view.OpConnect || v.Power.Do.Op == view.OpLogin {
		importance = widget.HighImportance
	}
	if w.power.Importance != importance {
		w.power.Importance = importance
		changed = true
	}
	if changed { // it may need another size
		relayout(w.top)
		w.content.Refresh()
	}
}

// Open goes to a page.
func (w *Window) Open(p view.Page) {
	for i, t := range w.view.Tabs {
		if t.Page == p {
			w.pages.SelectIndex(i)
		}
	}
}

// relayout gives everything in a container the place that it needs now.
func relayout(c *fyne.Container) {
	for _, o := range c.Objects {
		if inner, ok := o.(*fyne.Container); ok {
			relayout(inner)
		}
	}
	c.Refresh()
}

// set changes a text only where it is another, so that nothing is drawn twice, and tells whether it was.
func set(l *widget.Label, text string) bool {
	if l.Text == text {
		return false
	}
	l.SetText(text)
	return true
}

func show(o fyne.CanvasObject, visible bool) bool {
	switch {
	case visible == o.Visible():
		return false
	case visible:
		o.Show()
	default:
		o.Hide()
	}
	return true
}

func button(b *widget.Button, v view.Button) bool {
	changed := b.Text != v.Label
	if changed {
		b.SetText(v.Label)
	}
	switch {
	case v.Disabled && !b.Disabled():
		b.Disable()
	case !v.Disabled && b.Disabled():
		b.Enable()
	}
	return show(b, v.Label != "") || changed
}
