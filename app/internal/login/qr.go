package login

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// quiet is the light margin that a reader needs around a symbol, in modules (ISO/IEC 18004, section 6.3.8).
const quiet = 4

// Black on white whatever the terminal's own colours are, from the part of the palette that themes leave alone: a
// symbol of the terminal's colours would be inverted on a dark one, which not every reader takes.
const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	ownColours   = "\x1b[0m"
)

// QR is an address as a QR code, for a terminal.
type QR struct {
	Lines []string // two rows of modules each, in half blocks
	Width int      // columns
}

// QR draws the page on another device. The code to type there is not in it: who only sees the picture, somewhere
// else, has not seen the machine.
func (p Page) QR() (QR, error) { return draw(p.Elsewhere()) }

func draw(text string) (QR, error) {
	c, err := qr.Encode(text, qr.L) // a screen is clean, and the smallest fits the most terminals
	if err != nil {
		return QR{}, fmt.Errorf("the address cannot be drawn: %w", err)
	}
	q := QR{Width: c.Size + 2*quiet}
	for y := -quiet; y < c.Size+quiet; y += 2 {
		var b strings.Builder
		b.WriteString(blackOnWhite)
		for x := -quiet; x < c.Size+quiet; x++ {
			b.WriteString(halves[dark(c, x, y)][dark(c, x, y+1)])
		}
		b.WriteString(ownColours)
		q.Lines = append(q.Lines, b.String())
	}
	return q, nil
}

// halves is the character for an upper and a lower module, 1 being dark.
var halves = [2][2]string{{" ", "▄"}, {"▀", "█"}}

func dark(c *qr.Code, x, y int) int {
	if c.Black(x, y) { // light outside of the symbol
		return 1
	}
	return 0
}
