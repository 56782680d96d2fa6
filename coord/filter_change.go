package coord

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NetsOf changes the addresses of one set of a Filter: a machine that joins a group of thousands is a line for each whom
// that concerns, and not the group. Where there is no such set it changes nothing.
type NetsOf struct {
	Set    string         `json:"set"`
	Remove []netip.Prefix `json:"remove,omitempty"` // taken out first
	Add    []netip.Prefix `json:"add,omitempty"`
}

// with gives the filter after the change; f, which may be nil, is left as it is.
func (f *Filter) with(c *NetsOf) *Filter {
	if f == nil {
		return nil
	}
	i, ok := f.find(c.Set)
	if !ok {
		return f
	}
	out := *f
	out.Sets = slices.Clone(f.Sets)
	gone := slices.SortedFunc(slices.Values(c.Remove), netip.Prefix.Compare)
	nets := slices.DeleteFunc(slices.Clone(f.Sets[i].Nets), func(p netip.Prefix) bool { return contains(gone, p) })
	nets = append(nets, c.Add...)
	slices.SortFunc(nets, netip.Prefix.Compare)
	if out.Sets[i].Nets = slices.Compact(nets); len(nets) == 0 {
		out.Sets[i].Nets = nil
	}
	return &out
}

func (f *Filter) find(set string) (int, bool) {
	return slices.BinarySearchFunc(f.Sets, set, func(s FilterSet, name string) int { return strings.Compare(s.Name, name) })
}

// contains looks a prefix up in what is in order.
func contains(ps []netip.Prefix, p netip.Prefix) bool {
	_, found := slices.BinarySearchFunc(ps, p, netip.Prefix.Compare)
	return found
}

// validateNets says of a filter that was valid before the change what Validate says of it.
func (f *Filter) validateNets(c *NetsOf) error {
	if f == nil {
		return nil
	}
	i, ok := f.find(c.Set)
	if !ok {
		return nil
	}
	total := 0
	for _, s := range f.Sets {
		total += len(s.Nets)
	}
	if total > MaxFilterPrefixes {
		return fmt.Errorf("%w filter: its sets have more than %d prefixes", ErrInvalid, MaxFilterPrefixes)
	}
	if err := validSet(f.Sets[i].Nets); err != nil {
		return fmt.Errorf("%w filter: set %q: %w", ErrInvalid, c.Set, err)
	}
	return nil
}

// DiffFilters is Diff for filters alone: only the sets' addresses, where all else is alike.
func DiffFilters(old, new *Filter) (cs []Change) {
	switch {
	case new == nil || old == new:
		return nil
	case old == nil || !sameRules(old, new):
		return []Change{{Filter: new}}
	}
	for i := range new.Sets {
		c := NetsOf{Set: new.Sets[i].Name, Remove: missing(old.Sets[i].Nets, new.Sets[i].Nets), Add: missing(new.Sets[i].Nets, old.Sets[i].Nets)}
		if len(c.Remove)+len(c.Add) > 0 {
			cs = append(cs, Change{Nets: &c})
		}
	}
	return cs
}

func sameRules(a, b *Filter) bool {
	return slices.EqualFunc(a.Sets, b.Sets, func(s, t FilterSet) bool { return s.Name == t.Name }) &&
		slices.EqualFunc(a.In, b.In, sameRule) && slices.EqualFunc(a.Forward, b.Forward, sameRule)
}

func sameRule(a, b FilterRule) bool {
	return slices.Equal(a.From, b.From) && slices.Equal(a.To, b.To) && slices.Equal(a.Allow, b.Allow)
}

// missing gives those of all, which is in order, that are not in these, which is in order too.
func missing(all, these []netip.Prefix) (out []netip.Prefix) {
	if len(all) == len(these) && (len(all) == 0 || &all[0] == &these[0]) {
		return nil
	}
	for _, p := range all {
		for len(these) > 0 && these[0].Compare(p) < 0 {
			these = these[1:]
		}
		if len(these) == 0 || these[0] != p {
			out = append(out, p)
		}
	}
	return out
}
