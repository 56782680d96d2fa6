// Command files writes the icons as files of an icon theme, at all sizes of hicolor:
//
//	files DIR      DIR/hicolor/{16x16,…,scalable,symbolic}/{apps,status}
//	files -svg DIR only the drawings that scale, without a theme's directories: what is in assets/icons
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/warren-mesh/warren/app/internal/desktop"
	"github.com/warren-mesh/warren/app/internal/icon"
	"github.com/warren-mesh/warren/app/internal/view"
)

// sizes are hicolor's, in pixels.
var sizes = []int{16, 22, 24, 32, 36, 48, 64, 72, 96, 128, 192, 256, 512}

func main() {
	args := os.Args[1:]
	drawings := len(args) == 2 && args[0] == "-svg"
	if !drawings && len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: files [-svg] DIR")
		os.Exit(2)
	}
	var err error
	if drawings {
		err = write(scalable(args[1], args[1], args[1]))
	} else {
		err = write(theme(filepath.Join(args[0], "hicolor")))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
		os.Exit(1)
	}
}

// name is the icon's name in a theme.
func name(i view.Icon) string { return "warren-" + string(i) }

// scalable are the drawings, in directories for the program's icon, for those of a status, and for symbolic ones.
func scalable(apps, status, symbolic string) map[string][]byte {
	files := map[string][]byte{
		filepath.Join(apps, desktop.Name+".svg"):              icon.SVG(view.IconConnected),
		filepath.Join(symbolic, desktop.Name+"-symbolic.svg"): icon.Symbolic(view.IconConnected),
	}
	for _, i := range icon.Icons {
		files[filepath.Join(status, name(i)+".svg")] = icon.SVG(i)
		files[filepath.Join(symbolic, name(i)+"-symbolic.svg")] = icon.Symbolic(i)
	}
	return files
}

// theme are all files of the theme.
func theme(dir string) map[string][]byte {
	files := scalable(filepath.Join(dir, "scalable/apps"), filepath.Join(dir, "scalable/status"), filepath.Join(dir, "symbolic/apps"))
	for _, size := range sizes {
		at := filepath.Join(dir, fmt.Sprintf("%[1]dx%[1]d", size))
		files[filepath.Join(at, "apps", desktop.Name+".png")] = icon.PNG(view.IconConnected, size)
		if size <= 64 {
			for _, i := range icon.Icons {
				files[filepath.Join(at, "status", name(i)+".png")] = icon.PNG(i, size)
			}
		}
	}
	return files
}

func write(files map[string][]byte) error {
	for file, text := range files {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
