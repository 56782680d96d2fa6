package server

import (
	"fmt"
	"html/template"
	"strings"

	"rsc.io/qr"
)

const quietZone = 4 // modules around a QR code (ISO/IEC 18004)

// qrSVG draws text as a QR code. It stands within the page: what it holds is in no address and in no cache. The style
// gives it a white ground and black modules, in the dark as well, as readers want them.
func qrSVG(text string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", err
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := 0
			for x+run < code.Size && code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quietZone, y+quietZone, run, run)
				x += run
			}
		}
	}
	size := code.Size + 2*quietZone
	return template.HTML(fmt.Sprintf( //nolint:gosec // numbers of our own
		`<svg class="qr" viewBox="0 0 %d %d" shape-rendering="crispEdges" aria-hidden="true"><path d="%s"/></svg>`, size, size, path.String())), nil
}
