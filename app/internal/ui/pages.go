package ui

import (
	"image/color"
	"slices"
	"strconv"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"github.com/warren-mesh/warren/app/internal/icon"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

const (
	// cardWidth is how wide a page of few words is, and pageWidth one of many: lines that are longer are hard to read.
	cardWidth = 460
	pageWidth = 640
	halfWidth = 340 // of two halves of a page, which stand below each other where there is less room
)

// first is the page of somebody who never saw it, or who adds an account.
type first struct {
	object      *fyne.Container
	title, text *widget.Label
	server      *entry
	join        *push
	back        *push
	steps       *fyne.Container
	drawn       []string
	op          view.Op // of the button
}

func newFirst(do func(view.Intent), back func()) *first {
	f := &first{title: title(), text: wrapped(), server: newEntry()}
	join := func() {
		if f.server.Text != "" && !f.join.Disabled() {
			do(view.Intent{Op: f.op, Arg: f.server.Text})
		}
	}
	f.join = newPush("", nil, join)
	f.join.Importance = widget.HighImportance
	f.server.OnSubmitted = func(string) { join() }
	f.back = newPush("", theme.NavigateBackIcon(), back)
	f.text.Alignment = fyne.TextAlignCenter
	f.steps = container.NewHBox()
	picture := canvas.NewImageFromImage(icon.Draw(view.IconConnected, iconPixels))
	picture.SetMinSize(fyne.NewSquareSize(56))
	picture.FillMode = canvas.ImageFillContain
	f.object = card(picture, f.title, f.text, f.server, container.NewHBox(f.back, layout.NewSpacer(), f.join), gap(12), container.NewCenter(f.steps))
	return f
}

// panel is what stands behind things that belong together.
func panel() fyne.CanvasObject {
	return newBlock(look{line: theme.ColorNameSeparator, radius: 8, width: 1})
}

// gap is nothing, of a height.
func gap(height float32) fyne.CanvasObject {
	r := canvas.NewRectangle(color.Transparent)
	r.SetMinSize(fyne.NewSize(1, height))
	return r
}

// draw shows the page; back is what leads away from it, "" where there is nothing else to see.
func (f *first) draw(v *view.First, back string) {
	if v == nil {
		return
	}
	f.op = v.Do
	changed := set(f.title, v.Title)
	changed = set(f.text, v.Text) || changed
	hint(f.server, v.Hint)
	if !slices.Equal(f.drawn, v.Steps) {
		f.drawn, changed = v.Steps, true
		f.steps.RemoveAll()
		for i, s := range v.Steps {
			if i > 0 {
				f.steps.Add(widget.NewIcon(theme.NewDisabledResource(theme.NavigateNextIcon())))
			}
			l := widget.NewLabel(strconv.Itoa(i+1) + "  " + s)
			l.SizeName, l.Importance = theme.SizeNameCaptionText, widget.LowImportance
			f.steps.Add(l)
		}
	}
	changed = button(f.back, view.Button{Label: back}) || changed
	if button(f.join, view.Button{Label: v.Button, Disabled: v.Busy}) || changed {
		relayout(f.object)
	}
}

// waiting is the page of somebody who is at the browser.
type waiting struct {
	object                                *fyne.Container
	title, text, address, elsewhere, code *widget.Label
	asks                                  *widget.ProgressBarInfinite
	line                                  *widget.Separator
	copies, cancel                        *push
	v                                     *view.Waiting
}

func newWaiting(do func(view.Intent)) *waiting {
	w := &waiting{title: title(), text: wrapped(), address: wrapped(), elsewhere: wrapped(), code: title(), v: &view.Waiting{}}
	w.asks, w.line = widget.NewProgressBarInfinite(), widget.NewSeparator()
	w.asks.Hide() // it moves only while it is seen
	w.address.Wrapping, w.address.Selectable, w.address.Alignment = fyne.TextWrapBreak, true, fyne.TextAlignCenter
	w.address.TextStyle.Monospace = true
	w.code.TextStyle.Monospace = true
	w.text.Alignment, w.elsewhere.Alignment = fyne.TextAlignCenter, fyne.TextAlignCenter
	w.copies = newPush("", theme.ContentCopyIcon(), func() { do(w.v.Copy.Do) })
	w.cancel = newPush("", nil, func() { do(w.v.Cancel.Do) })
	w.object = card(w.title, w.asks, w.text, w.address, w.line, w.elsewhere, w.code,
		container.NewHBox(layout.NewSpacer(), w.copies, w.cancel, layout.NewSpacer()))
	return w
}

func (w *waiting) draw(v *view.Waiting) {
	if v == nil {
		w.asks.Hide()
		return
	}
	w.v = v
	changed := set(w.title, v.Title)
	changed = show(w.asks, v.Asks) || changed
	changed = set(w.address, v.Address) || changed
	changed = show(w.address, v.Address != "") || changed
	for _, o := range []fyne.CanvasObject{w.line, w.elsewhere, w.code} {
		changed = show(o, v.Code != "") || changed
	}
	changed = set(w.text, v.Text) || changed
	changed = set(w.elsewhere, v.Elsewhere) || changed
	changed = set(w.code, v.Code) || changed
	changed = button(w.copies, v.Copy) || changed
	if button(w.cancel, v.Cancel) || changed {
		relayout(w.object)
	}
}

func title() *widget.Label {
	l := widget.NewLabel("")
	l.TextStyle.Bold, l.SizeName, l.Alignment = true, theme.SizeNameHeadingText, fyne.TextAlignCenter
	return l
}

func wrapped() *widget.Label {
	l := widget.NewLabel("")
	l.Wrapping = fyne.TextWrapWord
	return l
}

// card is a column in the middle of the window.
func card(parts ...fyne.CanvasObject) *fyne.Container {
	return container.NewStack(container.NewScroll(container.NewCenter(container.New(wide{}, container.NewVBox(parts...)))))
}

// wide is the layout of one object that is as wide as a column.
type wide struct{}

// MinSize implements fyne.Layout. What wraps has its height only at its width.
func (wide) MinSize(objects []fyne.CanvasObject) fyne.Size {
	objects[0].Resize(fyne.NewSize(cardWidth, objects[0].MinSize().Height))
	return fyne.NewSize(cardWidth, objects[0].MinSize().Height)
}

// column is the layout of one object that is as wide as there is place, up to a width.
type column float32

// MinSize implements fyne.Layout.
func (column) MinSize(objects []fyne.CanvasObject) fyne.Size { return objects[0].MinSize() }

// Layout implements fyne.Layout.
func (c column) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	objects[0].Resize(fyne.NewSize(min(size.Width, float32(c)), size.Height))
}

// Layout implements fyne.Layout.
func (wide) Layout(objects []fyne.CanvasObject, size fyne.Size) { objects[0].Resize(size) }

// settings is the page of the switches, of what is typed, and of this machine's logins.
type settings struct {
	object   *fyne.Container
	do       func(view.Intent)
	switches *switches
	fields   *fyne.Container
	typed    []*field
	accounts *fyne.Container
	title    *widget.Label
	line     fyne.CanvasObject
	none     *widget.Label // in place of all, where nothing can be set
	items    []view.Item
}

// field is a setting that is typed.
type field struct {
	object fyne.CanvasObject
	v      view.Field
	entry  *entry
	save   *push
	saving bool // what is typed has been sent, and no answer came yet
}

func newSettings(do func(view.Intent)) *settings {
	s := &settings{do: do, switches: newSwitches(do), fields: container.NewVBox(), accounts: container.New(&columns{least: halfWidth, most: 2}), title: widget.NewLabel("")}
	s.title.TextStyle.Bold = true
	s.none, s.line = wrapped(), inset(widget.NewSeparator())
	s.none.Importance = widget.LowImportance
	s.object = container.NewVBox(s.none, container.New(&columns{least: halfWidth, most: 2}, s.switches.object, s.fields), s.line, s.title, s.accounts)
	return s
}

func (s *settings) draw(v *view.Window) {
	changed := s.switches.draw(v.Settings)
	changed = s.drawFields(v) || changed
	changed = set(s.title, v.AccountsTitle) || changed
	changed = show(s.title, len(v.Accounts) > 0) || changed
	changed = show(s.line, len(v.Accounts) > 0) || changed
	changed = set(s.none, v.State) || changed
	changed = show(s.none, len(v.Settings) == 0) || changed
	changed = s.drawAccounts(v.Accounts) || changed
	if changed {
		relayout(s.object)
	}
}

// drawFields shows what is set. What a person types stays until it is saved, whatever is set elsewhere meanwhile.
func (s *settings) drawFields(v *view.Window) bool {
	changed := !slices.EqualFunc(s.typed, v.Fields, func(f *field, now view.Field) bool { return f.v.Key == now.Key })
	if changed {
		was := s.typed
		s.typed = nil
		s.fields.RemoveAll()
		for _, now := range v.Fields {
			f := newField(now, v.Save, s.do)
			if i := slices.IndexFunc(was, func(f *field) bool { return f.v.Key == now.Key }); i >= 0 {
				f = was[i]
			}
			s.typed = append(s.typed, f)
			s.fields.Add(f.object)
		}
	}
	for i, now := range v.Fields {
		s.typed[i].draw(now)
	}
	return changed
}

func newField(v view.Field, saves string, do func(view.Intent)) *field {
	f := &field{v: v, entry: newEntry()}
	f.entry.SetText(v.Value)
	save := func() {
		f.saving = true
		do(view.Intent{Op: view.OpSet, Arg: f.v.Key + "=" + f.entry.Text})
	}
	f.save = newPush(saves, nil, save)
	f.entry.OnChanged = func(string) {
		f.saving = false
		f.changed()
	}
	f.entry.OnSubmitted = func(string) {
		if !f.save.Disabled() {
			save()
		}
	}
	label, explains := widget.NewLabel(v.Label), wrapped()
	explains.Importance, explains.SizeName = widget.LowImportance, theme.SizeNameCaptionText
	explains.SetText(v.Explains)
	line := container.New(layout.NewCustomPaddedLayout(0, 0, 8, 4), container.NewBorder(nil, nil, nil, f.save, f.entry))
	f.object = container.New(layout.NewCustomPaddedVBoxLayout(-4), label, line, explains)
	return f
}

func (f *field) draw(now view.Field) {
	was := f.v
	f.v = now
	if was.Value != now.Value {
		if f.saving || f.entry.Text == was.Value {
			f.entry.SetText(now.Value)
		}
		f.saving = false
	}
	hint(f.entry, now.Hint)
	f.changed()
}

// changed lets save what is not saved yet.
func (f *field) changed() {
	if f.entry.Text == f.v.Value || f.v.Disabled {
		f.save.Disable()
	} else {
		f.save.Enable()
	}
}

func (s *settings) drawAccounts(items []view.Item) bool {
	if slices.EqualFunc(s.items, items, sameItem) {
		return false
	}
	s.items = items
	s.accounts.RemoveAll()
	logins, buttons := container.NewVBox(), container.NewVBox()
	for _, a := range items {
		b := newPush(a.Label, nil, func() { s.do(a.Do) })
		if a.Disabled {
			b.Disable()
		}
		if a.Toggle == view.ToggleNone {
			buttons.Add(container.NewHBox(b))
			continue
		}
		b.Alignment, b.Importance, b.Icon = widget.ButtonAlignLeading, widget.LowImportance, theme.RadioButtonIcon()
		if a.Checked {
			b.Icon = theme.NewPrimaryThemedResource(theme.RadioButtonCheckedIcon())
		}
		logins.Add(b)
	}
	s.accounts.Add(logins)
	s.accounts.Add(buttons)
	return true
}

func sameItem(a, b view.Item) bool {
	return a.Key == b.Key && a.Label == b.Label && a.Checked == b.Checked && a.Disabled == b.Disabled && a.Do == b.Do
}

// drawProblems lists what is wrong, each with what to do.
func drawProblems(to *fyne.Container, was, v *view.Window, do func(view.Intent)) {
	if slices.Equal(was.Problems, v.Problems) {
		return
	}
	to.RemoveAll()
	for _, p := range v.Problems {
		text, fix := wrapped(), wrapped()
		text.TextStyle.Bold = true
		text.SetText(p.Text)
		fix.SetText(p.Fix)
		fix.Selectable = true // there may be a command in it
		var mark fyne.CanvasObject
		switch p.Level {
		case ipc.ProblemUrgent:
			mark = widget.NewIcon(theme.NewErrorThemedResource(theme.ErrorIcon()))
		case ipc.ProblemNotice:
			mark = widget.NewIcon(theme.InfoIcon())
		default:
			mark = widget.NewIcon(theme.NewWarningThemedResource(theme.WarningIcon()))
		}
		box := container.New(layout.NewCustomPaddedVBoxLayout(-8), text)
		if p.Fix != "" {
			box.Add(fix)
		}
		if p.Button.Label != "" {
			b := newPush(p.Button.Label, nil, func() { do(p.Button.Do) })
			if p.Level == ipc.ProblemUrgent {
				b.Importance = widget.HighImportance
			}
			if p.Button.Disabled {
				b.Disable()
			}
			box.Add(container.New(layout.NewCustomPaddedLayout(8, 0, 0, 0), inset(container.NewHBox(b)))) // clear of the text, which is set close
		}
		to.Add(container.NewStack(panel(), container.NewBorder(nil, nil, container.New(layout.NewCustomPaddedLayout(8, 0, 10, 0), container.NewVBox(mark)), nil, box)))
	}
}

// newWell is what stands in place of problems where there are none: a mark and a word, in the middle.
func newWell() (page *fyne.Container, says *widget.Label) {
	says = title()
	mark := widget.NewIcon(theme.NewPrimaryThemedResource(theme.ConfirmIcon()))
	middle := container.NewCenter(container.NewVBox(container.NewCenter(container.NewGridWrap(fyne.NewSquareSize(64), mark)), says))
	return container.NewStack(container.NewScroll(middle)), says
}

// drawFacts lists facts, those with a button that are worth copying. Where only values changed, they are changed in place.
func drawFacts(to *fyne.Container, was, now []view.Fact, do func(view.Intent)) {
	same := len(was) == len(now) && len(to.Objects) == 2*len(now)
	for i := range now {
		same = same && was[i].Label == now[i].Label && was[i].Copy == now[i].Copy && (!now[i].Copy || was[i].Value == now[i].Value)
	}
	if same {
		for i, f := range now {
			set(to.Objects[2*i+1].(*fyne.Container).Objects[0].(*widget.Label), f.Value)
		}
		return
	}
	lines := make([]fyne.CanvasObject, 0, 2*len(now)) // put in at once: each Add would lay all of them out
	for _, f := range now {
		label, value := widget.NewLabel(f.Label), widget.NewLabel(f.Value)
		label.Importance = widget.LowImportance
		value.Wrapping = fyne.TextWrapBreak
		row := container.NewBorder(nil, nil, nil, nil, value)
		if f.Copy {
			b := newPush("", theme.ContentCopyIcon(), func() { do(view.Intent{Op: view.OpCopy, Arg: f.Value}) })
			b.Importance = widget.LowImportance
			row = container.NewBorder(nil, nil, nil, container.NewVBox(b), value)
		}
		lines = append(lines, label, row)
	}
	to.Objects = lines
	to.Refresh()
}
