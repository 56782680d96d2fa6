// Package hush keeps Fyne quiet while it sets itself up. Its packages look for the person's language before main begins, and log an
// error with two lines of source where that is none that they know, such as the C locale of a bare session: also before
// "warren-tray --help".
//
// Packages are set up in the order of their import paths as soon as what they import is (Go's specification, "Program
// initialization"), so that this one, which imports next to nothing, comes before Fyne's, which need golang.org/x/text.
package hush

import (
	"io"
	"log"
	"os"
)

func init() { log.SetOutput(io.Discard) }

// Over lets what is logged from now on be seen.
func Over() { log.SetOutput(os.Stderr) }
