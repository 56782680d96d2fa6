// Package policy decides who may talk to whom: it reads the policy file, makes of it for each machine whom it may see and
// what may come in to it, and explains its verdicts. It is pure.
//
// # The file
//
// The language is that of Tailscale's policy file (HuJSON: JSON with comments and trailing commas), so that files that
// people have serve here, too. What it has that Warren does not do is refused, never passed over:
//
//	{
//	  "groups":    {"group:dev": ["anna@example.org", "bert@"]},
//	  "hosts":     {"nas": "100.64.0.9", "office": "192.168.7.0/24"},
//	  "ipsets":    {"ipset:prod": ["10.0.0.0/8", "remove 10.9.0.0/16"]},
//	  "tagOwners": {"tag:web": ["group:dev"], "tag:ci": []},
//	  "grants": [
//	    {"src": ["group:dev"], "dst": ["tag:web"], "ip": ["tcp:22", "443", "icmp:*"]},
//	    {"src": ["autogroup:member"], "dst": ["autogroup:internet"], "ip": ["*"], "via": ["tag:exit-se"]}
//	  ],
//	  "acls": [{"action": "accept", "src": ["tag:ci"], "proto": "tcp", "dst": ["tag:web:80,443", "office:*"]}],
//	  "autoApprovers": {"routes": {"192.168.0.0/16": ["tag:router"]}, "exitNode": ["tag:exit-se"]},
//	  "tests": [{"src": "anna@example.org", "accept": ["tag:web:22"], "deny": ["tag:ci:22"]}]
//	}
//
// Rules only ever allow; all of them add up, and what none allows is denied. A file without "acls" and "grants" leaves the
// default (DefaultText) in force; with either, even if it is empty, only what is written is allowed.
//
// # Who and where
//
//   - as source: every machine, and the subnets behind approved routers; as destination: everything
//     anna@example.org     the user with this login; a login without "@" gets one at its end: anna@. Their untagged machines
//     group:dev            the users in it; groups do not nest
//     tag:web              the machines with the tag, which belong to no user; tags are declared in tagOwners
//     autogroup:member     all users; owner, admin and auditor: those with that very role
//     autogroup:tagged     the machines that belong to no user: those with any tag, and those that nobody has logged in
//     autogroup:self       as destination: the untagged machines of the very user that the source belongs to
//     autogroup:internet   as destination: public addresses, through exit nodes
//     autogroup:subnets    as destination: what lies behind approved subnet routers (Warren's own word; Tailscale has none)
//     nas, 100.64.0.9      that address and no other: of a machine that has an IPv4 and an IPv6 address it means the one
//     office, 10.0.0.0/8   these addresses: of machines, or behind routers
//     ipset:prod           the addresses in it; what it removes is not in it, in whatever order it stands there
//
// A rule for addresses behind a router holds at each router that leads there, or, with via, only at those with one of
// its tags; an exit node leads to public addresses (Internet) and never to its own LAN.
//
// # Protocols
//
// Without a protocol a rule is for TCP and UDP on its ports, and for ICMP and ICMPv6. "icmp" means both of these, "1" and
// "ipv6-icmp" one. Protocols other than TCP, UDP and SCTP have no ports: they go with "*".
//
// # Sight
//
// A machine sees those that it may reach or be reached by, since answers need the peer as well, and of each the routes
// that a rule is about. Machines that no rule connects do not hear of each other.
package policy
