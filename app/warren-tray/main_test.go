package main

import (
	"bytes"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/app/internal/desktop"
)

// asMain is the variable that makes this program the tray itself.
const asMain = "WARREN_TRAY_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// What Fyne makes of the locale is nothing to tell who asks for help.
func TestHelpIsAllThatHelpSays(t *testing.T) {
	for _, locale := range []string{"LANG=C", "LANG=C.UTF-8", "LC_ALL=POSIX", "LANG=", "LANG=xx_YY@zz", "LANGUAGE=c:qqqq", "LANG=de_DE.UTF-8"} {
		cmd := exec.Command(os.Args[0], "--help")
		cmd.Env = []string{asMain + "=1", "GORACE=atexit_sleep_ms=0", "HOME=" + t.TempDir(), locale}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != usage {
			t.Errorf("%s: %v: %s", locale, err, out)
		}
	}
}

// A window that is open, or one that was killed, leaves an empty file of preferences behind where there are such.
func TestASecondWindowFindsNothingAmiss(t *testing.T) {
	config := t.TempDir()
	t.Setenv("HOME", config)
	t.Setenv("XDG_CONFIG_HOME", config)
	folder := filepath.Join(config, "fyne", desktop.Name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "preferences.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	log.SetOutput(&said)
	defer log.SetOutput(os.Stderr)
	if got := newApp().UniqueID(); got != desktop.Name {
		t.Errorf("the application is called %q", got)
	}
	if strings.TrimSpace(said.String()) != "" {
		t.Errorf("it says %s", said.String())
	}
}
