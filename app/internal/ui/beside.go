package ui

import (
	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/widget"
)

// A list's share of the width: at first, and how far a person can drag it.
const (
	listShare = 0.42
	leastList = 0.25
	mostList  = 0.6
)

// grip is how wide the place is where the line between the halves can be grasped.
const grip = 6

// beside puts a list at the left and what goes with it at the right, with a fine line between, which can be dragged.
func beside(left, right fyne.CanvasObject) fyne.CanvasObject {
	h := &halves{share: listShare}
	line := newDivider()
	c := container.New(h, left, line, right)
	line.drag = func(by float32) {
		if width := c.Size().Width - grip; width > 0 {
			h.share = min(max(h.share+by/width, leastList), mostList)
			c.Layout.Layout(c.Objects, c.Size())
		}
	}
	return c
}

// halves is the layout of beside.
type halves struct{ share float32 }

// MinSize implements fyne.Layout.
func (*halves) MinSize(o []fyne.CanvasObject) fyne.Size {
	left, right := o[0].MinSize(), o[2].MinSize()
	return fyne.NewSize(left.Width+grip+right.Width, max(left.Height, right.Height))
}

// Layout implements fyne.Layout. Neither half becomes narrower than it can be.
func (h *halves) Layout(o []fyne.CanvasObject, size fyne.Size) {
	width := size.Width - grip
	list := max(min(width*h.share, width-o[2].MinSize().Width), o[0].MinSize().Width)
	x := float32(0)
	for i, w := range []float32{list, grip, width - list} {
		o[i].Move(fyne.NewPos(x, 0))
		o[i].Resize(fyne.NewSize(w, size.Height))
		x += w
	}
}

// divider is the line.
type divider struct {
	widget.BaseWidget
	drag func(by float32)
}

func newDivider() *divider {
	d := &divider{}
	d.ExtendBaseWidget(d)
	return d
}

// CreateRenderer implements fyne.Widget.
func (d *divider) CreateRenderer() fyne.WidgetRenderer {
	return widget.NewSimpleRenderer(container.NewHBox(layout.NewSpacer(), widget.NewSeparator(), layout.NewSpacer()))
}

// MinSize implements fyne.CanvasObject.
func (d *divider) MinSize() fyne.Size { return fyne.NewSize(grip, 1) }

// Dragged implements fyne.Draggable.
func (d *divider) Dragged(e *fyne.DragEvent) { d.drag(e.Dragged.DX) }

// DragEnd implements fyne.Draggable.
func (d *divider) DragEnd() {}

// Cursor implements desktop.Cursorable.
func (d *divider) Cursor() desktop.Cursor { return desktop.HResizeCursor }
