package login

import (
	"image"
	"image/color"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"github.com/warren-mesh/warren/ipc"
)

// look reads a drawing as a camera would see it on a terminal: the characters with the colours that are set.
func look(t *testing.T, q QR) string {
	t.Helper()
	const pixels = 3 // for each module
	img := image.NewGray(image.Rect(0, 0, q.Width*pixels, 2*len(q.Lines)*pixels))
	for i := range img.Pix {
		img.Pix[i] = 128 // where nothing is drawn
	}
	for row, line := range q.Lines {
		cells, began := strings.CutPrefix(line, blackOnWhite)
		cells, ended := strings.CutSuffix(cells, ownColours)
		if !began || !ended || len([]rune(cells)) != q.Width {
			t.Fatalf("line %d has not %d characters between its colours: %q", row, q.Width, line)
		}
		for col, r := range []rune(cells) {
			upper, lower := r == '▀' || r == '█', r == '▄' || r == '█'
			for half, dark := range []bool{upper, lower} {
				for i := range pixels * pixels {
					c := color.Gray{Y: 255}
					if dark {
						c.Y = 0
					}
					img.SetGray(col*pixels+i%pixels, (2*row+half)*pixels+i/pixels, c)
				}
			}
		}
	}
	bits, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	got, err := qrcode.NewQRCodeReader().Decode(bits, nil)
	if err != nil {
		t.Fatalf("no reader would read it: %v\n%s", err, strings.Join(q.Lines, "\n"))
	}
	return got.GetText()
}

func TestAReaderReadsTheDrawnAddress(t *testing.T) {
	for _, server := range []string{
		"https://a.example", "https://warren.example.org:8443", "https://[2001:db8:1234:5678:9abc:def0:1234:5678]:8443",
		"https://" + strings.Repeat("long.", 40) + "example",
	} {
		p, err := NewPage(&ipc.Login{Server: server, ID: id}, "")
		if err != nil {
			t.Fatal(err)
		}
		q, err := p.QR()
		if err != nil {
			t.Fatal(err)
		}
		if got := look(t, q); got != p.Elsewhere() {
			t.Errorf("read %s, want %s", got, p.Elsewhere())
		}
		light := blackOnWhite + strings.Repeat(" ", q.Width) + ownColours
		if q.Lines[0] != light || q.Lines[1] != light || q.Lines[len(q.Lines)-2] != light {
			t.Errorf("%s: there is no margin", server)
		}
	}
}

func TestAnAddressTooLongToDrawIsAnError(t *testing.T) {
	if _, err := draw(strings.Repeat("x", 5000)); err == nil {
		t.Error("it was drawn")
	}
}
