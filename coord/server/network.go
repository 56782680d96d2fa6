package server

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/state"
)

// The picture of the network: machines in boxes by person or tag, and from each box lines to the relays at which its
// machines are at home. It is computed here, from numbers alone; the template writes it down as SVG.

// Bounds of the picture.
const (
	maxDrawn = 60 // machines that are drawn one by one; of more, each box tells how many
	maxBoxes = 30 // the largest, where there are more
	maxLanes = 5  // relays that have a line of their own
)

// netMachine is a machine in the picture.
type netMachine struct {
	machineRow
	Relay string // its home's name; empty: none
	Sub   string // the second line
}

// netGroup is what belongs together: a person's machines, or those of a tag.
type netGroup struct {
	Name, Kind, Find                      string // Kind: person, tag or nobody; Find leads to its machines
	Machines                              []netMachine
	Online, Offline, Expired, Waiting, Ex int // Ex: keys that end soon
}

// Total counts the group's machines.
func (g *netGroup) Total() int { return len(g.Machines) }

// Says tells the group's numbers.
func (g *netGroup) Says() string {
	parts := []string{fmt.Sprintf(textNetOnline, g.Online, len(g.Machines))}
	for _, n := range []struct {
		count int
		text  string
	}{{g.Ex, textNetSoon}, {g.Expired, textNetExpired}, {g.Waiting, textNetWaiting}} {
		if n.count > 0 {
			parts = append(parts, fmt.Sprintf(n.text, n.count))
		}
	}
	return strings.Join(parts, " · ")
}

// groupsOf sorts members into groups: a tagged machine belongs to its first tag, another one to its person.
func groupsOf(now time.Time, members []state.Member, relays []coord.Relay) []*netGroup {
	names := map[int]string{}
	for _, l := range relays {
		names[int(l.ID)] = l.Name
	}
	groups := map[string]*netGroup{}
	for _, m := range members {
		row := netMachine{machineRow: rowOf(now, m), Relay: names[int(m.Node.Relay)]}
		kind, name := "nobody", textNobody
		switch {
		case len(row.Tags) > 0:
			kind, name = "tag", row.Tags[0]
		case row.Owner != "":
			kind, name = "person", row.Owner
		}
		g := groups[kind+" "+name]
		if g == nil {
			g = &netGroup{Name: name, Kind: kind, Find: "/?q=" + url.QueryEscape(name)}
			if kind == "nobody" {
				g.Find = "/"
			}
			groups[kind+" "+name] = g
		}
		g.add(row)
	}
	all := slices.Collect(maps.Values(groups))
	order := map[string]int{"person": 0, "tag": 1, "nobody": 2}
	slices.SortFunc(all, func(a, b *netGroup) int {
		return cmp.Or(order[a.Kind]-order[b.Kind], cmp.Compare(a.Name, b.Name))
	})
	for _, g := range all {
		slices.SortFunc(g.Machines, func(a, b netMachine) int { return cmp.Compare(a.Name, b.Name) })
	}
	return all
}

func (g *netGroup) add(m netMachine) {
	m.Sub = m.OS
	if m.Relay != "" {
		m.Sub = fmt.Sprintf(textNetAt, m.Relay)
	}
	switch m.State {
	case "online":
		g.Online++
	case "expired":
		g.Expired++
		m.Sub = textNetKeyOver
	case "waiting":
		g.Waiting++
		m.Sub = textNetAsks
	default:
		g.Offline++
		m.Sub = fmt.Sprintf(textNetSeen, m.Seen)
	}
	if m.Soon != "" && m.State != "expired" {
		g.Ex++
		m.Sub = fmt.Sprintf(textNetKey, m.Soon)
	}
	g.Machines = append(g.Machines, m)
}

// netFrame is what a drawing has to fit into, in the units of its SVG.
type netFrame struct {
	width, columns, perBox int // columns of boxes, and of machines in a box
}

// Frames of a drawing on a wide page, and on a phone.
var (
	wideFrame   = netFrame{width: 1040, columns: 2, perBox: 2}
	narrowFrame = netFrame{width: 360, columns: 1, perBox: 1}
)

// Measures of a drawing.
const (
	netGutter = 34 // left of each column, for the lines
	netPad    = 14
	netHead   = 58 // of a box
	netNode   = 46 // a machine's height
	netGap    = 10
	netLetter = 10 // width of a letter of a name, in the widest of the usual fonts (DejaVu Sans, Verdana) on average
)

// drawing is a picture of the network.
type drawing struct {
	Width, Height int
	Relays        []netRelay
	Boxes         []netBox
	Lines         []netLine
}

type netRect struct{ X, Y, W, H int }

// Right, Bottom and Middle are edges of a rectangle.
func (r netRect) Right() int  { return r.X + r.W }
func (r netRect) Bottom() int { return r.Y + r.H }
func (r netRect) Middle() int { return r.Y + r.H/2 }

// Where signs and texts stand in a rectangle.
func (r netRect) SignX() int { return r.X + 18 }

type netRelay struct {
	netRect
	Name string
	Home int      // machines that are at home there
	Of   []string // the relays that it stands for
	Many bool     // more than one; Name says how many
	Lane int
}

// TextX, TextY and Label place the relay's name.
func (r netRelay) TextX() int    { return r.X + 32 }
func (r netRelay) TextY() int    { return r.Middle() + 5 }
func (r netRelay) Label() string { return cut(r.Called(), (r.W-44)/netLetter) }

// Called is what people call it.
func (r netRelay) Called() string {
	if r.Many {
		return fmt.Sprintf(textNetRelays, r.Name)
	}
	return fmt.Sprintf(textNetRelay, r.Name)
}

type netBox struct {
	netRect
	*netGroup
	Label string
	Nodes []netNodeBox
	Bars  []netBar // instead of nodes
}

// TextX, TitleY and SaysY place the box's texts.
func (b netBox) TextX() int  { return b.X + netPad + 2 }
func (b netBox) TitleY() int { return b.Y + 27 }
func (b netBox) SaysY() int  { return b.Y + 46 }

type netNodeBox struct {
	netRect
	netMachine
	Label, Under string
}

// TextX, NameY and UnderY place the machine's texts.
func (n netNodeBox) TextX() int  { return n.X + 34 }
func (n netNodeBox) NameY() int  { return n.Y + 20 }
func (n netNodeBox) UnderY() int { return n.Y + 37 }

// Cross strikes the sign of a machine out: not by its color alone.
func (n netNodeBox) Cross() string {
	return fmt.Sprintf("M%d %dl8 -8m0 8l-8 -8", n.SignX()-4, n.Middle()+4)
}

// netBar is a part of a box's bar: how many machines are in a state.
type netBar struct {
	netRect
	State string
}

// netLine leads from a relay to a box.
type netLine struct {
	Path string
	Lane int
}

// draw lays the groups out.
func draw(f netFrame, groups []*netGroup, homes []netRelay, single bool) *drawing {
	d := &drawing{Width: f.width}
	top := d.relayRow(f, homes)
	colW := f.width/f.columns - netGutter
	bottoms := make([]int, f.columns)
	for i := range bottoms {
		bottoms[i] = top
	}
	reach := make([][]int, f.columns) // by lane, the lowest tick
	for i := range reach {
		reach[i] = make([]int, len(homes))
	}
	for _, g := range groups {
		col := 0
		for i := range bottoms {
			if bottoms[i] < bottoms[col] {
				col = i
			}
		}
		b := box(netRect{X: col*(colW+netGutter) + netGutter, Y: bottoms[col], W: colW}, g, f.perBox, single)
		bottoms[col] = b.Bottom() + 18
		d.Boxes = append(d.Boxes, b)
		for _, r := range homes {
			if !slices.ContainsFunc(g.Machines, func(m netMachine) bool { return r.has(m) }) {
				continue
			}
			x, y := laneX(col, colW, r.Lane), b.Y+16+7*r.Lane
			d.Lines = append(d.Lines, netLine{Lane: r.Lane, Path: fmt.Sprintf("M%d %dH%d", x, y, b.X)})
			reach[col][r.Lane] = y
		}
	}
	d.lanes(f, colW, reach)
	d.Height = slices.Max(bottoms)
	return d
}

// laneX is where a relay's line runs down beside a column.
func laneX(col, colW, lane int) int { return col*(colW+netGutter) + 4 + 5*lane }

// relayRow puts the relays on top, and returns where the boxes begin.
func (d *drawing) relayRow(f netFrame, homes []netRelay) int {
	if len(homes) == 0 {
		return 0
	}
	if f.columns == 1 { // below one another
		for i, r := range homes {
			r.netRect = netRect{X: netGutter, Y: i * 46, W: f.width - netGutter, H: 38}
			d.Relays = append(d.Relays, r)
		}
		return len(homes)*46 + 10
	}
	w := min(200, (f.width-netGutter)/len(homes)-netGap)
	for i, r := range homes {
		r.netRect = netRect{X: netGutter + i*(w+netGap), Y: 0, W: w, H: 38}
		d.Relays = append(d.Relays, r)
	}
	return 38 + 24 + 7*len(homes)
}

// lanes draws each relay's line down to the lowest box that it leads to.
func (d *drawing) lanes(f netFrame, colW int, reach [][]int) {
	for _, r := range d.Relays {
		var used []int
		for col := range reach {
			if reach[col][r.Lane] > 0 {
				used = append(used, col)
			}
		}
		if len(used) == 0 {
			continue
		}
		if f.columns == 1 {
			d.Lines = append(d.Lines, netLine{Lane: r.Lane, Path: fmt.Sprintf("M%d %dH%dV%d", r.X, r.Middle(), laneX(0, colW, r.Lane), reach[0][r.Lane])})
			continue
		}
		bus := r.Bottom() + 10 + 7*r.Lane
		for _, col := range used {
			d.Lines = append(d.Lines, netLine{
				Lane: r.Lane, Path: fmt.Sprintf("M%d %dV%dH%dV%d", r.X+r.W/2, r.Bottom(), bus, laneX(col, colW, r.Lane), reach[col][r.Lane]),
			})
		}
	}
}

// box lays a group out, with its machines or with a bar of their states.
func box(at netRect, g *netGroup, columns int, single bool) netBox {
	b := netBox{netRect: at, netGroup: g, Label: cut(g.Name, (at.W-2*netPad)/(netLetter+2))}
	if !single {
		x, room := at.X+netPad, at.W-2*netPad
		b.H = netHead + 26
		for _, s := range []struct {
			state string
			count int
		}{{"online", g.Online}, {"offline", g.Offline}, {"expired", g.Expired}, {"waiting", g.Waiting}} {
			if s.count == 0 {
				continue
			}
			w := max(4, room*s.count/len(g.Machines))
			w = min(w, at.X+netPad+room-x)
			b.Bars = append(b.Bars, netBar{netRect: netRect{X: x, Y: at.Y + netHead, W: w, H: 10}, State: s.state})
			x += w
		}
		return b
	}
	w := (at.W - netPad - (columns-1)*netGap - netPad) / columns
	for i, m := range g.Machines {
		n := netNodeBox{netMachine: m, Label: cut(m.Name, (w-44)/netLetter), Under: cut(m.Sub, (w-44)*5/(netLetter*4))}
		n.netRect = netRect{X: at.X + netPad + i%columns*(w+netGap), Y: at.Y + netHead + i/columns*(netNode+netGap), W: w, H: netNode}
		b.Nodes = append(b.Nodes, n)
	}
	b.H = netHead + (len(g.Machines)+columns-1)/columns*(netNode+netGap) + 4
	return b
}

// cut shortens a text to so many letters.
func cut(text string, letters int) string {
	if r := []rune(text); len(r) > letters {
		return string(r[:max(1, letters-1)]) + "…"
	}
	return text
}

// homesOf are the relays at which machines are at home, those with the most first; what has no line of its own has one together.
func homesOf(groups []*netGroup, relays []coord.Relay) []netRelay {
	counts := map[string]int{}
	for _, g := range groups {
		for _, m := range g.Machines {
			if m.Relay != "" {
				counts[m.Relay]++
			}
		}
	}
	var all []netRelay
	for _, l := range relays {
		all = append(all, netRelay{Name: l.Name, Home: counts[l.Name], Of: []string{l.Name}})
	}
	slices.SortStableFunc(all, func(a, b netRelay) int { return b.Home - a.Home })
	if len(all) > maxLanes {
		rest := netRelay{Name: fmt.Sprint(len(all) - maxLanes + 1), Many: true}
		for _, r := range all[maxLanes-1:] {
			rest.Home += r.Home
			rest.Of = append(rest.Of, r.Name)
		}
		all = append(all[:maxLanes-1], rest)
	}
	for i := range all {
		all[i].Lane = i
	}
	return all
}

// has reports whether a machine is at home at the relay.
func (r netRelay) has(m netMachine) bool { return m.Relay != "" && slices.Contains(r.Of, m.Relay) }
