package ui

import (
	"slices"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

// column is how wide a page of few words is.
const column = 440

// first is the page of somebody who never saw it.
type first struct {
	object      *fyne.Container
	title, text *widget.Label
	server      *widget.Entry
	join        *widget.Button
}

func newFirst(do func(view.Intent)) *first {
	f := &first{title: title(), text: wrapped(), server: widget.NewEntry()}
	join := func() {
		if f.server.Text != "" && !f.join.Disabled() {
			do(view.Intent{Op: view.OpJoin, Arg: f.server.Text})
		}
	}
	f.join = widget.NewButton("", join)
	f.join.Importance = widget.HighImportance
	f.server.OnSubmitted = func(string) { join() }
	f.object = card(f.title, f.text, f.server, container.NewHBox(layout.NewSpacer(), f.join))
	return f
}

func (f *first) draw(v *view.First) {
	if v == nil {
		return
	}
	changed := set(f.title, v.Title)
	changed = set(f.text, v.Text) || changed
	if f.server.PlaceHolder != v.Hint {
		f.server.SetPlaceHolder(v.Hint)
	}
	if button(f.join, view.Button{Label: v.Button, Disabled: v.Busy}) || changed {
		relayout(f.object)
	}
}

// waiting is the page of somebody who is at the browser.
type waiting struct {
	object                       *fyne.Container
	title, text, elsewhere, code *widget.Label
	copies, cancel               *widget.Button
	v                            *view.Waiting
}

func newWaiting(do func(view.Intent)) *waiting {
	w := &waiting{title: title(), text: wrapped(), elsewhere: wrapped(), code: title(), v: &view.Waiting{}}
	w.code.TextStyle.Monospace = true
	w.copies = widget.NewButtonWithIcon("", theme.ContentCopyIcon(), func() { do(w.v.Copy.Do) })
	w.cancel = widget.NewButton("", func() { do(w.v.Cancel.Do) })
	w.object = card(w.title, w.text, widget.NewSeparator(), w.elsewhere, w.code,
		container.NewHBox(layout.NewSpacer(), w.copies, w.cancel, layout.NewSpacer()))
	return w
}

func (w *waiting) draw(v *view.Waiting) {
	if v == nil {
		return
	}
	w.v = v
	changed := set(w.title, v.Title)
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
	return container.NewCenter(container.New(wide{}, container.NewVBox(parts...)))
}

// wide is the layout of one object that is as wide as a column.
type wide struct{}

// MinSize implements fyne.Layout. What wraps has its height only at its width.
func (wide) MinSize(objects []fyne.CanvasObject) fyne.Size {
	objects[0].Resize(fyne.NewSize(column, objects[0].MinSize().Height))
	return fyne.NewSize(column, objects[0].MinSize().Height)
}

// Layout implements fyne.Layout.
func (wide) Layout(objects []fyne.CanvasObject, size fyne.Size) { objects[0].Resize(size) }

// settings is the page of the switches, and of this machine's logins.
type settings struct {
	object *fyne.Container
	do     func(view.Intent)
	drawn  []view.Setting
	items  []view.Item
	busy   bool // being drawn: what changes now, no person changes
}

func newSettings(do func(view.Intent)) *settings {
	return &settings{object: container.NewVBox(), do: do}
}

func (s *settings) draw(v *view.Window) {
	if slices.Equal(s.drawn, v.Settings) && slices.EqualFunc(s.items, v.Accounts, sameItem) {
		return
	}
	s.drawn, s.items, s.busy = v.Settings, v.Accounts, true
	defer func() { s.busy = false }()
	s.object.RemoveAll()
	for _, one := range v.Settings {
		check := widget.NewCheck(one.Label, func(bool) {
			if !s.busy {
				s.do(one.Do)
			}
		})
		check.SetChecked(one.On)
		if one.Disabled {
			check.Disable()
		}
		explains := wrapped()
		explains.Importance = widget.LowImportance
		explains.SetText(one.Explains)
		s.object.Add(check)
		s.object.Add(explains)
	}
	if len(v.Accounts) > 0 {
		heading := widget.NewLabel(v.AccountsTitle)
		heading.TextStyle.Bold = true
		s.object.Add(widget.NewSeparator())
		s.object.Add(heading)
	}
	buttons := container.NewHBox()
	for _, a := range v.Accounts {
		b := widget.NewButton(a.Label, func() { s.do(a.Do) })
		if a.Disabled {
			b.Disable()
		}
		if a.Toggle == view.ToggleNone {
			buttons.Add(b)
			continue
		}
		b.Alignment, b.Importance, b.Icon = widget.ButtonAlignLeading, widget.LowImportance, theme.RadioButtonIcon()
		if a.Checked {
			b.Icon = theme.RadioButtonCheckedIcon()
		}
		s.object.Add(b)
	}
	s.object.Add(buttons)
}

func sameItem(a, b view.Item) bool {
	return a.Key == b.Key && a.Label == b.Label && a.Checked == b.Checked && a.Disabled == b.Disabled && a.Do == b.Do
}

// drawProblems lists what is wrong, each with what to do.
func drawProblems(to *fyne.Container, was, v *view.Window) {
	if slices.Equal(was.Problems, v.Problems) && was.AllWell == v.AllWell && len(to.Objects) > 0 {
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
		box := container.NewVBox(text)
		if p.Fix != "" {
			box.Add(fix)
		}
		to.Add(container.NewBorder(nil, nil, container.NewVBox(container.NewPadded(mark)), nil, box))
		to.Add(widget.NewSeparator())
	}
	if len(v.Problems) == 0 {
		well := widget.NewLabel(v.AllWell)
		to.Add(container.NewHBox(widget.NewIcon(theme.NewSuccessThemedResource(theme.ConfirmIcon())), well))
	}
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
	to.RemoveAll()
	for _, f := range now {
		label, value := widget.NewLabel(f.Label), widget.NewLabel(f.Value)
		label.Importance = widget.LowImportance
		value.Wrapping = fyne.TextWrapBreak
		row := container.NewBorder(nil, nil, nil, nil, value)
		if f.Copy {
			b := widget.NewButtonWithIcon("", theme.ContentCopyIcon(), func() { do(view.Intent{Op: view.OpCopy, Arg: f.Value}) })
			b.Importance = widget.LowImportance
			row = container.NewBorder(nil, nil, nil, container.NewVBox(b), value)
		}
		to.Add(label)
		to.Add(row)
	}
}
