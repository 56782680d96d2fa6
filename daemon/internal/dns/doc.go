// Package dns lets this host's programs find the network's machines by name.
//
//	Wish ─▶ Apply ─▶ zone ─────▶ resolver  listens on our interface, for this host and its containers
//	                 hostmode ─▶ host      systemd-resolved, NetworkManager, resolvconf or /etc/resolv.conf
//	inotify, D-Bus ─▶ the same loop: look again, whatever it was
//
// The loop has one rule: look at the facts, choose the mode, and set what is not as it should be. What others change in
// what it set is set again hostmode.MaxAgain times; then it is theirs, and a problem says so. Every change of the host is
// in the journal before it is made, and undoing it takes out exactly what is ours: what others set meanwhile is what
// comes back, never a copy of what once was. A resolv.conf that another program has open to write is not yet what that means:
// its end is waited for, and what it writes after all to a file that ours took the place of is theirs, too.
package dns
