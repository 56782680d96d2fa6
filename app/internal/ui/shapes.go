package ui

import (
	"image/color"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"
)

// Fyne's own shapes and texts keep the colour that they were made with. Those here have the name of one, and follow a desktop that
// becomes dark.

// block is a rectangle with round corners.
type block struct {
	widget.BaseWidget
	look
}

// look is how a block looks.
type look struct {
	fill, line    fyne.ThemeColorName // "": none
	radius, width float32
	least         fyne.Size
}

func newBlock(l look) *block {
	b := &block{look: l}
	b.ExtendBaseWidget(b)
	return b
}

// paint gives it other colours, where they are others.
func (b *block) paint(fill, line fyne.ThemeColorName) {
	if b.fill != fill || b.line != line {
		b.fill, b.line = fill, line
		b.Refresh()
	}
}

// MinSize implements fyne.CanvasObject.
func (b *block) MinSize() fyne.Size { return b.least }

// CreateRenderer implements fyne.Widget.
func (b *block) CreateRenderer() fyne.WidgetRenderer {
	shape := canvas.NewRectangle(color.Transparent)
	r := painted{widget.NewSimpleRenderer(shape), func() {
		shape.FillColor, shape.StrokeColor = named(b.fill), named(b.line)
		shape.CornerRadius, shape.StrokeWidth = b.radius, b.width
		shape.Refresh()
	}}
	r.paint()
	return r
}

// caption is a small text beside a picture.
type caption struct {
	widget.BaseWidget
	says *canvas.Text
}

func newCaption() *caption {
	c := &caption{says: canvas.NewText("", color.Transparent)}
	c.ExtendBaseWidget(c)
	return c
}

// set changes the text only where it is another, and tells whether it was: it may need another place.
func (c *caption) set(text string) bool {
	if c.says.Text == text {
		return false
	}
	c.says.Text = text
	c.Refresh()
	return true
}

// CreateRenderer implements fyne.Widget.
func (c *caption) CreateRenderer() fyne.WidgetRenderer {
	r := painted{widget.NewSimpleRenderer(c.says), func() {
		c.says.Color, c.says.TextSize = named(theme.ColorNameDisabled), theme.CaptionTextSize()
		c.says.Refresh()
	}}
	r.paint()
	return r
}

// painted draws one shape, which is painted anew where the theme is another.
type painted struct {
	fyne.WidgetRenderer
	paint func()
}

// Refresh implements fyne.WidgetRenderer.
func (p painted) Refresh() { p.paint() }

// named is the theme's colour of a name.
func named(name fyne.ThemeColorName) color.Color {
	if name == "" {
		return color.Transparent
	}
	return theme.Color(name)
}
