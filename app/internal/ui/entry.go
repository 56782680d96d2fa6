package ui

import (
	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/widget"
)

// entry is a field for text. Fyne gives what is typed to the field alone while that has the focus; this one hands on the keys that
// are not of a field, so that those of the window work everywhere.
type entry struct{ widget.Entry }

func newEntry() *entry {
	e := &entry{widget.Entry{Wrapping: fyne.TextWrap(fyne.TextTruncateClip)}}
	e.ExtendBaseWidget(e)
	return e
}

// TypedShortcut is a key with Ctrl or Alt. No key is both the field's and the window's.
func (e *entry) TypedShortcut(s fyne.Shortcut) {
	e.Entry.TypedShortcut(s)
	if c, ok := fyne.CurrentApp().Driver().CanvasForObject(e).(fyne.Shortcutable); ok {
		c.TypedShortcut(s)
	}
}

// TypedKey is any other key that is no letter.
func (e *entry) TypedKey(k *fyne.KeyEvent) {
	if !escapes(e, k) {
		e.Entry.TypedKey(k)
	}
}

// FocusGained implements fyne.Focusable.
func (e *entry) FocusGained() {
	e.Entry.FocusGained()
	reveal(e)
}
