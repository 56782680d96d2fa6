package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/warren-mesh/warren/ipc"
)

// A machine that relays for others is reached at a port of its own, by packets that it never asked for. The host's own filter
// stays as it is: where it surely drops them, that is said, with the command that lets them in.

// shutting is what was found the last time.
type shutting struct {
	gen      uint32 // of the packet filter; 0: nothing was looked at yet
	ports    []uint16
	links    []string
	problems []ipc.Problem
}

// shut looks for filters of others that drop all that comes to the ports at which others should reach this machine.
func (f *Firewall) shut(ports []uint16) ([]ipc.Problem, error) {
	if len(ports) == 0 {
		f.shuts = shutting{}
		return nil, nil
	}
	gen, err := generation()
	if err != nil {
		return nil, err
	}
	links, err := f.outward()
	if err != nil {
		return nil, err
	}
	if gen == f.shuts.gen && slices.Equal(ports, f.shuts.ports) && slices.Equal(links, f.shuts.links) {
		return f.shuts.problems, nil
	}
	nft, err := nftables.New()
	if err != nil {
		return nil, err
	}
	chains, err := nft.ListChains()
	if err != nil {
		return nil, err
	}
	found := shutting{gen: gen, ports: slices.Clone(ports), links: links}
	for _, port := range ports {
		for _, c := range chains {
			if !othersFilter(c) || !concerns(c.Table.Family, true) || *c.Hooknum != *nftables.ChainHookInput {
				continue
			}
			drops, err := dropsAll(nft, c, links, port)
			if err != nil {
				return nil, err
			}
			if drops {
				found.problems = append(found.problems, shutBy(c, chains, port))
				break // one is told at a time
			}
		}
	}
	f.shuts = found
	return found.problems, nil
}

// dropsAll reports whether a chain surely drops what comes to a port, by whichever of the links.
func dropsAll(nft *nftables.Conn, c *nftables.Chain, links []string, port uint16) (bool, error) {
	for _, link := range links {
		p := stranger{nft: nft, table: c.Table, link: link, port: port, sets: map[string][]nftables.SetElement{}}
		fate, err := p.chain(c.Name)
		if err != nil {
			return false, err
		}
		if fate&goesOn != 0 {
			fate &^= goesOn
			if c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop {
				return false, nil
			}
			fate |= falls
		}
		if fate != falls {
			return false, nil
		}
	}
	return len(links) > 0, nil
}

// outward lists the links by which others come: those of the default routes, and where there are none, all but our own.
func (f *Firewall) outward() (names []string, err error) {
	links, err := again(f.route.LinkList)
	if err != nil {
		return nil, err
	}
	routes, err := again(func() ([]netlink.Route, error) {
		return f.route.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE) // every table
	})
	if err != nil {
		return nil, err
	}
	leads := make(map[int]bool)
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			leads[r.LinkIndex] = true
			for _, hop := range r.MultiPath {
				leads[hop.LinkIndex] = true
			}
		}
	}
	var others []string
	for _, l := range links {
		switch name := l.Attrs().Name; {
		case name == f.link || name == "lo":
		case leads[l.Attrs().Index]:
			names = append(names, name)
		default:
			others = append(others, name)
		}
	}
	if len(names) == 0 {
		names = others
	}
	slices.Sort(names)
	return names, nil
}

// shutBy says which filter shuts a port, and how it is opened there.
func shutBy(c *nftables.Chain, chains []*nftables.Chain, port uint16) ipc.Problem {
	ufw := slices.ContainsFunc(chains, func(o *nftables.Chain) bool {
		return o.Table.Name == c.Table.Name && o.Table.Family == c.Table.Family && strings.HasPrefix(o.Name, "ufw-user")
	})
	name, about, fix := fmt.Sprintf("table %s, chain %s", c.Table.Name, c.Name), chain(c), ""
	switch {
	case ufw:
		name, about, fix = "ufw", "ufw", fmt.Sprintf("sudo ufw allow %d/udp", port)
	case c.Table.Name == "firewalld":
		name, about, fix = "firewalld", "firewalld", fmt.Sprintf("sudo firewall-cmd --permanent --add-port=%d/udp && sudo firewall-cmd --reload", port)
	case c.Table.Name == "filter" && c.Name == "INPUT" && c.Table.Family == nftables.TableFamilyIPv4:
		fix = fmt.Sprintf("sudo iptables -I INPUT -p udp --dport %d -j ACCEPT", port)
	case c.Table.Family == nftables.TableFamilyIPv4:
		fix = fmt.Sprintf("sudo nft insert rule ip %s %s udp dport %d accept", c.Table.Name, c.Name, port)
	default:
		fix = fmt.Sprintf("sudo nft insert rule inet %s %s udp dport %d accept", c.Table.Name, c.Name, port)
	}
	return ipc.Problem{
		Code: ipc.ProblemRelayShut, Level: ipc.ProblemNotice,
		Text:  fmt.Sprintf("This machine's own packet filter (%s) drops what comes to UDP port %d, so nobody can relay through this machine", name, port),
		Fix:   "Let it in: " + fix,
		About: fmt.Sprintf("UDP %d (%s)", port, about),
	}
}
