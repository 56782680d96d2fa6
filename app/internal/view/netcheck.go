package view

import (
	"slices"
	"strings"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// checked makes the page of what a check has found.
func (d *drawer) checked(n *Network, c *ipc.Netcheck) {
	udp := Tile{"UDP", d.say(textNotKnown), MoodUnknown}
	switch c.UDP {
	case ipc.Yes:
		udp.Text, udp.Mood = d.say(textUDPWorks), MoodGood
	case ipc.No:
		udp.Text, udp.Mood = d.say(textUDPBlocked), MoodBad
	}
	n.Tiles = []Tile{udp, d.foundFamily("IPv4", &c.IPv4), d.foundFamily("IPv6", &c.IPv6), d.coordTile(), d.natTile(c), d.portsTile(c), d.portalTile(c)}
	n.Verdict, n.Mood = d.verdict(c)
	n.Relays = d.foundRelays(c)
	n.Advice = d.advise(c.Advised, c.Advice)
	n.FactsTitle = d.say(textCheckedAt, c.Time.Local().Format("15:04:05"))
	n.Facts = nil
	for _, f := range []struct {
		of    string
		found *ipc.NetcheckFamily
	}{{"IPv4", &c.IPv4}, {"IPv6", &c.IPv6}} {
		add := func(t text, value string) {
			if value != "" {
				n.Facts = append(n.Facts, Fact{f.of + ": " + d.say(t), value, false})
			}
		}
		add(textFactMapping, d.behavior(f.found.Mapping))
		add(textFactFiltering, d.behavior(f.found.Filtering))
		if f.found.PathMTU > 0 {
			add(textFactMTU, d.say(textBytesLong, d.count(f.found.PathMTU)))
		}
	}
}

// behaviors are those of a NAT.
var behaviors = map[ipc.Behavior]text{
	ipc.NoTranslation: textBehaviorNone, ipc.Independent: textBehaviorIndependent, ipc.AddressDependent: textBehaviorAddress,
	ipc.PortDependent: textBehaviorPort, ipc.AddressOrLess: textBehaviorAddressOrLess, ipc.AddressOrMore: textBehaviorAddressOrMore,
}

// behavior says it, "" where it is not known.
func (d *drawer) behavior(b ipc.Behavior) string {
	if t, ok := behaviors[b]; ok {
		return d.say(t)
	}
	if b == ipc.BehaviorUnknown {
		return ""
	}
	return bare(string(b), maxLong)
}

func (d *drawer) foundFamily(label string, f *ipc.NetcheckFamily) Tile {
	switch {
	case f.Public.IsValid() && f.NAT == ipc.No:
		return Tile{label, d.say(textNoNAT, f.Public.String()), MoodGood}
	case f.Public.IsValid():
		return Tile{label, d.say(textSeenAs, f.Public.String()), MoodGood}
	case f.Local.IsValid() && f.UDP == ipc.No:
		return Tile{label, d.say(textUDPBlocked), MoodBad}
	case f.Local.IsValid():
		return Tile{label, d.say(textOnlyLocal), MoodUnknown}
	}
	return Tile{label, d.say(textNoFamily), MoodUnknown}
}

// family is what most connections go by: IPv4 where there is that.
func family(c *ipc.Netcheck) *ipc.NetcheckFamily {
	if !c.IPv4.Public.IsValid() && c.IPv6.Public.IsValid() {
		return &c.IPv6
	}
	return &c.IPv4
}

// hard tells a NAT that gives each connection another port, or lets in only who was written to.
func hard(b ipc.Behavior) bool {
	return b == ipc.AddressDependent || b == ipc.PortDependent || b == ipc.AddressOrMore
}

func (d *drawer) natTile(c *ipc.Netcheck) Tile {
	switch f := family(c); {
	case f.NAT == ipc.No || f.Mapping == ipc.NoTranslation:
		return Tile{"NAT", d.say(textNATNone), MoodGood}
	case hard(f.Mapping):
		return Tile{"NAT", d.say(textNATHard), MoodMiddle}
	case f.Mapping == ipc.Independent || f.Mapping == ipc.AddressOrLess:
		return Tile{"NAT", d.say(textNATEasy), MoodGood}
	}
	return Tile{"NAT", d.say(textNotKnown), MoodUnknown}
}

func (d *drawer) portsTile(c *ipc.Netcheck) Tile {
	var by []string
	for _, p := range c.Mapping {
		if p.Answers == ipc.Yes {
			by = append(by, bare(p.Protocol, maxShort))
		}
	}
	if len(by) == 0 {
		return Tile{d.say(textTilePorts), d.say(textPortsNone), MoodUnknown}
	}
	return Tile{d.say(textTilePorts), d.say(textPortsBy, strings.Join(by, ", ")), MoodGood}
}

func (d *drawer) portalTile(c *ipc.Netcheck) Tile {
	t := Tile{d.say(textTilePortal), d.say(textNotKnown), MoodUnknown}
	switch c.Portal.Found {
	case ipc.Yes:
		t.Text, t.Mood = d.say(textPortalFound, bare(c.Portal.Server, maxShort)), MoodBad
	case ipc.No:
		t.Text, t.Mood = d.say(textPortalNone), MoodGood
	}
	return t
}

func (d *drawer) verdict(c *ipc.Netcheck) (string, Mood) {
	f := family(c)
	filtered := hard(f.Filtering)
	switch open := f.NAT == ipc.No || f.Mapping == ipc.NoTranslation; {
	case c.Portal.Found == ipc.Yes:
		return d.say(textVerdictPortal), MoodBad
	case c.UDP != ipc.Yes && len(c.Relays) > 0 && !slices.ContainsFunc(c.Relays, func(r ipc.NetcheckRelay) bool { return r.TCP > 0 }):
		return d.say(textVerdictOffline), MoodBad
	case c.UDP == ipc.No:
		return d.say(textVerdictBlocked), MoodMiddle
	case c.UDP != ipc.Yes:
		return d.say(textVerdictUnasked), MoodUnknown
	case open && filtered:
		return d.say(textVerdictFirewall), MoodGood
	case open:
		return d.say(textVerdictOpen), MoodGood
	case hard(f.Mapping):
		return d.say(textVerdictHard), MoodMiddle
	case f.Mapping == ipc.Independent || f.Mapping == ipc.AddressOrLess:
		return d.say(textVerdictEasy), MoodGood
	}
	return d.say(textVerdictSome), MoodUnknown
}

// foundRelays are the relays with the shortest of their answers. The daemon has the nearest first.
func (d *drawer) foundRelays(c *ipc.Netcheck) []Bar {
	nearest := func(r ipc.NetcheckRelay) (best ipc.Milliseconds, tls bool) {
		for _, m := range []ipc.Milliseconds{r.IPv4, r.IPv6} {
			if m > 0 && (best == 0 || m < best) {
				best = m
			}
		}
		if best == 0 {
			return r.TCP, r.TCP > 0
		}
		return best, false
	}
	slowest := ipc.Milliseconds(1)
	for _, r := range c.Relays {
		m, _ := nearest(r)
		slowest = max(slowest, m)
	}
	var all []Bar
	for _, r := range c.Relays {
		m, tls := nearest(r)
		b := Bar{Name: bare(r.Name, maxShort), Home: r.Home, Share: float32(m / slowest), Mood: MoodGood, Text: say.Latency(m)}
		switch {
		case m == 0:
			b.Text, b.Mood = d.say(textNoAnswer), MoodBad
		case tls:
			b.Text, b.Mood = d.say(textOverTLS, b.Text), MoodMiddle
		}
		if r.Home {
			b.Text = d.say(textHomeRelay, b.Text)
		}
		all = append(all, b)
	}
	return all
}
