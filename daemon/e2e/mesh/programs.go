package mesh

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// Programs is the directory of the built programs.
type Programs string

func (p Programs) path(name string) string { return filepath.Join(string(p), name) }

var built struct {
	sync.Once
	dir string
	out []byte
	err error
}

// Build builds the programs once for this process, with the race detector where the test has it. Remove what it made
// with Clean at the end of TestMain.
func Build(t lab.TB) Programs {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "warren-programs-"); built.err != nil {
			return
		}
		args := []string{"build", "-o", built.dir + string(filepath.Separator)}
		if lab.Race {
			args = append(args, "-race")
			// A program with the race detector otherwise lives on for a second at its end.
			built.err = os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
		}
		cmd := exec.Command("go", append(args,
			"github.com/warren-mesh/warren/app/warren", "github.com/warren-mesh/warren/daemon/warrend",
			"github.com/warren-mesh/warren/coord/warren-coord", "github.com/warren-mesh/warren/relay/warren-relay",
		)...)
		built.out, built.err = cmd.CombinedOutput()
	})
	if built.err != nil {
		t.Fatalf("could not build the programs: %v\n%s", built.err, built.out)
	}
	return Programs(built.dir)
}

// Clean removes what Build made.
func Clean() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}
