package e2e

import (
	"flag"
	"os"
	"testing"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

// sideBySide is how many of the tests that call t.Parallel go on beside each other, if the command line does not say: they mostly
// wait, and all that one has is its lab's own. A test that states how long something takes is not one of them, as neighbours would
// lengthen that: go test runs it while none of them goes on.
const sideBySide = "4"

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", sideBySide)
	code := m.Run()
	mesh.Clean()
	os.Exit(code)
}

// twoHomes is the story that most tests begin with: two machines behind two NATs, on one network.
func twoHomes(t lab.TB) (m *mesh.Mesh, alice, bob *mesh.Node) {
	t.Helper()
	n := lab.New(t)
	m = mesh.Start(t, n, mesh.Build(t))
	alice = m.Behind(lab.EasyNAT, "alice")
	bob = m.Behind(lab.EasyNAT, "bob")
	alice.Up(m.Coord.Key())
	bob.Up(m.Coord.Key())
	return m, alice, bob
}
