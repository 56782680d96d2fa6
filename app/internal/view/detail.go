package view

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// Detail is all that is known of a machine.
type Detail struct {
	ID       int64
	Name     string
	How      string   // packets reach it
	Why      string   // it is so
	Advice   []string // what a person could change
	Here     bool
	Copy     Button // its address
	Ping     Button
	Answer   string // of the last ping
	Exit     Button // makes it the exit node, or no longer
	Facts    []Fact
	Charts   [2]string // what the two plots show: latency and traffic
	HowTitle string
	Way      []Stretch // how it was reached lately, the oldest first
	Waiting  string    // where a plot has nothing to show yet
}

// Stretch is a time in which a machine was reached in one way.
type Stretch struct {
	Kind  ipc.PathKind
	Share float32 // of the whole time
	Text  string
}

// Detail says all of a machine, or nil where it is not there any more.
func (in *Input) Detail(id int64) *Detail {
	d := drawer{in, in.Language.texts(), in.Status}
	p := d.peer(id)
	if p == nil {
		return nil
	}
	v := &Detail{
		ID: id, Name: d.rowName(p), How: d.how(p), Here: here(p), Why: d.why(p),
		Charts: [2]string{d.say(textChartLatency), d.say(textChartTraffic)}, HowTitle: d.say(textChartWay), Waiting: d.say(textChartEmpty),
	}
	answer, asked := in.Pings[id]
	waits := asked && answer.Reply == nil && answer.Err == nil
	v.Ping = Button{d.say(textPing), waits || d.s.State != ipc.StateRunning, Intent{OpPing, strconv.FormatInt(id, 10)}}
	if asked {
		v.Answer = in.Language.Answer(answer)
	}
	if len(p.Addrs) > 0 {
		v.Copy = Button{d.say(textCopyAddress), false, Intent{OpCopy, p.Addrs[0].String()}}
	}
	if p.ExitOption {
		v.Exit = Button{d.say(textUseAsExit), in.Busy, Intent{OpExit, p.Name}}
		if d.exitUsed(p) {
			v.Exit = Button{d.say(textStopExit), in.Busy, Intent{Op: OpExit}}
		}
	}
	v.Facts, v.Way, v.Advice = d.facts(p), d.way(p), d.obstacles(p)
	return v
}

func (d *drawer) peer(id int64) *ipc.Peer {
	if d.s == nil {
		return nil
	}
	for i := range d.s.Peers {
		if d.s.Peers[i].ID == id {
			return &d.s.Peers[i]
		}
	}
	return nil
}

// facts are the lines about a machine.
func (d *drawer) facts(p *ipc.Peer) []Fact {
	var facts []Fact
	add := func(t text, value string, copies bool) {
		if value != "" {
			facts = append(facts, Fact{d.say(t), value, copies})
		}
	}
	for _, a := range p.Addrs {
		add(textFactAddress, a.String(), true)
	}
	add(textFactName, bare(p.DNSName, maxLong), true)
	if p.Path.Kind == ipc.PathDirect {
		add(textFactEndpoint, p.Path.Endpoint.String(), false)
	}
	if p.Path.MTU > 0 && p.Path.Kind != ipc.PathNone {
		add(textFactMTU, d.say(textBytesLong, d.count(p.Path.MTU)), false)
	}
	add(textFactUser, bare(p.User, maxShort), false)
	add(textFactOS, strings.TrimSpace(bare(p.OS, maxShort)), false)
	add(textFactVersion, bare(p.Version, maxShort), false)
	add(textFactRoutes, prefixes(p.Routes), false)
	add(textFactAccess, d.access(p), false)
	add(textFactServes, prefixes(p.Serves), false)
	if p.ExitOption {
		add(textFactExit, d.say(textFactExitYes), false)
	}
	add(textFactTraffic, d.say(textTraffic, say.Bytes(p.RxBytes), say.Bytes(p.TxBytes)), false)
	if !p.LastHandshake.IsZero() {
		add(textFactHandshake, d.say(textAgo, say.Span(d.s.Time.Sub(p.LastHandshake))), false)
	}
	if p.Path.Switches > 1 {
		add(textFactSwitches, d.count(int(min(p.Path.Switches, 1<<31))), false)
	}
	if !p.Expires.IsZero() {
		add(textFactExpires, d.day(p.Expires), false)
	}
	return facts
}

// access says what a machine may reach here.
func (d *drawer) access(p *ipc.Peer) string {
	w := d.in.Whys[p.ID]
	switch {
	case w == nil:
		return "" // nobody has asked, or the daemon is of an older version
	case w.In.Shields:
		return d.say(textAccessShields)
	case !w.In.Ruled:
		return d.say(textAccessAll)
	case !w.In.Allowed:
		return d.say(textAccessNone)
	}
	var services []string
	for _, r := range w.In.Rules {
		for _, s := range r.Allow {
			if s = bare(s, maxShort); len(services) < 12 && !slices.Contains(services, s) {
				services = append(services, s)
			}
		}
	}
	return d.say(textAccessSome, strings.Join(services, ", "))
}

// day writes a date, and how far off it is.
func (d *drawer) day(t time.Time) string {
	date := t.Local().Format("2006-01-02")
	if left := t.Sub(d.s.Time); left > 0 {
		return d.say(textIn, date, say.Span(left))
	}
	return date
}

func prefixes(all []netip.Prefix) string {
	const most = 8
	var words []string
	for i, p := range all {
		if i == most {
			words = append(words, "…")
			break
		}
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

// reasons are why a path was taken, by the daemon's codes.
var reasons = map[string]text{
	ipc.PathReasonNone:       textWhyNone,
	ipc.PathReasonRelayUp:    textWhyRelayUp,
	ipc.PathReasonRelayDown:  textWhyRelayDown,
	ipc.PathReasonProven:     textWhyProven,
	ipc.PathReasonLocal:      textWhyLocal,
	ipc.PathReasonFaster:     textWhyFaster,
	ipc.PathReasonSilent:     textWhySilent,
	ipc.PathReasonLost:       textWhyLost,
	ipc.PathReasonSendFailed: textWhyRefused,
	ipc.PathReasonIdle:       textWhyIdle,
	ipc.PathReasonNetwork:    textWhyNetwork,
	ipc.PathReasonRestarted:  textWhyRestarted,
	ipc.PathReasonCalled:     textWhyCalled,
}

// reason says why a path was taken: what is not known here, as the daemon does.
func (d *drawer) reason(code, words string) string {
	if t, ok := reasons[code]; ok {
		return d.say(t)
	}
	return bare(words, maxLong)
}

// why says in plain words how a machine is reached, and what a person could do about it.
func (d *drawer) why(p *ipc.Peer) string {
	because := ""
	if reason := d.reason(p.Path.Code, p.Path.Reason); reason != "" && p.Path.Code != ipc.PathReasonNone {
		because = " " + d.say(textWhyBecause, reason)
	}
	switch {
	case p.Path.Kind == ipc.PathDirect:
		return d.say(textWhyDirect) + because
	case p.Path.Kind == ipc.PathRelay && d.udpBlocked():
		return d.say(textWhyBlocked)
	case p.Path.Kind == ipc.PathRelay:
		return d.say(textWhyRelayed, bare(p.Path.Relay, maxShort)) + because
	case p.Online:
		return d.say(textWhyQuiet)
	}
	return d.say(textWhyGone)
}

// way is how a machine was reached since the first change that is known.
func (d *drawer) way(p *ipc.Peer) []Stretch {
	h := p.History
	if len(h) == 0 {
		return nil
	}
	whole := d.s.Time.Sub(h[0].At)
	var all []Stretch
	for i, c := range h {
		end := d.s.Time
		if i+1 < len(h) {
			end = h[i+1].At
		}
		s := Stretch{Kind: c.Kind, Share: 1 / float32(len(h))}
		if whole > 0 {
			s.Share = float32(max(end.Sub(c.At), 0)) / float32(whole)
		}
		via := bare(c.Via, maxShort)
		switch c.Kind {
		case ipc.PathDirect:
			s.Text = d.say(textWayDirect, via)
		case ipc.PathRelay:
			s.Text = d.say(textRelayed, via)
		default:
			s.Text = d.say(textWayNone)
		}
		s.Text = d.say(textWayAt, d.say(textAgo, say.Span(d.s.Time.Sub(c.At))), s.Text, d.reason(c.Code, c.Reason))
		all = append(all, s)
	}
	return all
}
