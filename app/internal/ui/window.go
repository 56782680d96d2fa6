package ui

import (
	"image/color"
	"strconv"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"github.com/warren-mesh/warren/app/internal/icon"
	"github.com/warren-mesh/warren/app/internal/view"
)

// size of the window at first, in Fyne's units.
var size = fyne.NewSize(900, 640)

// Window is the window. All its methods are for Fyne's own goroutine.
type Window struct {
	fyne.Window
	do   func(view.Intent)
	view view.Window

	picture *canvas.Image
	state   *widget.Label
	below   *widget.Label
	copies  *push
	power   *push
	failed  *widget.Label
	alarm   *fyne.Container
	top     *fyne.Container // all but the alarm

	content  *fyne.Container
	body     *fyne.Container // one of these is visible
	first    *first
	joining  bool // a person adds an account
	looking  bool // what is shown changes by the second
	waiting  *waiting
	pages    *container.AppTabs
	tabs     []*container.TabItem
	themes   map[*container.TabItem]fyne.Theme // in which each was last seen
	machines *machines
	exits    *exits
	network  *network
	settings *settings
	problems *fyne.Container
	well     *fyne.Container // in their place
	wellSays *widget.Label
	about    *fyne.Container
}

// New makes the window of an application; do gets what a person asks for, and must not block. A text to copy is copied
// here, and asked for too: what has it here goes with the window.
func New(app fyne.App, do func(view.Intent)) *Window {
	w := &Window{Window: app.NewWindow("Warren")}
	w.do = func(i view.Intent) {
		switch i.Op {
		case view.OpNone:
		case view.OpCopy:
			app.Clipboard().SetContent(i.Arg)
			do(i)
		case view.OpOpen:
			w.Open(view.Page(i.Arg))
		default:
			do(i)
		}
	}
	w.head()
	w.first, w.waiting = newFirst(w.do, func() { w.join(false) }), newWaiting(w.do)
	w.machines, w.exits, w.network, w.settings = newMachines(w.do), newExits(w.do), newNetwork(w.do), newSettings(w.do)
	w.machines.watch = func() {
		if w.machines.seen != 0 {
			w.do(view.Intent{Op: view.OpWhy, Arg: strconv.FormatInt(w.machines.seen, 10)})
		}
		w.look()
	}
	w.problems, w.about = container.NewVBox(), container.New(layout.NewFormLayout())
	w.well, w.wellSays = newWell()
	w.tabs = []*container.TabItem{
		container.NewTabItemWithIcon("", theme.ComputerIcon(), w.machines.object),
		container.NewTabItemWithIcon("", theme.LogoutIcon(), w.exits.object),
		container.NewTabItemWithIcon("", theme.SearchIcon(), w.network.object),
		container.NewTabItemWithIcon("", theme.SettingsIcon(), container.NewScroll(airy(w.settings.object))),
		container.NewTabItemWithIcon("", theme.WarningIcon(), container.NewStack(container.NewScroll(airy(container.New(column(pageWidth+100), w.problems))), w.well)),
		container.NewTabItemWithIcon("", theme.InfoIcon(), container.NewScroll(airy(container.New(column(pageWidth), w.about)))),
	}
	w.themes = map[*container.TabItem]fyne.Theme{}
	for _, t := range w.tabs {
		w.themes[t] = app.Settings().Theme()
	}
	w.pages = container.NewAppTabs(w.tabs...)
	w.pages.OnSelected = func(t *container.TabItem) {
		w.Canvas().Unfocus() // what is not seen would get what is typed
		w.retheme(t)
		w.look()
	}
	w.body = container.NewStack(w.pages, w.first.object, w.waiting.object)

	text := container.New(layout.NewCustomPaddedVBoxLayout(-12), w.state, w.below)
	buttons := container.NewHBox(container.NewCenter(w.copies), container.NewCenter(w.power))
	head := container.NewBorder(nil, nil, container.NewPadded(container.NewCenter(w.picture)), buttons, container.NewVBox(layout.NewSpacer(), text, layout.NewSpacer()))
	w.top = container.NewPadded(head)
	w.content = container.New(&stacked{says: w.failed}, w.top, w.alarm, widget.NewSeparator(), w.body)
	w.SetContent(w.content)
	w.Resize(size)
	w.keys()
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
	w.copies = newPush("", theme.ContentCopyIcon(), func() { w.do(w.view.Copy.Do) })
	w.power = newPush("", nil, func() { w.do(w.view.Power.Do) })
	w.failed = widget.NewLabel("")
	w.failed.Wrapping = fyne.TextWrapWord
	w.alarm = container.NewStack(canvas.NewRectangle(color.NRGBA{0xc2, 0x55, 0x0a, 0x30}), container.NewVScroll(w.failed))
}

// iconPixels is how the icon is drawn: enough for a display at 200 %.
const iconPixels = 96

// Fit makes the window no larger than a screen, of which it gets the part that others leave. A person can make it larger.
func (w *Window) Fit(screen fyne.Size) {
	if is := w.Canvas().Size(); is.Width > screen.Width || is.Height > screen.Height {
		w.Resize(is.Min(screen))
	}
}

// Draw shows what the daemon says: in, as view.DrawWindow has it, which need not be made on Fyne's goroutine.
func (w *Window) Draw(in *view.Input, now view.Window) {
	was := w.view
	w.view = now
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
	waits := func(v *view.Waiting) bool { return v != nil && !v.Asks } // an answer that does not come changes nothing
	if v.First != nil || waits(v.Waiting) || waits(was.Waiting) || v.Join == nil || (was.State != "" && was.Server != v.Server) {
		w.joining = false
	}
	w.drawBody()
	if v.First != nil && v.Waiting == nil && (was.First == nil || was.Waiting != nil) {
		w.Canvas().Focus(w.first.server) // the invite link is in the clipboard: to paste it is all there is to do
	}
	w.machines.draw(v, in)
	w.exits.draw(&v.Exits)
	w.network.draw(&v.Network)
	w.settings.draw(v)
	drawProblems(w.problems, &was, v, w.do)
	show(w.well, len(v.Problems) == 0 && v.AllWell != "")
	if set(w.wellSays, v.AllWell) {
		relayout(w.well)
	}
	drawFacts(w.about, was.About, v.About, w.do)
}

// drawBody shows the pages, or what stands in their place.
func (w *Window) drawBody() {
	v := &w.view
	if w.first.draw(v.First, ""); w.joining {
		w.first.draw(v.Join, v.Back)
	}
	w.waiting.draw(v.Waiting)
	first := v.First != nil || w.joining
	changed := show(w.waiting.object, v.Waiting != nil)
	changed = show(w.first.object, first && v.Waiting == nil) || changed
	if changed = show(w.pages, !first && v.Waiting == nil) || changed; changed {
		w.Canvas().Unfocus() // what is not seen would get what is typed
	}
	w.look()
}

// join shows the page for another account, or goes back from it.
func (w *Window) join(on bool) {
	if w.joining = on && w.view.Join != nil; w.joining {
		w.first.server.SetText("")
	}
	w.drawBody()
	if w.joining {
		w.Canvas().Focus(w.first.server)
	}
}

// retheme draws a page anew that was not seen when the desktop became dark: Fyne tells pages behind others nothing of that.
func (w *Window) retheme(t *container.TabItem) {
	settings := fyne.CurrentApp().Settings()
	if now := settings.Theme(); w.themes[t] != now {
		w.themes[t] = now
		settings.SetTheme(now)
	}
}

// look says whether what is shown changes by the second: then the daemon tells it.
func (w *Window) look() {
	at := w.pages.SelectedIndex()
	live := w.pages.Visible() && (at == 0 && w.machines.seen != 0 || at == 1 || at == 2)
	if w.looking == live {
		return
	}
	w.looking = live
	on := view.Off
	if live {
		on = view.On
	}
	w.do(view.Intent{Op: view.OpLook, Arg: on})
}

// keys are those of the whole window: Ctrl and a number for a page, Ctrl+F to search, Ctrl+W to close; Escape goes back.
func (w *Window) keys() {
	c := w.Canvas()
	key := func(k fyne.KeyName, do func()) {
		c.AddShortcut(&desktop.CustomShortcut{KeyName: k, Modifier: fyne.KeyModifierControl}, func(fyne.Shortcut) { do() })
	}
	for i, k := range []fyne.KeyName{fyne.Key1, fyne.Key2, fyne.Key3, fyne.Key4, fyne.Key5, fyne.Key6} {
		key(k, func() { w.pages.SelectIndex(i) })
	}
	key(fyne.KeyF, func() {
		w.pages.SelectIndex(0)
		c.Focus(w.machines.search)
	})
	key(fyne.KeyW, w.Close)
	c.SetOnTypedKey(func(e *fyne.KeyEvent) {
		if e.Name == fyne.KeyEscape {
			w.join(false)
		}
	})
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
		relayout(w.alarm)
		w.content.Refresh()
	}
}

// Open goes to a page.
func (w *Window) Open(p view.Page) {
	p, id, _ := p.Split()
	w.join(p == view.PageJoin)
	if id != 0 {
		w.machines.choose(id)
	}
	for i, t := range w.view.Tabs {
		if t.Page == p {
			w.pages.SelectIndex(i)
		}
	}
}

// relayout gives everything in a container the place that it needs now.
func relayout(o fyne.CanvasObject) {
	switch o := o.(type) {
	case *fyne.Container:
		for _, inner := range o.Objects {
			relayout(inner)
		}
		o.Refresh()
	case *container.Scroll:
		relayout(o.Content)
		o.Refresh()
	}
}

// set changes a text only where it is another, so that nothing is drawn twice, and tells whether it was.
func set(l *widget.Label, text string) bool {
	if l.Text == text {
		return false
	}
	l.SetText(text)
	return true
}

// hint says what may be typed. The space keeps its first letter clear of the caret.
func hint(e *entry, text string) {
	if text = " " + text; e.PlaceHolder != text {
		e.SetPlaceHolder(text)
	}
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

func button(b *push, v view.Button) bool {
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
