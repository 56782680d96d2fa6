// Package router gives the tunnel's interface its addresses and the host its routes, through netlink, and takes them back.
//
// Apply compares a Wish with the fact, every time, so that it also mends what something else took away; Watch says when
// to call it again. It adds routes and never replaces one: where the host routes a prefix elsewhere already, or routes
// more exactly (the LAN), the host wins and Apply reports a problem.
//
// What it adds carries the route protocol number Protocol ("proto 87" in ip route), and is written to the journal before.
// The interface itself is the tunnel's, a TUN that the kernel removes with its process, and with it addresses and routes.
package router
