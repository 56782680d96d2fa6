package lab

import "os"

// skipper is the part of testing.TB that can leave a test.
type skipper interface {
	Helper()
	Skip(args ...any)
	Fatal(args ...any)
}

// NeedRoot skips a test that needs root. Where CI=true or WARREN_NOSKIP=1 it fails
// instead: a test that was not run proves nothing. New calls it.
func NeedRoot(t skipper) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("WARREN_NOSKIP") == "1" {
		t.Fatal("needs root for network namespaces, and CI=true or WARREN_NOSKIP=1 allows no skipped test")
	}
	t.Skip("needs root for network namespaces: run `sudo make test`")
}
