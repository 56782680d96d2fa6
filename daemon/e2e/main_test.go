package e2e

import (
	"os"
	"testing"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

func TestMain(m *testing.M) {
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
