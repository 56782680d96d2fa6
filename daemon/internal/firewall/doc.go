// Package firewall keeps this host's packet filter and forwarding as the network needs them, through netlink, without
// any program's help, and takes all of it back.
//
// It has tables of its own, named "warren", for IPv4, IPv6 and ARP:
//
//	raw         prerouting, before connection tracking: packets to this machine's addresses in the network come from
//	            the tunnel, or from this machine itself; so do packets that claim to come from there (CVE-2019-14899).
//	            And what comes from the tunnel does not claim to come from this machine or its LAN
//	input       what comes through the tunnel is for those addresses, and not for others that this machine has
//	forward     nothing passes between the tunnel and other networks that was not granted
//	mss, nat    only where this machine routes for the network: segments that fit, and masquerade
//
// A Filter has one more, "warren-filter": what the network's access rules let in. Lockdown has one of its own, too.
//
// Apply makes a whole table anew in one transaction, so that there is no moment without it, and only if something
// changed: what is wished, the host's links and addresses, or the packet filter by another's hand (its generation).
// Lockdown's Watch says when to call it again.
//
// A verdict "accept" holds in its own chain only; another table's "drop" is final. So where the host's own filter drops
// what it forwards (Docker, ufw, firewalld, iptables -P FORWARD DROP), Apply adds two rules there, which carry our name
// as their comment. They let pass only what our own chain lets pass, since that one decides on all of the tunnel's packets.
// Likewise one where it drops what comes in to the host itself, but only while a Filter decides on that. What the host's
// own rules drop by name, before their policy does, stays dropped, and that is said.
//
// Every change is in the journal before it is made. Tables and rules are named, and settings are put back only if they
// still are what we made of them.
package firewall
