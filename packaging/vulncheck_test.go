package packaging

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// vulncheck runs what make lint runs on one small package, and gives how it ended and what it said.
func vulncheck(t *testing.T, env ...string) (status int, said string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "./vulncheck", "./coord/key")
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestAKnownVulnerabilityFailsLint(t *testing.T) {
	// The database knows one of crypto/ed25519, which coord/key calls.
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	status, said := vulncheck(t, "WARREN_VULNDB=file://"+dir+"/testdata/vulndb")
	if status != 3 || !strings.Contains(said, "GO-9999-0001") || !strings.Contains(said, "ed25519.Sign") {
		t.Errorf("status %d, want 3 and what is found:\n%s", status, said)
	}
}

func TestLintSaysThatItLookedForNoVulnerabilities(t *testing.T) {
	status, said := vulncheck(t, "WARREN_VULNDB=", "HTTPS_PROXY=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1")
	if status != 0 || !strings.Contains(said, "NOT CHECKED") {
		t.Errorf("without the public database: status %d, want 0 and to be told:\n%s", status, said)
	}
	if status, said := vulncheck(t, "WARREN_VULNDB=file:///nonexistent"); status == 0 {
		t.Errorf("without the database that was named: status 0:\n%s", said)
	}
}
