package install

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// contents is what a package says of what is inside it, as far as it is looked at here.
type contents struct {
	BOMFormat, SpecVersion string
	Metadata               struct{ Component component }
	Components             []component
	Dependencies           []struct {
		Ref       string
		DependsOn []string
	}
}

type component struct {
	Ref    string `json:"bom-ref"`
	Name   string
	Hashes []struct {
		Alg, Content string
	}
	Licenses   []json.RawMessage
	Components []component
}

// TestEachPackageSaysWhatIsInside compares the bill of materials in each package with what Go wrote into its programs, and
// with the licences that are collected.
func TestEachPackageSaysWhatIsInside(t *testing.T) {
	debs, err := filepath.Glob(filepath.Join(os.Getenv("WARREN_PACKAGES"), "*.deb"))
	if err != nil || len(debs) < 2*len(staged) {
		const why = "needs packages of both architectures: run `sudo make test-packages`"
		if os.Getenv("CI") == "true" || os.Getenv("WARREN_PACKAGES") != "" {
			t.Fatalf("%d packages (%v): %s", len(debs), err, why)
		}
		t.Skip(why)
	}
	for _, deb := range debs {
		t.Run(filepath.Base(deb), func(t *testing.T) {
			dir := t.TempDir()
			shell(t, "dpkg-deb", "-x", deb, dir)
			name, _, _ := strings.Cut(filepath.Base(deb), "_")
			doc := filepath.Join(dir, "usr/share/doc", name)
			text, err := os.ReadFile(filepath.Join(doc, name+".cdx.json"))
			if err != nil {
				t.Fatal(err)
			}
			var bill contents
			if err := json.Unmarshal(text, &bill); err != nil || bill.BOMFormat != "CycloneDX" || bill.SpecVersion != "1.6" {
				t.Fatalf("not CycloneDX 1.6 (%v):\n%.300s", err, text)
			}
			copyright, err := os.ReadFile(filepath.Join(doc, "copyright"))
			if err != nil {
				t.Fatal(err)
			}
			bill.describes(t, filepath.Join(dir, "usr/bin"), string(copyright))
		})
	}
}

// describes fails where the bill is not that of the programs in a folder.
func (bill contents) describes(t *testing.T, programs, copyright string) {
	t.Helper()
	files, err := os.ReadDir(programs)
	if err != nil || len(files) == 0 || len(files) != len(bill.Metadata.Component.Components) || len(files) != len(bill.Dependencies) {
		t.Fatalf("%d programs (%v), %d are described", len(files), err, len(bill.Metadata.Component.Components))
	}
	var listed, linked []string
	for _, c := range bill.Components {
		listed = append(listed, c.Ref)
		if len(c.Licenses) == 0 {
			t.Errorf("%s has no licence", c.Ref)
		}
	}
	for _, file := range files {
		path := filepath.Join(programs, file.Name())
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		i := slices.IndexFunc(bill.Metadata.Component.Components, func(c component) bool { return c.Name == file.Name() })
		if i < 0 || bill.Metadata.Component.Components[i].Hashes[0].Content != hex.EncodeToString(sum[:]) {
			t.Errorf("%s is not described, or as another", file.Name())
		}
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		uses := []string{"pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}
		for _, mod := range info.Deps {
			uses = append(uses, "pkg:golang/"+mod.Path+"@"+mod.Version)
			if !strings.Contains(copyright, "\nFiles: "+mod.Path+"@"+mod.Version+"\n") {
				t.Errorf("the licence of %s is not in copyright", mod.Path)
			}
		}
		slices.Sort(uses)
		i = slices.IndexFunc(bill.Dependencies, func(d struct {
			Ref       string
			DependsOn []string
		},
		) bool {
			return d.Ref == "program:"+file.Name()
		})
		if i < 0 || !slices.Equal(bill.Dependencies[i].DependsOn, uses) {
			t.Errorf("%s was linked from\n%s", file.Name(), strings.Join(uses, "\n"))
		}
		linked = append(linked, uses...)
	}
	slices.Sort(linked)
	slices.Sort(listed)
	if linked = slices.Compact(linked); !slices.Equal(listed, linked) {
		t.Errorf("%d modules are listed, %d were linked:\n%s\n\n%s", len(listed), len(linked), strings.Join(listed, "\n"), strings.Join(linked, "\n"))
	}
}
