package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/server"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
)

// One command, one link: then the page shows the line that adds a machine. The host of the address is the one that
// --listen names, since a test's browser reaches no other; everything else is as nobody has said anything.
func TestFromServeToTheLineThatAddsAMachine(t *testing.T) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("needs chromium: make deps installs it")
	}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Headless, chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"), chromedp.UserDataDir(t.TempDir()))...)
	defer stop()
	ctx, cancel := chromedp.NewContext(alloc)
	defer cancel()
	ctx, timeout := context.WithTimeout(ctx, 2*patience)
	defer timeout()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = chromedp.Cancel(ctx) }()

	dir, addr := filepath.Join(t.TempDir(), "state"), "127.0.0.1:"+pebble.FreePort(t)
	began := time.Now()
	_, said := launch(t, "warren-coord", "serve", "--state", dir, "--listen", addr, "--relay-udp", "127.0.0.1:0")
	up := time.Since(began)
	link := regexp.MustCompile(`https://\S+/setup/\S+`).FindString(said)
	for _, words := range []string{`The network "home" is set up in`, "Open this link", "own certificate", "TCP " + addr[len("127.0.0.1:"):] + " and UDP"} {
		if !strings.Contains(said, words) {
			t.Errorf("it does not say %q:\n%s", words, said)
		}
	}
	err = chromedp.Do(ctx, chromedp.Navigate(link), chromedp.SendKeys("#login", "anna"),
		chromedp.SendKeys("#password", "correct horse"), chromedp.SendKeys("#again", "correct horse\n"))
	if err != nil {
		t.Fatal(err)
	}
	line, err := chromedp.Run(ctx, chromedp.Text("code.copy"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("it serves after %v, and after %v the page shows: %s", up.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), line)
	pin, err := server.Identity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := "warren up '" + coord.FormatInvite("https://"+addr, pin) + "'"; strings.TrimSpace(line) != want {
		t.Errorf("the line is %q, not %q", line, want)
	}
}
