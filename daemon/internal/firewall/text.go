package firewall

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/ipc"
)

func blocked(c *nftables.Chain, link string) ipc.Problem {
	if c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookInput {
		return ipc.Problem{
			Code:  ipc.ProblemForwardBlocked,
			Text:  fmt.Sprintf("This machine's own packet filter (table %s, chain %s) drops what the network's access rules let in, and lets nobody add a rule", c.Table.Name, c.Name),
			Fix:   fmt.Sprintf("Let what comes in by %s pass there", link),
			About: chain(c),
		}
	}
	return ipc.Problem{
		Code:  ipc.ProblemForwardBlocked,
		Text:  fmt.Sprintf("This machine's own packet filter (table %s, chain %s) drops what it should forward for the network, and lets nobody add a rule", c.Table.Name, c.Name),
		Fix:   fmt.Sprintf("Let forwarded packets from and to %s pass there. With firewalld: firewall-cmd --permanent --zone=trusted --add-interface=%s && firewall-cmd --reload", link, link),
		About: chain(c),
	}
}

// chain is one as a Problem's About has it.
func chain(c *nftables.Chain) string { return "nftables: " + c.Table.Name + " " + c.Name }

func legacy(link string) ipc.Problem {
	return ipc.Problem{
		Code: ipc.ProblemForwardLegacy, Level: ipc.ProblemNotice,
		Text: "This machine also filters with the older iptables, which may drop what it should forward for the network",
		Fix:  fmt.Sprintf("If nothing gets through: iptables-legacy -I FORWARD -i %s -j ACCEPT && iptables-legacy -I FORWARD -o %s -j ACCEPT", link, link),
	}
}

// explain says what could not be done, and what to do where that is known.
func explain(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("no permission to %s: run warrend as root, or with CAP_NET_ADMIN: %w", what, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("cannot %s: this kernel lacks a part of nftables (nf_tables, nft_fib, nft_masq, nft_ct): %w", what, err)
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}
