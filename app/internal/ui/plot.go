package ui

import (
	"image"
	"image/color"
	"math"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

// curve is a line of a plot. A value below zero is a gap.
type curve struct {
	values []float64
	color  fyne.ThemeColorName
}

// plot draws curves over time, the newest value at the right. What is below a line is filled.
type plot struct {
	object *fyne.Container
	head   *fyne.Container
	title  *caption
	most   *caption // what the height stands for
	none   *caption
	raster *canvas.Raster
	curves []curve
	points int // that fit into the width
	top    float64
}

func newPlot(points int) *plot {
	p := &plot{points: points}
	p.raster = canvas.NewRaster(p.draw)
	p.raster.SetMinSize(fyne.NewSize(120, 58))
	p.title, p.most, p.none = newCaption(), newCaption(), newCaption()
	p.head = container.NewBorder(nil, nil, p.title, p.most)
	p.object = container.NewBorder(p.head, nil, nil, nil, container.NewStack(p.raster, container.NewCenter(p.none)))
	return p
}

func (p *plot) show(title, most, none string, top float64, curves ...curve) {
	p.curves, p.top = curves, top
	seen := 0
	for _, c := range curves {
		for _, v := range c.values {
			if v >= 0 {
				seen++
			}
		}
	}
	changed := p.title.set(title)
	if seen < 2 || top <= 0 {
		most, p.curves = "", nil // one point is no line
	} else {
		none = ""
	}
	changed = p.most.set(most) || changed
	if p.none.set(none) || changed {
		relayout(p.object)
	}
	p.raster.Refresh()
}

// draw paints all at the size that the screen has.
func (p *plot) draw(w, h int) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, max(w, 1), max(h, 1)))
	grid := faded(theme.Color(theme.ColorNameSeparator), 0xff)
	for x := range w {
		img.SetNRGBA(x, h-1, grid)
		if x%6 < 3 {
			img.SetNRGBA(x, h/2, faded(grid, 0x90))
		}
	}
	if p.top <= 0 || p.points < 2 {
		return img
	}
	for _, c := range p.curves {
		p.line(img, w, h, c)
	}
	return img
}

// line paints one curve: each column has the height of the curve there.
func (p *plot) line(img *image.NRGBA, w, h int, c curve) {
	stroke := faded(theme.Color(c.color), 0xff)
	thick := max(1.5, float64(h)/40)
	at := func(x float64) (float64, bool) {
		pos := float64(len(c.values)-1) - (float64(w-1)-x)/float64(w-1)*float64(p.points-1)
		i := int(math.Floor(pos))
		if i < 0 || i >= len(c.values) || c.values[i] < 0 {
			return 0, false
		}
		v := c.values[i]
		if i+1 < len(c.values) {
			if c.values[i+1] < 0 {
				return 0, false
			}
			v += (pos - float64(i)) * (c.values[i+1] - v)
		}
		return float64(h) - thick - v/p.top*(float64(h)-2*thick), true
	}
	for x := range w {
		y, ok := at(float64(x))
		if !ok {
			continue
		}
		low, high := y, y // what the line spans in this column
		if next, ok := at(float64(x) + 1); ok {
			low, high = min(y, next), max(y, next)
		}
		for row := max(0, int(low-thick)); row < h-1; row++ {
			d := 0.0
			switch f := float64(row); {
			case f < low:
				d = low - f
			case f > high:
				d = f - high
			}
			cover := min(max(thick-d, 0), 1)
			if float64(row) > high {
				cover = max(cover, 0.16*(1-(float64(row)-high)/float64(h))+0.06)
			}
			over(img, x, row, stroke, cover)
		}
	}
}

// over lays a colour over a pixel.
func over(img *image.NRGBA, x, y int, c color.NRGBA, cover float64) {
	was := img.NRGBAAt(x, y)
	a, b := cover, float64(was.A)/255*(1-cover)
	if a+b == 0 {
		return
	}
	mix := func(top, below uint8) uint8 { return uint8((float64(top)*a + float64(below)*b) / (a + b)) }
	img.SetNRGBA(x, y, color.NRGBA{mix(c.R, was.R), mix(c.G, was.G), mix(c.B, was.B), uint8(255 * (a + b))})
}

func faded(c color.Color, alpha uint8) color.NRGBA {
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	n.A = uint8(uint16(n.A) * uint16(alpha) / 0xff)
	return n
}

// share is a layout of parts beside each other, each as wide as its share of the whole, with a gap between.
type share struct {
	parts []float32
	high  float32
}

// MinSize implements fyne.Layout.
func (s *share) MinSize([]fyne.CanvasObject) fyne.Size { return fyne.NewSize(20, s.high) }

// Layout implements fyne.Layout. What lasted for a moment must be seen, too.
func (s *share) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	const gap, least = 2, 4
	room := size.Width - gap*float32(max(0, len(objects)-1)) - least*float32(len(objects))
	x := float32(0)
	for i, o := range objects {
		w := float32(least)
		if i < len(s.parts) {
			w += max(0, room) * s.parts[i]
		}
		o.Move(fyne.NewPos(x, (size.Height-s.high)/2))
		o.Resize(fyne.NewSize(w, s.high))
		x += w + gap
	}
}

// bar is a rectangle of a share of its place's width.
func bar(part float32, c fyne.ThemeColorName) fyne.CanvasObject {
	return container.New(&share{parts: []float32{part}, high: 8}, newBlock(look{fill: c, radius: 4}))
}

// kindColor is the colour of a kind of path.
func kindColor(k ipc.PathKind) fyne.ThemeColorName {
	switch k {
	case ipc.PathDirect:
		return theme.ColorNamePrimary
	case ipc.PathRelay:
		return theme.ColorNameWarning
	}
	return theme.ColorNameInputBorder
}

// way draws how a machine was reached, as a strip with its words below.
type way struct {
	object *fyne.Container
	title  *caption
	strip  *fyne.Container
	words  *fyne.Container
	drawn  []view.Stretch
}

func newWay() *way {
	w := &way{title: newCaption(), strip: container.New(&share{high: 12}), words: container.New(layout.NewCustomPaddedVBoxLayout(-8))}
	w.object = container.NewVBox(w.title, w.strip, w.words)
	return w
}

// mostWords is how many changes are said in words, the latest first.
const mostWords = 4

func (w *way) show(title string, all []view.Stretch) {
	w.title.set(title)
	show(w.object, len(all) > 0)
	same := len(w.drawn) == len(all)
	parts := make([]float32, len(all))
	for i := range all {
		parts[i] = all[i].Share
		same = same && w.drawn[i].Kind == all[i].Kind && w.drawn[i].Text == all[i].Text
	}
	w.drawn = all
	w.strip.Layout = &share{parts: parts, high: 12}
	if same {
		w.strip.Refresh()
		return
	}
	w.strip.RemoveAll()
	w.words.RemoveAll()
	for _, s := range all {
		w.strip.Add(newBlock(look{fill: kindColor(s.Kind), radius: 3}))
	}
	for i := len(all) - 1; i >= max(0, len(all)-mostWords); i-- {
		l := widget.NewLabel(all[i].Text)
		l.SizeName, l.Importance, l.Truncation = theme.SizeNameCaptionText, widget.LowImportance, fyne.TextTruncateEllipsis
		w.words.Add(l)
	}
}
