package firewall

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/ipc"
)

// beside lets what is forwarded, and what access rules let in, pass the filters of others that would drop it: what it must,
// and only while it must.
func (f *Firewall) beside(ctx context.Context, r Rules) ([]ipc.Problem, error) {
	if len(r.Routes) == 0 && !r.Judged {
		return nil, f.undo(ctx, func(c journal.Change) bool { return c.Kind == kindRule })
	}
	nft, err := nftables.New()
	if err != nil {
		return nil, explain("look at the packet filter", err)
	}
	chains, err := nft.ListChains()
	if err != nil {
		return nil, explain("look at the packet filter", err)
	}
	var problems []ipc.Problem
	passed := make(map[journal.Change]bool)
	for _, c := range chains {
		add, stops := stopsPackets(c)
		if !stops {
			continue
		}
		ways := f.ways(c, r)
		if len(ways) == 0 {
			continue
		}
		passed[journal.Change{Kind: kindRule, Data: placeOf(c)}] = true
		if err := f.pass(c, ways, add); err != nil {
			f.log.Warn("cannot let the network's packets pass another filter", "table", c.Table.Name, "chain", c.Name, "err", err)
			problems = append(problems, blocked(c, f.link))
		}
	}
	if err := f.undo(ctx, func(c journal.Change) bool { return c.Kind == kindRule && !passed[c] }); err != nil {
		return problems, err
	}
	if more, err := f.refused(r, chains); err == nil {
		problems = append(problems, more...)
	} else { // as when another changes them at this moment
		f.log.Debug("cannot look for rules that stop the network's packets", "err", err)
	}
	if text, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && len(r.Routes) > 0 && slices.Contains(strings.Fields(string(text)), "filter") {
		problems = append(problems, legacy(f.link))
	}
	return problems, nil
}

// ways are the rules that let the network's packets pass a chain: what is forwarded where this machine routes, and what is
// for this machine itself where access rules have judged it. What no rule grants does not come so far.
func (f *Firewall) ways(c *nftables.Chain, r Rules) []rule {
	switch {
	case c.Hooknum == nil:
	case *c.Hooknum == *nftables.ChainHookInput && r.Judged:
		return []rule{in(f.link)}
	case *c.Hooknum == *nftables.ChainHookForward:
		if slices.ContainsFunc(r.Routes, func(p netip.Prefix) bool { return concerns(c.Table.Family, unmap(p).Addr().Is4()) }) {
			return []rule{in(f.link), out(f.link)}
		}
	}
	return nil
}

// placeOf names a chain for the journal.
func placeOf(c *nftables.Chain) ruleData {
	return ruleData{Family: byte(c.Table.Family), Table: c.Table.Name, Chain: c.Name}
}

// stopsPackets reports whether a chain of others may stop what we let pass, and how to pass it. Where it is the policy
// that drops, our rules come last before it, so that the host's own rules on the tunnel keep their word; firewalld has its
// verdicts in the rules.
func stopsPackets(c *nftables.Chain) (add func(*nftables.Conn, *nftables.Rule), stops bool) {
	if !othersFilter(c) {
		return nil, false
	}
	switch {
	case c.Table.Name == "firewalld":
		return func(nft *nftables.Conn, r *nftables.Rule) { nft.InsertRule(r) }, true
	case c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop:
		return func(nft *nftables.Conn, r *nftables.Rule) {
			if r.Position = policyOfUfw(nft, c); r.Position != 0 {
				nft.InsertRule(r)
			} else {
				nft.AddRule(r)
			}
		}, true
	}
	return nil, false
}

// policyOfUfw gives the handle of the rule where ufw's policy begins: after what its user wrote it drops some ports (those
// of Windows' file sharing) without a line in the log, and rejects, if the policy is to. It is 0 where there is none.
func policyOfUfw(nft *nftables.Conn, c *nftables.Chain) uint64 {
	rules, err := nft.GetRules(c.Table, c)
	if err != nil {
		return 0 // the rule comes last then
	}
	for _, r := range rules {
		if v := verdictOf(r.Exprs); strings.HasPrefix(v.Chain, "ufw") && strings.Contains(v.Chain, "-after-") {
			return r.Handle
		}
	}
	return 0
}

// othersFilter reports whether a chain is one of others that packets of IP come by.
func othersFilter(c *nftables.Chain) bool {
	if c.Hooknum == nil || c.Table == nil || c.Table.Name == name || c.Table.Name == lockTableName || c.Table.Name == filterTableName || c.Type != nftables.ChainTypeFilter {
		return false
	}
	switch c.Table.Family {
	case nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet:
		return true
	}
	return false
}

func concerns(f nftables.TableFamily, is4 bool) bool {
	return f == nftables.TableFamilyINet || (f == nftables.TableFamilyIPv4) == is4
}

// pass adds our rules to a chain, if they are not there.
func (f *Firewall) pass(c *nftables.Chain, ways []rule, add func(*nftables.Conn, *nftables.Rule)) error {
	d := placeOf(c)
	handles, err := ours(d)
	if err != nil {
		return err
	}
	if len(handles) >= len(ways) {
		return nil
	}
	if err := f.record(journal.Change{Kind: kindRule, Data: d}); err != nil {
		return err
	}
	if err := d.undo(context.Background()); err != nil { // some of them may be left
		return err
	}
	nft, err := nftables.New()
	if err != nil {
		return err
	}
	for _, way := range ways {
		add(nft, &nftables.Rule{
			Table: c.Table, Chain: c, UserData: comment(),
			Exprs: join(way, rule{&expr.Counter{}}, accept),
		})
	}
	f.step()
	if err := nft.Flush(); err != nil {
		return err
	}
	if f.gen != 0 {
		f.gen++
	}
	return nil
}
