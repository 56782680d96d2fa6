package e2e

import (
	"flag"
	"os"
	"testing"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

// sideBySide is how many tests go on beside each other, if the command line does not say: they mostly wait.
const sideBySide = "4"

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", sideBySide)
	code := m.Run()
	mesh.Clean()
	os.Exit(code)
}

// beside makes a lab for a test that goes on beside others: all that it has is its lab's own.
func beside(t lab.TB) *lab.Net {
	t.Helper()
	if p, ok := t.(interface{ Parallel() }); ok {
		p.Parallel()
	}
	return lab.New(t)
}

// alone is a test that states how long something takes, which neighbours would lengthen, in place of one that goes on beside others.
func alone(t *testing.T) lab.TB { return struct{ testing.TB }{t} }

// twoHomes is the story that most tests begin with: two machines behind two NATs, on one network.
func twoHomes(t lab.TB) (m *mesh.Mesh, alice, bob *mesh.Node) {
	t.Helper()
	n := beside(t)
	m = mesh.Start(t, n, mesh.Build(t))
	alice = m.Behind(lab.EasyNAT, "alice")
	bob = m.Behind(lab.EasyNAT, "bob")
	alice.Up(m.Coord.Key())
	bob.Up(m.Coord.Key())
	return m, alice, bob
}
