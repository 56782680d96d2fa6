package view

import (
	"slices"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// Mood is what a picture says at a glance.
type Mood string

// The moods.
const (
	MoodGood    Mood = "good"
	MoodBad     Mood = "bad"
	MoodMiddle  Mood = "middle" // it works, and could be better
	MoodUnknown Mood = "unknown"
)

// Network is the page that shows what the network lets through that this machine is on.
type Network struct {
	Title, Verdict string
	Mood           Mood
	Tiles          []Tile
	RelaysTitle    string
	Relays         []Bar
	FactsTitle     string
	Facts          []Fact
	Advice         []string
	Check          Button
	None           string // instead of all, where there is nothing to say
}

// Tile is one finding.
type Tile struct {
	Label, Text string
	Mood        Mood
}

// Bar is a relay, as long as its answer takes.
type Bar struct {
	Name, Text string
	Share      float32 // of the slowest one; 0: it does not answer
	Home       bool
	Mood       Mood
}

func (d *drawer) udpBlocked() bool {
	return slices.ContainsFunc(d.s.Problems, func(p ipc.Problem) bool { return p.Code == ipc.ProblemUDPBlocked })
}

// network makes the page of what the daemon says all the time.
func (d *drawer) network() Network {
	n := Network{Title: d.say(textNetworkTitle), RelaysTitle: d.say(textRelaysTitle), FactsTitle: d.say(textEndpointsTitle)}
	if d.s.State != ipc.StateRunning && d.s.State != ipc.StateStarting {
		n.None = d.say(textNetworkOff)
		return n
	}
	n.Check = Button{d.say(textCheckNow), false, Intent{Op: OpNetcheck}}
	if d.in.Checking {
		n.Check = Button{d.say(textChecking), true, Intent{}}
	}
	if d.in.Netcheck != nil {
		d.checked(&n, d.in.Netcheck)
		return n
	}
	n.Tiles = []Tile{d.udpTile(), d.familyTile("IPv4", true), d.familyTile("IPv6", false), d.coordTile()}
	n.Relays = d.bars()
	for _, e := range d.s.Self.Endpoints {
		label := d.say(textEndpointLocal)
		if e.Kind == "stun" {
			label = d.say(textEndpointPublic)
		}
		n.Facts = append(n.Facts, Fact{label, e.Addr.String(), false})
	}
	direct, relayed := 0, 0
	for i := range d.s.Peers {
		switch d.s.Peers[i].Path.Kind {
		case ipc.PathDirect:
			direct++
		case ipc.PathRelay:
			relayed++
		}
	}
	switch {
	case d.udpBlocked():
		n.Verdict, n.Mood = d.say(textVerdictBlocked), MoodMiddle
	case direct+relayed == 0:
		n.Verdict, n.Mood = d.say(textVerdictQuiet), MoodUnknown
	default:
		n.Verdict, n.Mood = d.say(textVerdictCount, d.count(direct), d.count(direct+relayed)), MoodGood
		if direct == 0 {
			n.Mood = MoodMiddle
		}
	}
	return n
}

func (d *drawer) udpTile() Tile {
	over := func(transport string) bool {
		return slices.ContainsFunc(d.s.Relays, func(r ipc.Relay) bool { return r.Connected && r.Transport == transport })
	}
	stun := slices.ContainsFunc(d.s.Self.Endpoints, func(e ipc.Endpoint) bool { return e.Kind == "stun" })
	switch {
	case d.udpBlocked():
		return Tile{"UDP", d.say(textUDPBlocked), MoodBad}
	case over("udp") || stun:
		return Tile{"UDP", d.say(textUDPWorks), MoodGood}
	}
	return Tile{"UDP", d.say(textNotKnown), MoodUnknown}
}

// familyTile is one version of IP, as far as the addresses at which this machine may be reached tell.
func (d *drawer) familyTile(label string, four bool) Tile {
	public, local := "", ""
	for _, e := range d.s.Self.Endpoints {
		if a := e.Addr.Addr().Unmap(); a.Is4() == four {
			switch {
			case e.Kind == "stun" && public == "":
				public = a.String()
			case e.Kind == "local" && local == "":
				local = a.String()
			}
		}
	}
	own := slices.ContainsFunc(d.s.Self.Endpoints, func(e ipc.Endpoint) bool { return e.Kind == "local" && e.Addr.Addr().Unmap().String() == public })
	switch {
	case public != "" && own:
		return Tile{label, d.say(textNoNAT, public), MoodGood}
	case public != "":
		return Tile{label, d.say(textSeenAs, public), MoodGood}
	case local != "":
		return Tile{label, d.say(textOnlyLocal), MoodUnknown}
	}
	return Tile{label, d.say(textNoFamily), MoodUnknown}
}

func (d *drawer) coordTile() Tile {
	t := Tile{Label: d.say(textFactServer)}
	if d.s.Coord.Connected {
		t.Text, t.Mood = d.say(textCoordUp), MoodGood
	} else {
		t.Text, t.Mood = d.say(textCoordDown), MoodBad
	}
	return t
}

// bars are the relays, the nearest first.
func (d *drawer) bars() []Bar {
	relays := slices.Clone(d.s.Relays)
	slices.SortStableFunc(relays, func(a, b ipc.Relay) int {
		far := func(r ipc.Relay) ipc.Milliseconds {
			if r.Latency == 0 {
				return 1e9
			}
			return r.Latency
		}
		switch x, y := far(a), far(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	slowest := ipc.Milliseconds(1)
	for _, r := range relays {
		slowest = max(slowest, r.Latency)
	}
	var all []Bar
	for _, r := range relays {
		b := Bar{Name: bare(r.Name, maxShort), Home: r.Home, Share: float32(r.Latency / slowest), Mood: MoodGood}
		switch {
		case r.Latency > 0:
			b.Text = say.Latency(r.Latency)
		case r.Connected:
			b.Text = d.say(textRelayUp)
		default:
			b.Text, b.Mood = d.say(textNoAnswer), MoodBad
		}
		if r.Transport == "websocket" {
			b.Text, b.Mood = d.say(textOverTLS, b.Text), MoodMiddle
		}
		if r.Home {
			b.Text = d.say(textHomeRelay, b.Text)
		}
		all = append(all, b)
	}
	return all
}
