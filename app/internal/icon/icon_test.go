package icon

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/warren-mesh/warren/app/internal/view"
)

// panels are the colours of panels in common use, light and dark.
var panels = []color.NRGBA{{0xff, 0xff, 0xff, 0xff}, {0xef, 0xf0, 0xf1, 0xff}, {0x31, 0x36, 0x3b, 0xff}, {0, 0, 0, 0xff}}

// luminance is WCAG's relative luminance.
func luminance(c color.Color) float64 {
	r, g, b, _ := c.RGBA()
	part := func(v uint32) float64 {
		f := float64(v) / 0xffff
		if f <= 0.04045 {
			return f / 12.92
		}
		return math.Pow((f+0.055)/1.055, 2.4)
	}
	return 0.2126*part(r) + 0.7152*part(g) + 0.0722*part(b)
}

func contrast(a, b color.Color) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// on lays an icon on a panel.
func on(panel color.Color, i view.Icon, size int, dark bool) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, size, size))
	draw.Draw(img, img.Bounds(), image.NewUniform(panel), image.Point{}, draw.Src)
	draw.Draw(img, img.Bounds(), DrawOn(i, size, dark), image.Point{}, draw.Over)
	return img
}

// A figure must stand out from its badge (WCAG asks for 3:1), and the icon from the panel, at the smallest size too: the
// badge on a light panel, the figure on a dark one.
func TestIconsStandOutOnEveryPanel(t *testing.T) {
	for _, i := range Icons {
		if got := contrast(white, drawings[i][0].NRGBA); got < 3 {
			t.Errorf("%s: the figure has a contrast of %.1f to its badge", i, got)
		}
		if got := contrast(white, brighter[drawings[i][0].NRGBA]); got < 3 {
			t.Errorf("%s: the figure has a contrast of %.1f to its brighter badge", i, got)
		}
		for n, panel := range slices.Concat(panels, panels) {
			dark := n >= len(panels)
			for _, size := range []int{16, 22, 24, 32, 48, 64} {
				img, stands := on(panel, i, size, dark), 0
				for y := range size {
					for x := range size {
						if contrast(img.At(x, y), panel) >= 3 {
							stands++
						}
					}
				}
				if share := float64(stands) / float64(size*size); share < 0.06 {
					t.Errorf("%s at %d pixels on %v: %.0f %% of it stands out", i, size, panel, 100*share)
				}
			}
		}
	}
}

// Without their colours, the icons must still be different: in a tenth of their area at least.
func TestIconsDifferByFormToo(t *testing.T) {
	const size = 22
	for n, a := range Icons {
		for _, b := range Icons[:n] {
			x, y, differ := Draw(a, size), Draw(b, size), 0
			figure := func(img *image.NRGBA, i view.Icon, p image.Point) bool {
				return contrast(img.At(p.X, p.Y), drawings[i][0].NRGBA) >= 1.5 && img.NRGBAAt(p.X, p.Y).A > 128
			}
			for p := range size * size {
				at := image.Pt(p%size, p/size)
				if figure(x, a, at) != figure(y, b, at) {
					differ++
				}
			}
			if share := float64(differ) / (size * size); share < 0.08 {
				t.Errorf("%s and %s differ in %.0f %% of their area", a, b, 100*share)
			}
		}
	}
}

// TestSheet draws all icons on light and dark, for a person to look at: WARREN_SHEET names the file.
func TestSheet(t *testing.T) {
	file := os.Getenv("WARREN_SHEET")
	if file == "" {
		return
	}
	const cell = 80
	sheet := image.NewRGBA(image.Rect(0, 0, cell*6*2, cell*len(Icons)))
	draw.Draw(sheet, sheet.Bounds(), image.NewUniform(panels[1]), image.Point{}, draw.Src)
	draw.Draw(sheet, image.Rect(cell*6, 0, cell*12, cell*len(Icons)), image.NewUniform(panels[2]), image.Point{}, draw.Src)
	for row, i := range Icons {
		for col, size := range []int{16, 22, 24, 32, 48, 64, 16, 22, 24, 32, 48, 64} {
			at := image.Pt(col*cell+(cell-size)/2, row*cell+(cell-size)/2)
			draw.Draw(sheet, image.Rectangle{at, at.Add(image.Pt(size, size))}, Draw(i, size), image.Point{}, draw.Over)
		}
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, sheet); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
