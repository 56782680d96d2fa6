// Package router gives the tunnel's interface its addresses and the host its routes, through netlink, and takes them back.
//
// Apply compares a Wish with the fact, every time, so that it also mends what something else took away; Watch says when
// to call it again. It adds routes and never replaces one: where the host routes a prefix elsewhere already, or routes
// more exactly (the LAN), the host wins and Apply reports a problem.
//
// Subnets behind other machines, and the internet behind an exit node, have a table and rules of their own (detour.go): the
// host's own networks win over subnets, and nothing that others put into the host's tables wins over an exit node. Our own
// sockets have a mark, and always take the host's way: no route can make the tunnel swallow itself.
//
// How large packets may be is each route's own matter: fit.go.
//
// What it adds carries the route protocol number Protocol ("proto 87" in ip route), and is written to the journal before.
// The interface itself is the tunnel's, a TUN that the kernel removes with its process, and with it addresses and routes; rules and the routes that lead nowhere stay, so
// that nothing leaves the host by another way before Undo.
package router
