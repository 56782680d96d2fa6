// Package netcheck finds out what a network lets through: it plans which STUN requests to send from which sockets, and makes
// a report of what came back, in the words of RFC 4787. It is pure: events and the time go in, actions come out.
//
//	socket      asks                                  shows
//	Mapping     every relay, on both its ports        whether each destination gets a mapping of its own
//	Filtering   one relay on its first port only,     whether an address may answer from a port that was not asked
//	            and for an answer from the second
//	Size        one relay, with padding, unfragmented the path's MTU, as far as to the relay
//
// Mapping and Filtering then greet each other at their public addresses, which arrives where the NAT does hairpinning.
// The sockets are the check's own: WireGuard's has opened the NAT to all whom it ever spoke to, and would show too much.
//
// What one relay cannot show stays unknown, or is said as what it can be: one address cannot tell
// address-dependent from endpoint-independent. Silence is no proof where the same relay's second port was never heard.
package netcheck
