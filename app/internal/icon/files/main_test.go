package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// What is in assets/icons is what the shapes give: go run ./app/internal/icon/files -svg assets/icons
func TestTheDrawingsInAssetsAreUpToDate(t *testing.T) {
	const dir = "../../../../assets/icons"
	want := scalable(dir, dir, dir)
	there, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(there) != len(want) {
		t.Errorf("there are %d drawings, not %d", len(there), len(want))
	}
	for file, text := range want {
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s is not as it is drawn (%v): run go run ./app/internal/icon/files -svg assets/icons", filepath.Base(file), err)
		}
	}
}

func TestAThemeHasTheProgramsIconAtAllSizes(t *testing.T) {
	dir := t.TempDir()
	if err := write(theme(dir)); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"*/apps/io.github.warren_mesh.Warren.png", "scalable/apps/*.svg", "symbolic/apps/*-symbolic.svg", "16x16/status/*.png"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		want := map[string]int{"*/apps/io.github.warren_mesh.Warren.png": len(sizes), "scalable/apps/*.svg": 1, "symbolic/apps/*-symbolic.svg": 6, "16x16/status/*.png": 5}[pattern]
		if err != nil || len(found) != want {
			t.Errorf("%s: %d files, %v; want %d", pattern, len(found), err, want)
		}
	}
}
