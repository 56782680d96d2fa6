package view

import (
	"strings"

	"github.com/warren-mesh/warren/ipc"
)

// Trouble is a problem, what to do, and a button that does it.
type Trouble struct {
	Text, Fix string
	Level     ipc.ProblemLevel
	Button    Button
}

// troubles are the problems, the worst first, notices too.
func (d *drawer) troubles() []Trouble {
	var all []Trouble
	for _, p := range d.s.Problems {
		all = append(all, Trouble{d.trouble(&p), d.fix(&p), p.Level, d.remedy(&p)})
	}
	return all
}

// trouble says what is wrong, in the person's own language.
func (d *drawer) trouble(p *ipc.Problem) string {
	exit := ""
	if e := d.s.Exit; e != nil {
		if exit = short(e.Name); exit == "" && len(e.Wanted) > 0 {
			exit = short(e.Wanted[0])
		}
	}
	switch ends := d.s.Self.Expires; {
	case d.in.Language == English || d.in.Language == "":
	case p.Code == ipc.ProblemKeySoon && !ends.IsZero():
		return d.say(textTroubleExpires, d.day(ends))
	case p.Code == ipc.ProblemExitDown:
		return d.say(textTroubleExitDown, exit)
	case p.Code == ipc.ProblemExitGone:
		return d.say(textTroubleExitGone, exit)
	case p.Code == ipc.ProblemExitHeld:
		return d.say(textTroubleExitHeld, exit)
	}
	if t, ok := d.translated(p); ok {
		return d.say(t.text)
	}
	return bare(p.Text, maxText)
}

// fix says what to do, in the person's own language. What the translation leaves out stands before it where the daemon names it as
// every language does, and otherwise follows in the daemon's words.
func (d *drawer) fix(p *ipc.Problem) string {
	t, ok := d.translated(p)
	if own, known := translations[p.Code]; !ok && known && own.fix != textTooltip && d.remedy(p).does() {
		return d.say(own.fix) // whoever has a button needs no command
	}
	if !ok {
		return bare(p.Fix, maxText)
	}
	fix := ""
	if t.fix != textTooltip {
		fix = d.say(t.fix)
	}
	switch {
	case t.details && p.About != "":
		fix = bare(p.About, maxText) + "\n" + fix
	case t.details:
		fix += "\n" + bare(p.Text, maxText)
	}
	return strings.TrimSpace(fix)
}

// translation is a problem in words that need nothing put in.
type translation struct {
	text    text
	fix     text // zero: there is nothing to do
	details bool // the daemon's own words say more: which network, which program
}

func (d *drawer) translated(p *ipc.Problem) (translation, bool) {
	if d.in.Language == English || d.in.Language == "" {
		return translation{}, false // the daemon speaks it
	}
	t, ok := translations[p.Code]
	return t, ok
}

// translations are the problems that the daemon tells, by their codes.
var translations = map[string]translation{
	ipc.ProblemKeySoon:        {textTroubleExpiresSoon, textFixExtend, false},
	ipc.ProblemKeyExpired:     {textTroubleExpired, textFixExpired, false},
	ipc.ProblemRemoved:        {textTroubleRemoved, textFixRemoved, false},
	ipc.ProblemDenied:         {textTroubleDenied, textFixDenied, false},
	ipc.ProblemUnfinished:     {textTroubleUnfinished, textFixUnfinished, true},
	ipc.ProblemCoord:          {text: textTroubleCoord, details: true},
	ipc.ProblemHost:           {textTroubleHost, textTooltip, true},
	ipc.ProblemNoRelay:        {text: textTroubleNoRelay},
	ipc.ProblemUDPBlocked:     {textTroubleUDP, textFixUDP, false},
	ipc.ProblemPortTaken:      {textTroublePort, textFixPort, true},
	ipc.ProblemRelaying:       {textTroubleRelaying, textFixRelaying, true},
	ipc.ProblemExitDown:       {textTroubleExitDown, textFixExit, false},
	ipc.ProblemExitGone:       {textTroubleExitGone, textFixExit, false},
	ipc.ProblemExitHeld:       {textTroubleExitHeld, textFixExitHeld, false},
	ipc.ProblemExitNoIPv6:     {text: textTroubleExitHalf, details: true},
	ipc.ProblemLockedOffer:    {textTroubleLockedOffer, textFixLockedOffer, false},
	ipc.ProblemExitDNS:        {textTroubleExitDNS, textFixExitDNS, false},
	ipc.ProblemUnapproved:     {textTroubleUnapproved, textFixUnapproved, true},
	ipc.ProblemUnaccepted:     {textTroubleUnaccepted, textFixUnaccepted, true},
	ipc.ProblemRouteDown:      {textTroubleRouteDown, textFixRouteDown, true},
	ipc.ProblemRouteCut:       {textTroubleRouteCut, textFixRouteCut, true},
	ipc.ProblemRouteShadow:    {text: textTroubleShadow, details: true},
	ipc.ProblemRouteConflict:  {textTroubleConflict, textFixConflict, true},
	ipc.ProblemStrictFilter:   {textTroubleStrict, textFixStrict, false},
	ipc.ProblemFilter:         {textTroubleFilter, textFixFilter, true},
	ipc.ProblemLockdown:       {textTroubleLockdown, textFixLockdown, true},
	ipc.ProblemForwardBlocked: {textTroubleBlocked, textFixBlocked, true},
	ipc.ProblemForwardLegacy:  {textTroubleLegacy, textFixLegacy, false},
	ipc.ProblemHostRules:      {textTroubleHostRules, textFixHostRules, true},
	ipc.ProblemRelayShut:      {textTroubleRelayShut, textFixRelayShut, true},
	ipc.ProblemDNSHost:        {textTroubleDNSHost, textFixDNSHost, true},
	ipc.ProblemDNSContested:   {textTroubleDNSContested, textFixDNSContested, true},
	ipc.ProblemDNSPort:        {textTroubleDNSPort, textFixDNSPort, true},
	ipc.ProblemDNSAdvice:      {textTroubleDNSAdvice, textFixDNSAdvice, true},
}

// remedy does what helps, or copies the command that does.
func (d *drawer) remedy(p *ipc.Problem) Button {
	busy := d.in.Busy
	switch p.Code {
	case ipc.ProblemKeySoon, ipc.ProblemKeyExpired:
		return Button{d.say(textExtendNow), busy || d.in.Login != nil, Intent{Op: OpLogin}}
	case ipc.ProblemRemoved, ipc.ProblemDenied:
		return Button{d.say(textLogin), busy || d.in.Login != nil, Intent{Op: OpLogin}}
	case ipc.ProblemExitDown, ipc.ProblemExitGone:
		return Button{d.say(textExitsShow), false, Intent{OpOpen, string(PageExits)}}
	case ipc.ProblemUnaccepted:
		return Button{d.say(textAcceptRoutes), busy, Intent{OpSet, "accept-routes=" + On}}
	case ipc.ProblemUDPBlocked, ipc.ProblemNoRelay, ipc.ProblemCoord:
		return Button{d.say(textNetworkShow), false, Intent{OpOpen, string(PageNetwork)}}
	case ipc.ProblemPortTaken:
		return Button{d.say(textAllSettings), false, Intent{OpOpen, string(PageSettings)}}
	}
	if c := command(p.Fix); c != "" {
		return Button{d.say(textCopyCommand), false, Intent{OpCopy, c}}
	}
	return Button{}
}

// does tells a button that does something from one that copies a command.
func (b Button) does() bool { return b.Label != "" && b.Do.Op != OpCopy }

// command is the command of a sentence like "Start it: sudo systemctl start warrend", or "".
func command(fix string) string {
	line, _, _ := strings.Cut(fix, "\n")
	for _, start := range []string{"sudo ", "warren "} {
		if i := strings.Index(line, start); i == 0 || i > 0 && line[i-1] == ' ' {
			line = line[i:]
			if end := strings.IndexAny(line, ",;("); end >= 0 {
				line = line[:end]
			}
			return bare(strings.TrimRight(line, ". "), maxLong)
		}
	}
	return ""
}
