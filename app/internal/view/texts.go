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

	textConnected  // {0}: the network
	textConnecting // {0}: the network or server
	textDown
	textPending    // {0}: the server
	textNeedsLogin // {0}: the server
	textNoServer
	textOtherState // {0}: the daemon's word
	textProblem    // {0}: a sentence

	textConnect
	textDisconnect
	textLogin
	textSetUp
	textNameServer
	textLoginWaits
	textLoginElsewhere // {0}: the code
	textLoginCancel
	textAskingServer // {0}: the server
	textAskingExplains
	textAskingCancel

	// An order that failed.
	textAttempt // {0}: what it was, {1}: why
	textNotConnected
	textNotDisconnected
	textNotLoggedIn
	textNotJoined
	textNotLoggedOut
	textNotSwitched
	textNotSet
	textNotChecked
	textNotOpened
	textUnsafePage // {0}: why
	textNoAnswerYet

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
	textWaitingUnopened
	textWaitingElsewhere
	textSearch
	textPick
	textMachinesOff
	textMachinesLogin
	textMachinesPending
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

	// Exit nodes.
	textExitTitle // {0}: which one
	textExitNone
	textExitOff
	textExitNoneExplains
	textExitGone // {0}: its name
	textExitDown // {0}: its name
	textNoExits
	textExitsSilent
	textNearest
	textNearly // {0}: a latency, rounded
	textAllowLAN
	textAllowLANExplains
	textAdvertiseExit
	textAdvertiseExitExplains
	textLockdown
	textLockdownExplains
	textPortal
	textPortalUntil   // {0}: a time of day
	textWaitsForAdmin // {0}: a switch
	textExitsExplain
	textExitsShow
	textUseAsExit
	textStopExit

	// Preferences.
	textAcceptRoutes
	textAcceptRoutesExplains
	textSNAT
	textSNATExplains
	textRelayFor
	textRelayForExplains
	textRelayRate
	textRelayRateExplains
	textRelayRateHint
	textBadRate // {0}: what was typed
	textHostname
	textHostnameExplains
	textPort
	textPortExplains
	textPortHint
	textOfferRoutes
	textOfferRoutesExplains
	textBadPort    // {0}: what was typed
	textBadRoute   // {0}: what was typed
	textBadSetting // {0}: what was asked
	textAllSettings
	textAutostartExplains
	textSave

	// Accounts.
	textExtend // {0}: the key's end
	textExtendNow
	textAddAccount
	textJoinTitle
	textJoinText
	textStepPaste
	textStepLogin
	textStepDone
	textBack

	// Machines.
	textMoreMachines // {0}: how many
	textCopy         // {0}: what
	textPing
	textPinging
	textAnswered // {0}: a latency, {1}: the way
	textPinged   // {0}: a machine, {1}: the answer
	textShow
	textNobodyFound
	textFactVersion
	textFactRoutes
	textFactServes
	textFactExit
	textFactExitYes
	textFactSwitches
	textIn // {0}: a date, {1}: how long until then
	textChartLatency
	textChartTraffic
	textChartWay
	textChartEmpty
	textWayDirect // {0}: an address
	textWayNone
	textWayAt // {0}: when, {1}: the way, {2}: why

	// Why a path is as it is.
	textWhyNone
	textWhyRelayUp
	textWhyRelayDown
	textWhyProven
	textWhyLocal
	textWhyFaster
	textWhySilent
	textWhyLost
	textWhyRefused
	textWhyIdle
	textWhyNetwork
	textWhyRestarted
	textWhyCalled
	textWhyBecause // {0}: a reason
	textWhyDirect
	textWhyRelayed // {0}: the relay
	textWhyBlocked
	textWhyQuiet
	textWhyGone

	// What stands between two machines, and what could be changed.
	textObstacleBlocked
	textObstacleNothing
	textObstacleRelay
	textObstacleBothHard // {0}: textObstacleEither
	textObstacleSearching
	textObstacleSearched // {0}: textObstacleEither, {1}: how often
	textObstacleShared   // {1}: an address
	textObstacleSilent   // {0}: textObstacleEither
	textObstacleAway     // {1}: for how long
	textObstacleNever
	textObstacleEither

	// Problems.
	textCopyCommand
	textTroubleExpires // {0}: when
	textTroubleExpired
	textTroubleExitDown // {0}: its name
	textTroubleExitGone // {0}: its name
	textTroubleRemoved
	textTroubleDenied
	textTroubleNoRelay
	textTroubleUDP
	textTroubleCoord
	textTroubleUnapproved
	textTroubleUnaccepted
	textTroubleExpiresSoon
	textFixExtend
	textFixExpired
	textFixRemoved
	textFixDenied
	textFixUDP
	textTroublePort
	textFixPort
	textFixExit
	textTroubleExitHeld // {0}: its name
	textFixExitHeld
	textTroubleExitHalf
	textTroubleExitDNS
	textFixExitDNS
	textTroubleLockedOffer
	textFixLockedOffer
	textFixUnapproved
	textFixUnaccepted
	textTroubleRouteDown
	textFixRouteDown
	textTroubleRouteCut
	textFixRouteCut
	textTroubleShadow
	textTroubleConflict
	textFixConflict
	textTroubleDNSHost
	textFixDNSHost
	textTroubleDNSContested
	textFixDNSContested
	textTroubleDNSPort
	textFixDNSPort
	textTroubleUnfinished
	textFixUnfinished
	textTroubleDNSAdvice
	textFixDNSAdvice
	textTroubleBlocked
	textFixBlocked
	textTroubleLegacy
	textFixLegacy
	textTroubleHostRules
	textFixHostRules
	textTroubleRelayShut
	textFixRelayShut
	textTroubleFilter
	textFixFilter
	textTroubleLockdown
	textFixLockdown
	textTroubleRelaying
	textFixRelaying
	textTroubleStrict
	textFixStrict
	textTroubleHost

	// The network's page.
	textTabExits
	textTabNetwork
	textNetworkTitle
	textNetworkOff
	textNetworkShow
	textRelaysTitle
	textEndpointsTitle
	textEndpointLocal
	textEndpointPublic
	textUDPWorks
	textUDPBlocked
	textNotKnown
	textNoNAT  // {0}: an address
	textSeenAs // {0}: an address
	textOnlyLocal
	textNoFamily
	textCoordUp
	textCoordDown
	textRelayUp
	textNoAnswer
	textOverTLS   // {0}: a latency
	textHomeRelay // {0}: a latency
	textVerdictBlocked
	textVerdictQuiet
	textVerdictCount // {0}: direct, {1}: all

	// A check of the network.
	textCheckNow
	textChecking
	textCheckedAt // {0}: a time of day
	textTilePorts
	textTilePortal
	textNATNone
	textNATEasy
	textNATHard
	textPortsBy // {0}: protocols
	textPortsNone
	textPortalFound // {0}: a host
	textPortalNone
	textVerdictPortal
	textVerdictOpen
	textVerdictEasy
	textVerdictHard
	textVerdictFirewall
	textVerdictSome
	textVerdictUnasked
	textVerdictOffline
	textFactMTU
	textBytesLong // {0}: a number
	textAdvicePortal
	textAdviceBlocked
	textAdviceOffline
	textAdviceMapping
	textAdviceMTU   // {1}: bytes
	textAdviceSmall // {1}: bytes, {2}: bytes
	textFactFiltering
	textFactMapping
	textBehaviorNone
	textBehaviorIndependent
	textBehaviorAddress
	textBehaviorPort
	textBehaviorAddressOrLess
	textBehaviorAddressOrMore

	// Access rules.
	textFactAccess
	textAccessAll
	textAccessShields
	textAccessNone
	textAccessSome // {0}: services
	textShields
	textShieldsExplains

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

// NoBrowser says that a login's page could not be opened.
func (l Language) NoBrowser(page string) *ipc.Error {
	return l.said(ipc.CodeLogin, textNoBrowser, page)
}

// UnsafePage says that a login's page is none that may be opened.
func (l Language) UnsafePage(why error) *ipc.Error {
	return l.said(ipc.CodeLogin, textUnsafePage, bare(why.Error(), maxText))
}

// LoginExpired says that nobody logged in.
func (l Language) LoginExpired() *ipc.Error { return l.said(ipc.CodeLogin, textLoginExpired) }

// NoAnswer says that the daemon took too long.
func (l Language) NoAnswer() *ipc.Error { return l.said(ipc.CodeTimeout, textNoAnswerYet) }

// NoNearest says that there is no exit node to choose from, or that none of them answers.
func (l Language) NoNearest(silent bool) *ipc.Error {
	if silent {
		return l.said(ipc.CodeNoExit, textExitsSilent)
	}
	return l.said(ipc.CodeNoExit, textNoExits)
}

// said is a refusal of the tray's own, in the person's language.
func (l Language) said(code string, t text, with ...string) *ipc.Error {
	return &ipc.Error{Code: code, Reason: Said, Message: fill(l.texts()[t], with)}
}

// NoHost says that this desktop shows no icons of programs.
func (l Language) NoHost() string { return l.texts()[textNoHost] }

// Started says that another tray runs already.
func (l Language) Started() string { return l.texts()[textStarted] }

// Opens says that a click shows the window.
func (l Language) Opens() string { return l.texts()[textOpen] }

// Pinged says what came of a ping, for who is not looking at the machine.
func (l Language) Pinged(name string, a Answer) string {
	return fill(l.texts()[textPinged], []string{short(name), l.Answer(a)})
}
