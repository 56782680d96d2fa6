package hostmode

import (
	"net/netip"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// Plan is what the host is to be told.
type Plan struct {
	Servers []netip.Addr // us
	Search  []string     // domains that bare names are tried in
	Routing []string     // domains that we are asked for, beside those
	All     bool         // we are asked for everything
}

// NewPlan makes the plan for a network: the domains are those that its machines' names, records and reverse names lie in.
func NewPlan(servers []netip.Addr, suffix string, d *coord.DNS, domains []string) Plan {
	p := Plan{Servers: servers, All: len(d.Nameservers) > 0}
	add := func(list *[]string, domain string) {
		if domain != "" && !slices.Contains(*list, domain) {
			*list = append(*list, domain)
		}
	}
	if !d.NoNames {
		add(&p.Search, suffix)
	}
	for _, s := range d.Search {
		add(&p.Search, s)
	}
	for _, s := range domains {
		if !slices.Contains(p.Search, s) {
			add(&p.Routing, s)
		}
	}
	for _, s := range d.Split {
		if !slices.Contains(p.Search, s.Domain) {
			add(&p.Routing, s.Domain)
		}
	}
	slices.Sort(p.Routing)
	return p
}

// Equal reports whether two plans tell the host the same.
func (p Plan) Equal(o Plan) bool {
	return p.All == o.All && slices.Equal(p.Servers, o.Servers) && slices.Equal(p.Search, o.Search) && slices.Equal(p.Routing, o.Routing)
}

// Patience with others that change what we set.
const (
	MaxAgain = 3         // how often it is set again
	Peace    = time.Hour // without such changes, after which the count begins anew
)

// Contest counts how often something else changed what we set. The zero value is at peace.
type Contest struct {
	count int
	last  time.Time
}

// Lost takes the news that it was changed, and reports whether to set it again.
func (c *Contest) Lost(now time.Time) bool {
	if now.Sub(c.last) >= Peace {
		c.count = 0
	}
	c.last = now
	if c.count < MaxAgain {
		c.count++
		return true
	}
	return false
}

// Count is how often it was set again since there was peace.
func (c *Contest) Count() int { return c.count }

// Over reports whether there has been peace since.
func (c *Contest) Over(now time.Time) bool { return now.Sub(c.last) >= Peace }
