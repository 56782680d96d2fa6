package ui

import (
	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"
)

// columns is a layout of as many columns as there is room for: each has a least width, and all have the same.
type columns struct {
	least float32
	most  int
	now   int // columns, since it was last laid out
}

// MinSize implements fyne.Layout. Its width is one column's.
func (c *columns) MinSize(objects []fyne.CanvasObject) fyne.Size {
	size := fyne.Size{}
	c.rows(objects, func(row []fyne.CanvasObject, y, high float32) {
		for _, o := range row {
			size.Width = max(size.Width, o.MinSize().Width)
		}
		size.Height = y + high
	})
	return size
}

// Layout implements fyne.Layout.
func (c *columns) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	pad := theme.Padding()
	c.now = min(max(int((size.Width+pad)/(c.least+pad)), 1), c.most)
	wide := (size.Width - pad*float32(c.now-1)) / float32(c.now)
	for _, o := range objects { // what wraps has its height only at its width
		o.Resize(fyne.NewSize(wide, o.Size().Height))
	}
	c.rows(objects, func(row []fyne.CanvasObject, y, high float32) {
		for i, o := range row {
			o.Move(fyne.NewPos(float32(i)*(wide+pad), y))
			o.Resize(fyne.NewSize(wide, high))
		}
	})
}

// rows gives each row of what is visible, with its place and height.
func (c *columns) rows(objects []fyne.CanvasObject, each func(row []fyne.CanvasObject, y, high float32)) {
	y := float32(0)
	var row []fyne.CanvasObject
	end := func() {
		high := float32(0)
		for _, o := range row {
			high = max(high, o.MinSize().Height)
		}
		each(row, y, high)
		y += high + theme.Padding()
		row = nil
	}
	for _, o := range objects {
		if !o.Visible() {
			continue
		}
		if row = append(row, o); len(row) >= max(c.now, 1) {
			end()
		}
	}
	if len(row) > 0 {
		end()
	}
}

// leastAlarm is the height that what went wrong keeps, a line of text: the rest of it can be scrolled to.
const leastAlarm = 35

// stacked is the layout of a window: its head, what went wrong, a line, and the pages, which get what is left. Where there is
// not room for all, what went wrong gets less of it.
type stacked struct {
	says *widget.Label // what went wrong: as high as it is wide
}

// MinSize implements fyne.Layout.
func (s *stacked) MinSize(o []fyne.CanvasObject) fyne.Size {
	size := fyne.Size{Height: -theme.Padding()}
	for i, part := range o {
		if part.Visible() {
			least := s.least(i, part)
			size.Width, size.Height = max(size.Width, least.Width), size.Height+theme.Padding()+least.Height
		}
	}
	return size
}

// least is the size that a part has at the least.
func (s *stacked) least(i int, part fyne.CanvasObject) fyne.Size {
	size := part.MinSize()
	if i == 1 {
		size.Height = min(s.says.MinSize().Height, leastAlarm)
	}
	return size
}

// Layout implements fyne.Layout.
func (s *stacked) Layout(o []fyne.CanvasObject, size fyne.Size) {
	s.says.Resize(fyne.NewSize(size.Width, s.says.Size().Height)) // its height follows
	left := max(size.Height-s.MinSize(o).Height, 0)
	y := float32(0)
	for i, part := range o {
		if !part.Visible() {
			continue
		}
		high := s.least(i, part).Height
		switch i {
		case 1:
			high += min(s.says.MinSize().Height-high, left)
		case len(o) - 1:
			high = max(size.Height-y, high)
		}
		part.Move(fyne.NewPos(0, y))
		part.Resize(fyne.NewSize(size.Width, high))
		y += high + theme.Padding()
	}
}

// flow is a layout of things beside each other, each as wide as it is, that go on below where there is no more room.
type flow struct{ wide float32 } // as it was last laid out; 0: not yet

// MinSize implements fyne.Layout.
func (f *flow) MinSize(objects []fyne.CanvasObject) fyne.Size {
	size := fyne.Size{}
	f.each(objects, func(o fyne.CanvasObject, at fyne.Position, is fyne.Size) {
		size.Width, size.Height = max(size.Width, is.Width), max(size.Height, at.Y+is.Height)
	})
	return size
}

// Layout implements fyne.Layout.
func (f *flow) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	f.wide = size.Width
	f.each(objects, func(o fyne.CanvasObject, at fyne.Position, is fyne.Size) {
		o.Move(at)
		o.Resize(is)
	})
}

// each gives the place and size of what is visible.
func (f *flow) each(objects []fyne.CanvasObject, do func(o fyne.CanvasObject, at fyne.Position, is fyne.Size)) {
	pad := theme.Padding()
	at, high := fyne.Position{}, float32(0)
	for _, o := range objects {
		if !o.Visible() {
			continue
		}
		is := o.MinSize()
		if at.X > 0 && f.wide > 0 && at.X+is.Width > f.wide {
			at, high = fyne.NewPos(0, at.Y+high+pad), 0
		}
		do(o, at, is)
		at.X += is.Width + pad
		high = max(high, is.Height)
	}
}
