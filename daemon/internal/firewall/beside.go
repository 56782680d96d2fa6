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

// beside lets what is forwarded pass the filters of others that would drop it: what it must, and only while it must.
func (f *Firewall) beside(ctx context.Context, r Rules) ([]ipc.Problem, error) {
	if len(r.Routes) == 0 {
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
	for _, c := range chains {
		way, stops := stopsForwarding(c)
		if !stops || !slices.ContainsFunc(r.Routes, func(p netip.Prefix) bool { return concerns(c.Table.Family, unmap(p).Addr().Is4()) }) {
			continue
		}
		if err := f.pass(c, way); err != nil {
			f.log.Warn("cannot let the network's packets pass another filter", "table", c.Table.Name, "chain", c.Name, "err", err)
			problems = append(problems, blocked(c, f.link))
		}
	}
	if text, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && slices.Contains(strings.Fields(string(text)), "filter") {
		problems = append(problems, legacy(f.link))
	}
	return problems, nil
}

// stopsForwarding reports whether a chain of others may stop what we let pass, and how to pass it. Where it is the policy
// that drops, our rules come last, so that the host's own rules on the tunnel keep their word; firewalld has its verdicts
// in the rules.
func stopsForwarding(c *nftables.Chain) (way func(*nftables.Conn, *nftables.Rule), stops bool) {
	if c.Hooknum == nil || c.Table == nil || c.Table.Name == name || c.Table.Name == lockTableName || c.Table.Name == filterTableName || c.Type != nftables.ChainTypeFilter || *c.Hooknum != *nftables.ChainHookForward {
		return nil, false
	}
	switch c.Table.Family {
	case nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet:
	default:
		return nil, false
	}
	switch {
	case c.Table.Name == "firewalld":
		return func(nft *nftables.Conn, r *nftables.Rule) { nft.InsertRule(r) }, true
	case c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop:
		return func(nft *nftables.Conn, r *nftables.Rule) { nft.AddRule(r) }, true
	}
	return nil, false
}

func concerns(f nftables.TableFamily, is4 bool) bool {
	return f == nftables.TableFamilyINet || (f == nftables.TableFamilyIPv4) == is4
}

// pass adds our two rules to a chain, if they are not there.
func (f *Firewall) pass(c *nftables.Chain, add func(*nftables.Conn, *nftables.Rule)) error {
	d := ruleData{Family: byte(c.Table.Family), Table: c.Table.Name, Chain: c.Name}
	handles, err := ours(d)
	if err != nil {
		return err
	}
	if len(handles) >= 2 {
		return nil
	}
	if err := f.record(journal.Change{Kind: kindRule, Data: d}); err != nil {
		return err
	}
	if err := d.undo(context.Background()); err != nil { // one of them may be left
		return err
	}
	nft, err := nftables.New()
	if err != nil {
		return err
	}
	for _, way := range []rule{in(f.link), out(f.link)} {
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
