// Package icon draws the tray's icons, at any size, out of a few shapes. Each has a badge of its own colour with a
// white figure on it, so that it is readable on a light panel and on a dark one, and each figure has a form of its own,
// so that nobody has to tell colours apart.
package icon

import (
	"bytes"
	"fmt"
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

// drawings are the icons' layers, the lowest first. Measures are such that edges meet the pixels at the smallest size, 16.
var drawings = map[view.Icon][]layer{
	view.IconConnected: {
		{badge{}, green}, {arch{0.28125, 0.075}, faint}, {arch{0.15625, 0.075}, white}, {disc{0.5, 0.75, 0.066}, white},
	},
	view.IconExit: {
		{badge{}, green},
		{line{0.5, 0.28, 0.5, 0.77, 0.12}, white},
		{line{0.5, 0.26, 0.27, 0.49, 0.115}, white},
		{line{0.5, 0.26, 0.73, 0.49, 0.115}, white},
	},
	view.IconDisconnected: {
		{badge{}, grey}, {arch{0.28125, 0.075}, faint}, {line{0.22, 0.78, 0.78, 0.22, 0.2}, grey}, {line{0.22, 0.78, 0.78, 0.22, 0.075}, white},
	},
	view.IconConnecting: {
		{badge{}, blue}, {disc{0.25, 0.5, 0.09}, white}, {disc{0.5, 0.5, 0.09}, white}, {disc{0.75, 0.5, 0.09}, faint},
	},
	view.IconAttention: {
		{badge{}, orange}, {line{0.5, 0.25, 0.5, 0.54, 0.13}, white}, {disc{0.5, 0.76, 0.09}, white},
	},
}

// brighter are the badges on a dark desktop, where the others would sink into the panel.
var brighter = map[color.NRGBA]color.NRGBA{
	green: {0x2f, 0x9a, 0x6e, 0xff}, grey: {0x7d, 0x86, 0x8e, 0xff}, blue: {0x4a, 0x8c, 0xda, 0xff}, orange: {0xd4, 0x69, 0x1a, 0xff},
}

// Draw gives an icon of size pixels each way.
func Draw(i view.Icon, size int) *image.NRGBA { return DrawOn(i, size, false) }

// DrawOn gives an icon for a desktop that is dark, or is not. Either is readable on the other, too: a panel need not be as
// the desktop is.
func DrawOn(i view.Icon, size int, dark bool) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			var c color.NRGBA
			for _, l := range drawings[i] {
				if bright, badge := brighter[l.NRGBA]; badge && dark {
					l.NRGBA = bright
				}
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

// Icons are all that there are.
var Icons = []view.Icon{view.IconDisconnected, view.IconConnecting, view.IconConnected, view.IconExit, view.IconAttention}

// SVG gives an icon as a drawing that scales.
func SVG(i view.Icon) []byte {
	const size = 48
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%[1]d\" height=\"%[1]d\" viewBox=\"0 0 %[1]d %[1]d\">\n", size)
	for _, l := range drawings[i] {
		fmt.Fprintf(&b, "  <path d=%q fill=\"#%02x%02x%02x\"%s/>\n", l.path(size), l.R, l.G, l.B, opacity(l.A))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// Symbolic gives an icon's figure alone, for the toolkits that colour it as the text beside it.
func Symbolic(i view.Icon) []byte {
	const size = 16
	var b bytes.Buffer
	// The figure takes the badge's place.
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%[1]d\" height=\"%[1]d\" viewBox=\"2 2 12 12\">\n", size)
	for _, l := range drawings[i] {
		if l.NRGBA.R == 0xff && l.NRGBA.G == 0xff { // the figure is white
			fmt.Fprintf(&b, "  <path d=%q fill=\"#2e3436\"%s/>\n", l.path(size), opacity(l.A))
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func opacity(alpha uint8) string {
	if alpha == 0xff {
		return ""
	}
	return fmt.Sprintf(" fill-opacity=\"%.2f\"", float64(alpha)/0xff)
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
