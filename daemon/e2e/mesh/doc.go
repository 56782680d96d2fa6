// Package mesh runs Warren's real programs on the machines of a lab: what end-to-end tests, benchmarks and the demo
// are written with.
//
//	n := lab.New(t)
//	m := mesh.Start(t, n, mesh.Build(t))         // warren-coord and warren-relay in the internet
//	alice := m.Node(n.Internet().Router("home1", lab.EasyNAT).Host("alice"))
//	alice.Up(m.Coord.Key())                      // warrend, and warren up with a pre-auth key
//	alice.WaitPath(bob, ipc.PathDirect, 5*time.Second)
//
// Each program has a state directory and a socket of its own in its machine's directory, so that a dozen daemons live
// side by side; everything ends with the lab.
package mesh
