package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// staged are the packages whose programs need no desktop, and which Arch has as one.
var staged = []string{"warren", "warren-coord", "warren-relay"}

const nobody = "65534" // makepkg refuses root

// recipe copies a PKGBUILD to where makepkg can work, as an ordinary user, and gives what runs it there.
func recipe(t *testing.T, name string) (dir string, makepkg func(args ...string) string) {
	t.Helper()
	if _, err := exec.LookPath("makepkg"); err != nil || os.Geteuid() != 0 {
		const why = "needs root and makepkg: run `sudo make test-packages`"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	// Not t.TempDir, which only its owner may enter.
	dir, err := os.MkdirTemp("/tmp", "warren-aur-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	shell(t, "cp", filepath.Join("../aur", name, "PKGBUILD"), filepath.Join("../aur", name, "warren.install"), dir)
	return dir, func(args ...string) string {
		t.Helper()
		shell(t, "chown", "-R", nobody+":"+nobody, dir)
		// There is no pacman here, and makepkg wants one only to be there.
		cmd := exec.CommandContext(t.Context(), "setpriv", append([]string{
			"--reuid=" + nobody, "--regid=" + nobody, "--clear-groups", "env", "-i",
			"PATH=/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C", "PACMAN=true", "CARCH=x86_64", "PKGEXT=.pkg.tar", "PKGDEST=" + dir, "SRCDEST=" + dir,
			"makepkg",
		}, args...)...)
		cmd.Dir = dir
		var told strings.Builder
		cmd.Stderr = &told
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("makepkg %s: %v\n%s\n%s", strings.Join(args, " "), err, out, &told)
		}
		return string(out)
	}
}

// TestTheAURIsToldWhatThePKGBUILDsSay compares each .SRCINFO, which the AUR reads, with what makepkg makes of the PKGBUILD.
func TestTheAURIsToldWhatThePKGBUILDsSay(t *testing.T) {
	recipes, err := filepath.Glob("../aur/*/PKGBUILD")
	if err != nil || len(recipes) != 3 {
		t.Fatalf("%d PKGBUILDs (%v), want 3", len(recipes), err)
	}
	for _, path := range recipes {
		name := filepath.Base(filepath.Dir(path))
		t.Run(name, func(t *testing.T) {
			_, makepkg := recipe(t, name)
			want := makepkg("--printsrcinfo")
			got, err := os.ReadFile(filepath.Join("../aur", name, ".SRCINFO"))
			if err != nil || string(got) != want {
				t.Errorf(".SRCINFO (%v) is not what makepkg --printsrcinfo makes of the PKGBUILD: write it anew. Want:\n%s", err, want)
			}
			// Its variables are makepkg's to read and to set; it runs with errexit.
			shell(t, "shellcheck", "--shell=bash", "--exclude=SC2034,SC2154,SC2164", path)
		})
	}
}

// TestThePackageOfTheAURHoldsThatOfDebian has makepkg build warren-bin from the packages that were built.
func TestThePackageOfTheAURHoldsThatOfDebian(t *testing.T) {
	dir, makepkg := recipe(t, "warren-bin")
	text, err := os.ReadFile(filepath.Join(dir, "PKGBUILD"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^pkgver=(.*)$`).FindStringSubmatch(string(text))[1]
	for _, name := range staged {
		found, err := filepath.Glob(filepath.Join(os.Getenv("WARREN_PACKAGES"), name+"_*_amd64.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%d packages of %s in WARREN_PACKAGES (%v), want one: make packages", len(found), name, err)
		}
		shell(t, "cp", found[0], filepath.Join(dir, name+"_"+version+"_amd64.deb"))
	}
	makepkg("--nodeps")
	list := shell(t, "bsdtar", "-tf", filepath.Join(dir, "warren-bin-"+version+"-1-x86_64.pkg.tar"))
	for _, file := range []string{
		"usr/bin/warren", "usr/bin/warrend", "usr/bin/warren-coord", "usr/bin/warren-relay", "usr/lib/systemd/system/warrend.service",
		"usr/share/man/man1/warren.1.gz", "usr/share/zsh/site-functions/_warren", "usr/lib/sysusers.d/warren.conf", "usr/share/licenses/warren-bin/copyright",
		"etc/default/warren-coord",
	} {
		if !strings.Contains(list, file+"\n") {
			t.Errorf("the package of the AUR has no %s:\n%s", file, list)
		}
	}
}

// TestWhatIsBuiltFromSourceIsStagedWhole runs what the PKGBUILDs of sources end with, on the programs of the packages.
func TestWhatIsBuiltFromSourceIsStagedWhole(t *testing.T) {
	dir := t.TempDir()
	var found []string
	for _, name := range staged {
		one, _ := filepath.Glob(filepath.Join(os.Getenv("WARREN_PACKAGES"), name+"_*_amd64.deb"))
		found = append(found, one...)
	}
	if len(found) != len(staged) {
		if os.Getenv("CI") != "true" && os.Getenv("WARREN_PACKAGES") == "" {
			t.Skip("needs packages: run `sudo make test-packages`")
		}
		t.Fatalf("WARREN_PACKAGES has %q, want one package of each of %q: make packages", found, staged)
	}
	for _, file := range found {
		shell(t, "dpkg-deb", "-x", file, dir+"/debian")
	}
	shell(t, "../stage", dir+"/debian/usr/bin", dir+"/staged")
	list := func(root string) string {
		out := shell(t, "sh", "-c", "cd "+root+" && find . ! -type d | sed 's/[.]gz$//; s,/zsh/vendor-completions/,/zsh/site-functions/,' | grep -vE '/share/(doc|lintian)/' | sort")
		return out
	}
	if debian, ours := list(dir+"/debian"), list(dir+"/staged"); debian != ours {
		t.Errorf("Debian's packages hold:\n%s\nstaged was:\n%s", debian, ours)
	}
}
