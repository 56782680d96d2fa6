// Package lab makes hosts, NATs and faults out of Linux network namespaces, so that
// a test on real networks is a few lines that read like its name:
//
//	n := lab.New(t)
//	inet := n.Internet()
//	coord := inet.Host("coord")
//	home1 := inet.Router("home1", lab.EasyNAT)
//	home2 := inet.Router("home2", lab.HardNAT)
//	alice, bob := home1.Host("alice"), home2.Host("bob")
//
//	daemon := alice.Start("warrend", "--state", alice.Dir())
//	fault := n.BlockUDP(home1, home2)
//	...
//	fault.Heal()
//
// What stands after these lines, each box a namespace, each line a veth pair:
//
//	                  internet   routes between its ports; knows no private address
//	         coord ┌────┴────┐ home1      └───┐ home2
//	198.51.100.10  │   wan 198.51.100.11     wan 198.51.100.12
//	2001:db8::10   │      router             router      nftables: NAT and firewall
//	       eth0 ───┘   lan 192.168.1.1       lan 192.168.2.1
//	                        │ alice           │ bob
//	                  eth0 192.168.1.10      eth0 192.168.2.10
//
// The internet is a router and not one wire, so no two sites take each other for
// neighbours. It drops what it has no route for, as providers do. All addresses are
// documentation or private ones, no namespace has a link to the machine's own
// network, and no packet leaves.
//
// A router behind a router (isp.Router) is a carrier's NAT. WithIPv6 gives a LAN
// global IPv6 addresses behind a stateful firewall; public hosts have one anyway.
//
// Faults act at the upstream end of a link, where neither the machine nor its own
// packet filter sees them: a dropped packet was sent without an error, as on a real
// network. Every fault can be healed; those that are not end with the lab.
//
// Processes started on a machine die with the test's process. Everything made is
// removed by the test's cleanup; what a killed run could not remove, the next New
// does. A process that printed a data race or a panic fails the test.
//
// The lab needs root, iproute2, nftables and ping; some faults need tc (iproute2),
// ethtool or conntrack, captures need tcpdump.
package lab
