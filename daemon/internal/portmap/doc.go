// Package portmap asks the router for a port that leads to this machine from anywhere: by PCP (RFC 6887), its ancestor
// NAT-PMP (RFC 6886), or UPnP's Internet Gateway Device (IGD, versions 1 and 2). A machine with such a port is reached
// directly by everyone, even from behind a hard NAT.
//
// Only the default gateway is asked, and only what it says of itself is believed: an answer from any other
// address, or that leads to any other one, is none. Nothing but addresses and ports is taken from it; a router that lies
// costs one candidate that never answers a probe.
//
// The codecs are our own: PCP has no library in Go, NAT-PMP has two messages of 12 bytes, and the libraries for UPnP
// open sockets that could not carry the mark which leads them past an exit node.
package portmap
