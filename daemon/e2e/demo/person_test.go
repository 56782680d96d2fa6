package main

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// TestAPersonLogsInWithABrowserOfThisMachine is make demo BROWSER=1, with a real browser: it holds the pages to what
// they say of themselves, cookies to their prefix, and forms to where they may lead.
func TestAPersonLogsInWithABrowserOfThisMachine(t *testing.T) {
	lab.NeedRoot(t)
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("needs chromium: make deps installs it")
	}
	r := startDemo(t, func(r *demoRun) { r.cmd.Env = append(r.cmd.Env, "BROWSER=1") })
	page := r.waitFor(`(https://127\.0\.0\.1:\S+/login/\S+)`, alone)
	password := r.waitFor(`with the password (\S+),`, 0)

	alloc, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Headless, chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.UserDataDir(t.TempDir()))...)
	defer stop()
	ctx, cancel := chromedp.NewContext(alloc)
	defer cancel()
	ctx, timeout := context.WithTimeout(ctx, time.Minute)
	defer timeout()
	defer func() { _ = chromedp.Cancel(ctx) }()
	err = chromedp.Do(ctx,
		chromedp.Navigate(page),
		chromedp.SendKeys("#login", account),
		chromedp.SendKeys("#password", password),
		chromedp.Click("button.wide"),
		chromedp.WaitVisible(`button[value="connect"]`),
		chromedp.Click(`button[value="connect"]`),
	)
	if err != nil {
		t.Fatal(err)
	}
	r.waitFor("✓ bob joins through the login page, in your browser", time.Minute)
	lab.Eventually(t, 10*time.Second, func() error {
		at, err := chromedp.Run(ctx, chromedp.Location())
		if err == nil && (!strings.HasPrefix(at, page[:len("https://127.0.0.1:")]) || !strings.HasSuffix(at, "/done")) {
			err = &strayed{at}
		}
		return err
	})
	if code := r.end(alone); code != exitSo {
		t.Errorf("exit code %d", code)
	}
}

// strayed is a browser at the wrong page.
type strayed struct{ at string }

// Error implements error.
func (e *strayed) Error() string { return "the browser is at " + e.at }
