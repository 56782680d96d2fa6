package view

import (
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/ipc"
)

// Said is the Reason of an Error whose message is in the person's language already: the tray's own.
const Said = "said"

// refusal is how one is told: {0}, {1} stand for what it is about, {message} and {fix} for the daemon's own English words.
type refusal struct{ text, fix string }

const (
	holeMessage = "{message}"
	holeFix     = "{fix}"
)

// refusals are those of the language, by reason and by code. The two have no word in common.
func (l Language) refusals() map[string]refusal {
	switch l {
	case German:
		return germanRefusals
	case Chinese:
		return chineseRefusals
	}
	return englishRefusals
}

// attempts are what is said of an order that failed, where the daemon's own words have to say why.
var attempts = map[Op]text{
	OpConnect: textNotConnected, OpDisconnect: textNotDisconnected, OpLogin: textNotLoggedIn, OpJoin: textNotJoined, OpAdd: textNotJoined,
	OpLogout: textNotLoggedOut, OpSwitch: textNotSwitched, OpSet: textNotSet, OpExit: textNotSet, OpNearest: textNotSet, OpPortal: textNotSet,
	OpAutostart: textNotSet, OpNetcheck: textNotChecked, OpOpen: textNotOpened,
}

// refused says why something was not done, and what to do. tried is what that was; OpNone: it needs no word.
func (d *drawer) refused(e *ipc.Error, tried Op) (words, fix string) {
	line := func(s string) string { return plain(strings.ReplaceAll(s, "\n", " "), maxText) }
	message := line(e.Message)
	if e.Reason == Said {
		return message, ""
	}
	pairs := []string{holeMessage, message, holeFix, line(e.Fix)}
	for i, a := range e.About {
		pairs = append(pairs, "{"+strconv.Itoa(i)+"}", plain(a, maxLong))
	}
	filled := strings.NewReplacer(pairs...)
	all := d.in.Language.refusals()
	if n, known := ipc.Reasons[e.Reason]; known && n == len(e.About) {
		r := all[e.Reason]
		return filled.Replace(r.text), filled.Replace(r.fix)
	}
	r, known := all[e.Code]
	if !known {
		r = refusal{holeMessage, holeFix}
	}
	words, fix = filled.Replace(r.text), filled.Replace(r.fix)
	if t, ok := attempts[tried]; ok && strings.Contains(r.text, holeMessage) {
		words = d.say(textAttempt, d.say(t), words)
	}
	return words, fix
}

// Failure says what went wrong, and what to do. tried is what a person had asked for.
func (l Language) Failure(e *ipc.Error, tried Op) string {
	d := drawer{in: &Input{Language: l}, texts: l.texts()}
	words, fix := d.refused(e, tried)
	return strings.TrimSpace(words + "\n" + fix)
}
