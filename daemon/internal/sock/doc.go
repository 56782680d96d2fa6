// Package sock is WireGuard's conn.Bind on Warren's paths: the UDP sockets, the links to relays, and the one loop
// that runs a peerpath.Machine for every peer.
//
//	           one atomic load                            one atomic load
//	device ──► Endpoint.path ──► UDP, relay or both        addr or relay source ──► Endpoint ──► device
//	                                                                 ▲
//	                                                        UDP or relay ──► STUN, disco ──► loop
//
// A packet meets no lock, channel, allocation or copy of ours on its way. What the loop decides (paths, which addresses
// are whose) it publishes as immutable values behind atomic pointers. All else of its state belongs to the loop alone.
//
// Its sockets never fragment: what a path carries is for peerpath's probes to find out, and for the routes to keep to.
//
// A machine of the network may relay for others, and often only some can reach it. So it is nobody's home: a pair meets
// there (meeting.go decides, noderelays.go does it) after packets have come through, and has its relay server to go back to.
//
// A search through a hard NAT opens sockets of its own, of which the one that leads to the peer stays: door.go.
package sock
