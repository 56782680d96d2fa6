// Package icon draws the tray's icons, at any size, out of a few shapes. Each has a badge of its own colour with a
// white figure on it, so that it is readable on a light panel and on a dark one, and each figure has a form of its own,
// so that nobody has to tell colours apart.
package icon

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"

	"github.com/warren-mesh/warren/app/internal/view"
)

// layer is a shape in a colour.
type layer struct {
	shape
	color.NRGBA
}

var (
	white  = color.NRGBA{0xff, 0xff, 0xff, 0xff}
	faint  = color.NRGBA{0xff, 0xff, 0xff, 0xa0}
	green  = color.NRGBA{0x1f, 0x80, 0x5a, 0xff}
	grey   = color.NRGBA{0x6b, 0x74, 0x7c, 0xff}
	blue   = color.NRGBA{0x2b, 0x6c, 0xb8, 0xff}
	orange = color.NRGBA{0xc2, 0x55, 0x0a, 0xff}
)

// drawings are the icons' layers, the lowest first.
var drawings = map[view.Icon][]layer{
	view.IconConnected: {
		{badge{}, green}, {arch{0.31, 0.075}, faint}, {arch{0.14, 0.075}, white}, {disc{0.5, 0.76, 0.06}, white},
	},
	view.IconExit: {
		{badge{}, green},
		{line{0.5, 0.28, 0.5, 0.78, 0.1}, white},
		{line{0.5, 0.26, 0.27, 0.49, 0.1}, white},
		{line{0.5, 0.26, 0.73, 0.49, 0.1}, white},
	},
	view.IconDisconnected: {
		{badge{}, grey}, {arch{0.31, 0.075}, faint}, {line{0.24, 0.8, 0.78, 0.24, 0.1}, grey}, {line{0.24, 0.8, 0.78, 0.24, 0.05}, white},
	},
	view.IconConnecting: {
		{badge{}, blue}, {disc{0.25, 0.52, 0.085}, white}, {disc{0.5, 0.52, 0.085}, white}, {disc{0.75, 0.52, 0.085}, faint},
	},
	view.IconAttention: {
		{badge{}, orange}, {line{0.5, 0.25, 0.5, 0.54, 0.13}, white}, {disc{0.5, 0.76, 0.09}, white},
	},
}

// Draw gives an icon of size pixels each way.
func Draw(i view.Icon, size int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			var c color.NRGBA
			for _, l := range drawings[i] {
				// An edge is one pixel wide.
				depth := l.depth((float64(x)+0.5)/float64(size), (float64(y)+0.5)/float64(size)) * float64(size)
				c = over(c, l.NRGBA, min(max(depth+0.5, 0), 1))
			}
			img.SetNRGBA(x, y, c)
		}
	}
	return img
}

// PNG gives an icon as a file.
func PNG(i view.Icon, size int) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, Draw(i, size)); err != nil {
		panic(err) // it cannot fail in memory
	}
	return b.Bytes()
}

// over lays a colour over another, as far as it covers.
func over(below, above color.NRGBA, cover float64) color.NRGBA {
	a := cover * float64(above.A) / 255
	b := float64(below.A) / 255 * (1 - a)
	if a+b == 0 {
		return color.NRGBA{}
	}
	mix := func(x, y uint8) uint8 { return uint8(math.Round((float64(x)*a + float64(y)*b) / (a + b))) }
	return color.NRGBA{mix(above.R, below.R), mix(above.G, below.G), mix(above.B, below.B), uint8(math.Round((a + b) * 255))}
}
