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
		all = append(all, Trouble{d.trouble(&p), bare(p.Fix, maxText), p.Level, d.remedy(&p)})
	}
	return all
}

// trouble says what is wrong: what people meet most in their own language, the rest as the daemon says it.
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
	default:
		if t, ok := troubleTexts[p.Code]; ok {
			return d.say(t)
		}
	}
	return bare(p.Text, maxText)
}

// troubleTexts are the problems that need nothing put in.
var troubleTexts = map[string]text{
	"key-expired": textTroubleExpired, "removed": textTroubleRemoved, "denied": textTroubleDenied, "no-relay": textTroubleNoRelay,
	codeUDPBlocked: textTroubleUDP, ipc.ProblemCoord: textTroubleCoord, ipc.ProblemUnapproved: textTroubleUnapproved, ipc.ProblemUnaccepted: textTroubleUnaccepted,
}

// remedy does what helps, or copies the command that does.
func (d *drawer) remedy(p *ipc.Problem) Button {
	busy := d.in.Busy
	switch p.Code {
	case ipc.ProblemKeySoon, "key-expired":
		return Button{d.say(textExtendNow), busy || d.in.Login != nil, Intent{Op: OpLogin}}
	case "removed", "denied":
		return Button{d.say(textLogin), busy || d.in.Login != nil, Intent{Op: OpLogin}}
	case ipc.ProblemExitDown, ipc.ProblemExitGone:
		return Button{d.say(textExitsShow), false, Intent{OpOpen, string(PageExits)}}
	case ipc.ProblemUnaccepted:
		return Button{d.say(textAcceptRoutes), busy, Intent{OpSet, "accept-routes=" + On}}
	case codeUDPBlocked, "no-relay", ipc.ProblemCoord:
		return Button{d.say(textNetworkShow), false, Intent{OpOpen, string(PageNetwork)}}
	case "port-taken":
		return Button{d.say(textAllSettings), false, Intent{OpOpen, string(PageSettings)}}
	}
	if c := command(p.Fix); c != "" {
		return Button{d.say(textCopyCommand), false, Intent{OpCopy, c}}
	}
	return Button{}
}

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
