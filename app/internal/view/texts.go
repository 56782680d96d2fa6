package view

import (
	"slices"
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/ipc"
)

// Language is one that the tray speaks.
type Language string

// The languages. The zero Language is English.
const (
	English Language = "en"
	German  Language = "de"
	Chinese Language = "zh" // simplified characters
)

// Languages are all that there are.
var Languages = []Language{English, German, Chinese}

// Speak gives the language for a locale as the environment names it ("de_AT.UTF-8"), English where we do not speak it.
func Speak(locale string) Language {
	if i := strings.IndexAny(locale, "_-.@:"); i >= 0 {
		locale = locale[:i]
	}
	if l := Language(strings.ToLower(locale)); slices.Contains(Languages, l) {
		return l
	}
	return English
}

func (l Language) texts() *[texts]string {
	switch l {
	case German:
		return &german
	case Chinese:
		return &chinese
	}
	return &english
}

// text is one thing to say. The language files have its words, with {0}, {1} for what they are about.
type text int

// What is said.
const (
	textTooltip text = iota // {0}: how it stands
	textAsking
	textNotRunning
	textStartIt
	textNoEntry
	textVersions
	textRestartIt

	textConnected  // {0}: the network
	textConnecting // {0}: the network or server
	textDown
	textPending    // {0}: the server
	textNeedsLogin // {0}: the server
	textNoServer
	textOtherState // {0}: the daemon's word
	textProblem    // {0}: a sentence
	textDenied
	textDeniedFix

	textConnect
	textDisconnect
	textLogin
	textSetUp
	textNameServer
	textLoginWaits
	textLoginElsewhere // {0}: the code
	textLoginCancel

	textAccounts
	textAccount        // {0}: a profile
	textProfile        // {0}: its name, {1}: whose
	textProfileLogin   // {0}: its name
	textProfilePending // {0}: its name
	textMoreProfiles   // {0}: how many
	textRelogin
	textLogout

	textSelf     // {0}: name, {1}: address
	textMachines // {0}: online, {1}: all
	textNoMachines
	textNoName
	textMachine     // {0}: name, {1}: address, {2}: how it is reached
	textMachineBare // {0}: name, {1}: how it is reached
	textDirect
	textRelayed // {0}: the relay
	textIdle
	textOffline
	textMoreInWindow // {0}: how many
	textMoreInStatus // {0}: how many

	textPreferences
	textAcceptDNS
	textAutostart
	textOpen
	textAbout // {0}: the version
	textQuit

	textCopied       // {0}: what
	textCannotCopy   // {0}: what
	textNoBrowser    // {0}: the page
	textLoginExpired //
	textNoHost       //
	textStarted      // another one runs already

	// The window's.
	textTabMachines
	textTabProblems
	textTabAbout
	textAllWell
	textCopyAddress
	textCopyPage
	textFirstTitle
	textFirstText
	textFirstHint
	textFirstButton
	textWaitingText
	textWaitingElsewhere
	textSearch
	textPick
	textMachinesOff
	textAcceptDNSExplains
	textOfflineSince // {0}: how long
	textFactHow
	textFactEndpoint
	textFactWhy
	textFactAddress
	textFactName
	textFactUser
	textFactOS
	textFactTraffic
	textTraffic // {0}, {1}: amounts
	textFactHandshake
	textAgo // {0}: how long
	textFactServer
	textFactNetwork
	textFactExpires
	textFactRelay
	textVersionHere
	textVersionDaemon
	textAccountsTitle

	texts // how many there are
)

// say gives the words. What is put in is taken as it is: words of others go through short or long before.
func (d *drawer) say(t text, with ...string) string { return fill(d.texts[t], with) }

func fill(words string, with []string) string {
	if len(with) == 0 {
		return words
	}
	pairs := make([]string, 0, 2*len(with))
	for i, w := range with {
		pairs = append(pairs, "{"+strconv.Itoa(i)+"}", w)
	}
	return strings.NewReplacer(pairs...).Replace(words)
}

// count writes a number as the language does.
func (d *drawer) count(n int) string {
	mark := ","
	if d.in.Language == German {
		mark = "."
	}
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + mark + s[i:]
	}
	return s
}

// Copied says that a text is in the clipboard.
func (l Language) Copied(what string) string {
	return fill(l.texts()[textCopied], []string{long(what)})
}

// CannotCopy says that it is not, and why.
func (l Language) CannotCopy(what string) string {
	return fill(l.texts()[textCannotCopy], []string{long(what)})
}

// Failure says what went wrong, and what to do.
func (l Language) Failure(e *ipc.Error) string {
	d := drawer{in: &Input{Language: l}, texts: l.texts()}
	what := long(e.Message)
	if e.Code == ipc.CodeDenied {
		what = d.say(textDenied)
	}
	return strings.TrimSpace(strings.TrimPrefix(what, "⚠ ") + "\n" + d.failureFix(e))
}

// NoBrowser says that a login's page could not be opened.
func (l Language) NoBrowser(page string) string {
	return fill(l.texts()[textNoBrowser], []string{page})
}

// LoginExpired says that nobody logged in.
func (l Language) LoginExpired() string { return l.texts()[textLoginExpired] }

// NoHost says that this desktop shows no icons of programs.
func (l Language) NoHost() string { return l.texts()[textNoHost] }

// Started says that another tray runs already.
func (l Language) Started() string { return l.texts()[textStarted] }
