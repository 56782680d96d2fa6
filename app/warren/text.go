package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// All that people read stands here, but for what the daemon says, the exit codes (exit.go), and the other text_*.go.
const (
	textShort = "Join this machine to your private network"
	textLong  = `Warren joins your machines into one private network: every pair talks over WireGuard, directly where any
path exists and through a relay where none does.

Start with:  warren up https://warren.example.org`
	textGroupNetwork = "Be on the network:"
	textGroupSee     = "See the network:"

	textFlagSocket = "where warrend listens; the variable WARREN_SOCKET does the same"
	textFlagHelp   = "say what this does"
	textFlagJSON   = "print JSON, for programs"

	// mistakes in the command line
	textAcceptOnly = "--accept-routes takes true or false, and no subnets: all that an admin has approved are used, but those that this machine is on itself"
	textSetWord    = "%q belongs to no flag; a value follows its flag with =, as in: warren set --lockdown=false"

	// up, login
	textShortUp = "Connect, and log in where it is needed"
	textLongUp  = `Up connects this machine to its network. The first time, name your coordination server, or give the invite link
that you got; later "warren up" alone is enough.

Only what you name changes. Everything else stays as it was: nothing has to be said twice.

If the machine has to be logged in, up shows an address to open in a browser, here or on another device, and waits.
With a pre-auth key it needs nobody:

  warren up https://warren.example.org --auth-key file:/root/warren.key
  cat warren.key | warren up https://warren.example.org --auth-key -`
	textShortLogin = "Log in again, to extend the key, or log in somewhere else"
	textLongLogin  = `Login does as up does, but asks for a login even if the one that this machine has still holds: that extends its key.
Until it succeeds all stays as it was, and no connection breaks.

At another server, or with a --profile of a new name, it adds a login; "warren switch" goes back and forth:

  warren login https://warren.example.org
  warren login --profile work`
	textFlagLoginServer = "the coordination server, as other programs call it; the same as SERVER"
	textFlagServerKey   = "the server's identity (server:…), for a server whose address alone cannot be trusted"
	textFlagAuthKey     = "log in with a pre-auth key: file:PATH, or - for standard input"
	textFlagHostname    = "this machine's name on the network; empty: the system's"
	textFlagPort        = "UDP port (needs root); 0: a random one, which is remembered"
	textFlagProfile     = "the login of that name (see warren switch); a new name makes another, at SERVER or at the server in use"
	textFlagNoBrowser   = "show the login's address, but open no browser"
	textFlagQR          = "show the login's address as a QR code too: by default where no browser opens and the terminal is wide enough"
	textFlagUpJSON      = "print JSON, for programs: a line with .login.url and .login.code if a person is needed, and one at the end"
	textQRNarrow        = "The terminal is too narrow for a QR code: it needs %d columns."
	textFlagTimeout     = "how long to wait for the network after the login"
	textTwoServers      = "two servers are named; name one"
	textRawAuthKey      = `a key in a command line can be read by every user of this machine, so --auth-key does not take one.
Put it into a file, and give --auth-key file:PATH; or give --auth-key - and write it to standard input`
	textBadAuthKey   = "what was read is no auth key: it must be one line of letters, digits and signs"
	textInterrupted  = "stopped"
	textLoginStopped = "stopped: this machine was not logged in, and that address is void"
	textPending      = `Waiting for an admin's approval at %s. This machine connects by itself then, also if you stop here (Ctrl-C).`
	textNotApproved  = "no admin has approved this machine yet; it connects by itself when one does.\n  See how it stands: warren status"
	textNeedsLogin   = "this machine is not logged in any more.\n  Log in: warren login"
	textLoginExpired = "nobody logged in in time. Run it again for a new address"

	textLoginOpened = `Your browser shows a page to log this machine in. If it does not, open:

    %s
`
	textLoginHere = `To log this machine in, open in a browser on it:

    %s
`
	textLoginElsewhere = `Or open on any other device:

    %s

or go to %s and type there the code:  %s
`
	textLoginHeld = `This machine's own browser reaches no page now: %s.
First let it, for five minutes: warren exit-node portal
`
	textHeldExit     = "what was to go through the exit node goes nowhere"
	textHeldLockdown = "lockdown is on"
	textLoginWaiting = "Waiting until %s. Ctrl-C stops."

	// down, logout, set
	textShortDown    = "Disconnect, and stay logged in"
	textLongDown     = `Down takes this machine off its network. It stays logged in: "warren up" connects again at once.`
	textDisconnected = `Disconnected. "warren up" connects again.`
	textShortLogout  = "Disconnect, and give the login up"
	textLongLogout   = `Logout takes this machine off its network and out of it: its key is given up, and "warren up" needs a login. Other
logins that the machine has stay: see "warren switch".`
	textLoggedOut = `Logged out. "warren up" logs in again.`
	textShortSet  = "Change a setting"
	textLongSet   = `Set changes what you name, at once, and nothing else. An empty value goes back to the default.

  warren set --hostname den
  sudo warren set --port 41641
  sudo warren set --advertise-exit-node --advertise-routes=10.0.0.0/24
  sudo warren set --accept-routes`
	textFlagAcceptDNS   = "let this host's programs find machines by name; false leaves the host's DNS as it is"
	textSetNothing      = "name what to change, such as --hostname NAME"
	textFlagProfileName = "another name for the login in use"

	// exit nodes and subnets
	textShortExitNode = "Send all that goes to the internet through another machine"
	textLongExitNode  = `An exit node is a machine of your network through which this one reaches the internet: others see its address.

  warren exit-node list
  warren exit-node use den
  warren exit-node off
  warren exit-node portal

While one is used, everything goes through it but the LAN, which is left out unless you allow it (--allow-lan), IPv4 and
IPv6 alike, and so does what asks for names. If it stops answering, nothing goes around it: "warren status" says so, and you
decide. To offer this machine as one: sudo warren set --advertise-exit-node`
	textShortExitList = "List the machines that can be used as exit node"
	textLongExitList  = "List shows the machines that offer to be an exit node, and that an admin has approved; * marks the one in use."
	textShortExitUse  = "Use a machine as exit node"
	textLongExitUse   = `Use sends all that goes to the internet through the machine that you name. Of several, the first one that answers is used;
the next one takes over when it does not, and it is gone back to when it has answered for half a minute again.`
	textShortExitOff     = "Use no exit node"
	textLongExitOff      = "Off has this machine reach the internet by itself again."
	textShortExitSuggest = "Find the exit node that is nearest"
	textLongExitSuggest  = "Suggest asks the exit nodes for an answer and names the nearest: one that is reached directly before one behind a relay."
	textExitHeader       = "  NAME\tADDRESS\tCONNECTION"
	textNoExits          = "no machine of your network can be used as exit node.\n  Offer one there: sudo warren set --advertise-exit-node; then an admin approves it"
	textNoExitAnswers    = "no exit node answers"
	textSuggested        = "Use it: warren exit-node use %s"
	textExitWhich        = "name a machine; warren exit-node off uses none"
	textExitOff          = "Exit node: none, this machine reaches the internet by itself"
	textShields          = "Shields: up, nothing comes in from the network but answers"
	textLockdown         = "Lockdown: nothing leaves this host but through the network"
	textBadRoute         = "%q is no subnet; write it as 10.0.0.0/24 or 2001:db8:1::/64"
	textRouteBits        = "%s has bits below its mask; is %s meant?"

	textShortPortal = "Reach this place's network directly for a while, to sign in to it"
	textLongPortal  = `Portal is for a hotel's or a train's page that wants you to sign in before it lets anything through. For a few minutes,
packets leave past the exit node and the lockdown, of all programs; then the way is shut again by itself, also if warrend
has died meanwhile.

  warren exit-node portal
  warren exit-node portal --for 2m
  warren exit-node portal --close`
	textFlagPortalFor   = "for how long, 30m at the most"
	textFlagPortalClose = "shut the way again now"
	textPortalFor       = "name either for how long, as --for 5m, or --close"
	textPortalOpened    = "Open for %s: sign in to the network now. Earlier: warren exit-node portal --close"
	textPortalClosed    = "Closed: packets leave by exit node and lockdown again"
	textPortalOpen      = "Portal: open for %s more, packets leave past exit node and lockdown"

	textFlagExitNode        = "machine to reach the internet through, by name or address, or several in order (den,fra); empty: none"
	textFlagAllowLAN        = "reach private addresses of the LAN directly while an exit node is used"
	textFlagAcceptRoutes    = "reach subnets behind other machines through them (needs root); the LAN that this machine is on always wins"
	textFlagAdvertiseRoutes = "subnets that others may reach through this machine (10.0.0.0/24,...), once an admin approves (needs root); empty: none"
	textFlagAdvertiseExit   = "let others reach the internet through this machine, once an admin approves (needs root)"
	textFlagSNAT            = "packets to the subnets offered come from this machine; false: they keep their source (needs root)"
	textFlagShields         = "let nothing come in from the network but answers, whatever its access rules say (needs root)"
	textFlagRelay           = "let others relay what they have sealed through this machine, once an admin allows it (needs root)"
	textFlagRelayRate       = "the most that others may relay through this machine, all together; 0 is no bound (needs root)"
	textRelays              = "Relays for others"
	textRelaysAt            = ", at most %s"
	textRelayed             = "Relayed so far: %s; machines connected now: %d"
	textRelayLimited        = "; %d packets dropped, as there were more than that"
	textRelaysNot           = "Offers to relay for others (waits for an admin's approval)"
	textFlagLockdown        = "let nothing leave this host but through the network, also while warrend does not run (needs root)"

	// switch
	textShortSwitch = "Use another of this machine's logins"
	textLongSwitch  = `A machine can have several logins, to several accounts and servers, and is on the network of one at a time. Switch goes
over to the one that you name (by its name or ID); the old network's addresses and routes are gone before the new one's
come. It stays connected, or switched off, as it was.

"warren login SERVER" adds a login, "warren logout" removes the one in use, "warren set --profile-name" renames it.`
	textFlagList       = "list the logins"
	textSwitchWhat     = "name one login, or give --list"
	textSwitched       = "Switched to %s at %s."
	textSwitchedOff    = `It is switched off. "warren up" connects.`
	textNoProfiles     = "This machine has no login yet. Log in: warren up https://warren.example.org"
	textProfileHeader  = "  NAME\tACCOUNT\tNETWORK\tSERVER\tID"
	textProfileLogin   = "needs a login"
	textProfilePending = "waits for approval"

	// ping, ip, version
	textShortWhy = "Say which way packets to a machine take, and which access rule lets it in"
	textLongWhy  = `Why says how this machine and another one of your network may talk: the way that packets take between the two,
which addresses were tried for a direct one, with what result, and what could be changed where there is none; and what
the network's access rules say of what comes in from there. With a port (22 is TCP's; udp:53, icmp) it names the rule
that lets it in, or says that none does, and which would be nearest.

Where no direct way is found, the machine is asked once more through its relay. If it does not answer there either, why says
for how long nothing came from it. With --json, "advised" has stable codes beside the sentences.

What this machine may reach there is decided there, and only that machine and the network's admins know it.`
	textWhyWay          = "Way to %s: %s"
	textWhyIdle         = "idle: the way is looked for when there are packets"
	textWhyOffline      = "offline, as the coordination server last saw it"
	textWhyMTU          = ", packets of up to %d bytes"
	textWhyAnswers      = "answers in %s"
	textWhySilent       = "does not answer"
	textWhyUntried      = "not tried yet"
	textWhyShields      = "Nothing comes in to this machine: its shields are up (sudo warren set --shields-up=false lowers them)."
	textWhyNoRules      = "The network has no access rules: whatever its machines send to this one comes in."
	textWhyAllowed      = "%s from %s comes in, by this rule:"
	textWhyAllows       = "From %s comes in what these rules allow:"
	textWhyDenied       = "No access rule lets %s from %s in."
	textWhyOtherService = "is the nearest rule: it is for %s, but for other services."
	textWhyOtherSource  = "is the nearest rule: it allows that, but %s is none of those that it is for."
	textWhyRoute        = "Through this machine it may reach %s: %s"
	textWhyOut          = "What this machine may reach there, only %[1]s itself knows. Ask there: warren why THIS-MACHINE%[2]s. Or ask an admin of the network."
	textDropped         = "Kept out: %s (warren why NAME PORT says what is let in)"
	textDropNoRule      = "packets that no access rule lets in"
	textDropSpoofed     = "with forged sources"
	textDropUnasked     = "errors about nothing that was sent"
	textDropRevoked     = "answers to what is allowed no more"

	textShortPing = "Ask a machine for an answer, and see the way it takes"
	textLongPing  = `Ping asks a machine of your network, by its name or address, whether it is there, and says how long the answer
took and which way it came: directly, or through a relay.

It stops at the first answer that came directly, or after -c pings. A machine that cannot be reached directly still
is a success, as long as it answers; with --until-direct named, it is not.`
	textFlagCount       = "stop after this many; 0: never"
	textFlagPingTimeout = "how long to wait for each answer, 30s at the most"
	textFlagInterval    = "pause between two"
	textFlagUntilDirect = "stop at the first answer that came directly"
	textPingBounds      = "-c must not be negative, --timeout must be above 0 and 30s at the most, -i must not be negative"
	textPong            = "pong from %s (%s) via %s in %s"
	textNoPong          = "no answer from %s in %s"
	textNotDirect       = "There is no direct path (yet): packets go through the relay.\n  See why: warren why %s"

	textShortNetcheck = "See what the network that this machine is on lets through"
	textLongNetcheck  = `Netcheck finds out, in a few seconds, what stands between this machine and the internet, and so which connections
can be direct: whether UDP passes, over IPv4 and IPv6; what the NAT does, in the words of RFC 4787; whether the router gives out ports;
whether a page has to be passed first (a captive portal); how far each relay is; and how large packets may be.

What one relay cannot show is "unknown": the kind of a NAT shows only where the relay's second port (its UDP port and one: 3479) is open
as well.`
	textNetcheckBusy  = "checking (a few seconds)..."
	textNoRelayAnswer = "no answer"

	textShortIP = "Print the addresses of this machine, or of another"
	textLongIP  = `Ip prints a machine's addresses on your network, IPv4 first, a line each: this machine's, or those of the one
named (by name or address).`
	textFlag4      = "IPv4 only"
	textFlag6      = "IPv6 only"
	textFlag1      = "only the first"
	textFlag46     = "-4 and -6 exclude each other"
	textNoAddr     = "this machine has no address yet: it is not on its network.\n  Connect: warren up"
	textNoSuchAddr = "it has no such address"
	textNoPeer     = "no machine of your network is called so.\n  See them: warren status"

	textShortDNS = "Show how names are found, and find one"
	textLongDNS  = `Dns shows how this host's programs find your machines by name, and looks names up as they do.

  warren dns status
  warren dns query den`
	textShortDNSStatus = "Show how this host's programs find names"
	textLongDNSStatus  = `Status shows what makes this host's programs ask for your network's names here (systemd-resolved, NetworkManager,
resolvconf, or a marked block in /etc/resolv.conf), why that was chosen, and who is asked for all other names.

To leave the host's DNS as it is: warren set --accept-dns=false`
	textShortDNSQuery = "Look a name up, as this host's programs do"
	textLongDNSQuery  = `Query looks a name up and says who answered: your network, the cache, or a nameserver. An address is looked up for its
name. It ends with code 1 where there is no such name or no answer.`
	textFlagType  = "type of the records, such as AAAA, MX or TXT; A if not given, PTR for an address"
	textNoDNS     = "this machine is not on its network: its names are not resolved.\n  Connect: warren up"
	textNoName    = "there is no name %s"
	textNoAnswer  = "no answer: %s"
	textNoRecords = "%s has no record of type %s"

	textShortVersion     = "Print the versions of this program and of warrend"
	textLongVersion      = "Version prints the version of this program and of the warrend that runs."
	textDaemonNotRunning = "warrend is not running"
	textDaemonUnknown    = "warrend does not say"
	textVersionsDiffer   = "They differ. Restart the daemon: sudo systemctl restart warrend"

	textShortExitCodes = "What the exit codes mean"
	textExitCodes      = "The exit codes are stable; scripts may count on them.\n\n"

	// status
	textShortStatus = "Show this machine, the others, and how they are reached"
	textLongStatus  = `Status shows how this machine stands and, for each other machine, how packets reach it: directly ("direct
203.0.113.7:41641, 12 ms"), through a relay ("relay fra, 30 ms"), not lately ("idle"), or not at all ("offline, 3 h").

It ends with code 0 if this machine is on its network and 5 if not; with --json always with 0, since the JSON says it.

The JSON's fields are stable: some may be added, none is renamed or removed. Lists are never null, times are RFC 3339,
latencies are milliseconds. The ones most used:

  .state                          "running", "starting", "down", "needs-login", "pending" or "no-server"
  .profile                        the login in use
  .self.name .self.addrs[]        this machine
  .peers[].name .addrs[] .os      another machine
  .peers[].online .lastSeen       as the coordination server last said
  .peers[].path.kind              "direct", "relay" or "none"
  .peers[].path.endpoint          where it is reached, if directly
  .peers[].path.relay             the relay's name, if through one
  .peers[].path.latency           round trip; left out where it is not known
  .peers[].lastHandshake          of WireGuard
  .peers[].rxBytes .txBytes       since the daemon started
  .exit.name .exit.up             the exit node in use; .exit is left out where none is wanted
  .lockdown .portal               nothing leaves but through the network; until when it does, to sign in to a network
  .self.offers[].route .approved  what this machine leads others to; .cut: it does not reach that itself now
  .self.relaying.bytes .limited   relayed for others; packets of theirs dropped for its rate
  .peers[].exitOption .exit       can be used as exit node; is the one in use
  .peers[].routes[] .serves[]     subnets behind it; those that this machine reaches through it
  .coord.connected .coord.error   the coordination server
  .problems[].code .text .fix     what is wrong and what to do
  .problems[].level               "urgent", "notice", or left out for what lies between

  warren status --json | jq -r '.peers[] | select(.online) | .name'`
	textFlagWatch  = "show every change, until Ctrl-C"
	textFlagPeers  = "show the other machines"
	textFlagActive = "show only machines that packets are exchanged with"
	textPeerHeader = "NAME\tADDRESS\tOS\tCONNECTION\tRECEIVED\tSENT"
	textPeerGone   = "%s: removed from the network"
)

// connected says what up has reached.
func connected(s *ipc.Status) string {
	online, own := 0, true
	for i := range s.Peers {
		if s.Peers[i].Online {
			online++
			own = own && s.Peers[i].User == s.Self.User
		}
	}
	machines := "machines"
	if online == 1 {
		machines = "machine"
	}
	if own && s.Self.User != "" {
		machines += " of yours"
	}
	others := fmt.Sprintf("%d %s are online.", online, machines)
	switch online {
	case 0:
		others = "No other machine is online yet."
	case 1:
		others = fmt.Sprintf("1 %s is online.", machines)
	}
	addr := ""
	if len(s.Self.Addrs) > 0 {
		addr = " (" + s.Self.Addrs[0].String() + ")"
	}
	return "Connected as " + say.Line(s.Self.Name) + addr + ". " + others
}

// notConnected says how far up came. s is nil if nothing was heard.
func notConnected(s *ipc.Status) string {
	text := "not connected yet; warrend keeps trying"
	if s == nil {
		return text + "\n  See how it stands: warren status"
	}
	if lost := coordLost(s); lost != "" {
		text += "\n  ! " + lost
	}
	for _, p := range s.Problems {
		text += "\n  ! " + say.Line(p.Text)
		if p.Fix != "" {
			text += "\n    " + say.Line(p.Fix)
		}
	}
	return text + "\n  See how it stands: warren status"
}

// dismissed says why the machine is no member any more.
func dismissed(s *ipc.Status) string {
	for _, p := range s.Problems {
		return say.Line(p.Text) + "\n  " + say.Line(p.Fix)
	}
	return textNeedsLogin
}

// stateLine says how this machine stands, and what to do about it.
func stateLine(s *ipc.Status) string {
	server := say.Line(s.Server)
	switch s.State {
	case ipc.StateRunning:
		if s.Network.Name != "" {
			return "Connected to " + say.Line(s.Network.Name) + " at " + server
		}
		return "Connected to " + server
	case ipc.StateStarting:
		return "Connecting to " + server
	case ipc.StateDown:
		return "Switched off. Connect: warren up"
	case ipc.StatePending:
		return "Waiting for an admin's approval at " + server + ". This machine connects by itself then."
	case ipc.StateNeedsLogin:
		return "Not logged in to " + server + ". Log in: warren up"
	case ipc.StateNoServer:
		return "No coordination server is known. Name yours: warren up https://warren.example.org"
	default: // of a later daemon
		return "State: " + say.Line(string(s.State))
	}
}

// coordLost says that the coordination server cannot be reached, and what that means; or nothing, where it can, or
// where the daemon's problems say it already.
func coordLost(s *ipc.Status) string {
	said := func(p ipc.Problem) bool { return p.Code == ipc.ProblemCoord }
	if s.Coord.Connected || slices.ContainsFunc(s.Problems, said) {
		return ""
	}
	why := ""
	if s.Coord.Error != "" {
		why = " (" + say.Line(s.Coord.Error) + ")"
	}
	return "The coordination server cannot be reached" + why + ". What is connected stays connected."
}

// dnsLines say how names are found.
func dnsLines(d *ipc.DNS) []string {
	mode := map[string]string{
		"resolved": "systemd-resolved", "network-manager": "NetworkManager", "resolvconf": "resolvconf", "resolv.conf": "/etc/resolv.conf",
		"off": "off: this host's programs do not ask here",
	}
	how, also := strings.CutSuffix(d.Mode, "+resolved")
	if mode[how] != "" {
		how = mode[how]
	}
	if also {
		how += " and systemd-resolved"
	}
	lines := []string{"Mode: " + say.Line(how), "Because: " + say.Line(d.Reason)}
	if d.Advice != "" {
		lines = append(lines, "Better: "+say.Line(d.Advice))
	}
	if len(d.Resolver) > 0 {
		addrs := make([]string, len(d.Resolver))
		for i, a := range d.Resolver {
			addrs[i] = a.String()
		}
		lines = append(lines, fmt.Sprintf("Answers at: %s (%d names)", strings.Join(addrs, ", "), d.Names))
	}
	if d.Contested > 0 {
		lines = append(lines, fmt.Sprintf("Set again after another program changed it: %d times", d.Contested))
	}
	for _, l := range []struct {
		title string
		names []string
	}{{"Bare names are tried in: ", d.Search}, {"Domains asked here too: ", d.Domains}} {
		if len(l.names) > 0 {
			lines = append(lines, l.title+say.Line(strings.Join(l.names, ", ")))
		}
	}
	for _, u := range d.Upstreams {
		domain := "Names in " + say.Line(u.Domain)
		if u.Domain == "" {
			domain = "All other names"
		}
		servers := say.Line(strings.Join(u.Servers, ", "))
		if servers == "" {
			servers = "nobody is known who could be asked"
		}
		if u.Host {
			servers += " (this host's own)"
		}
		lines = append(lines, domain+": "+servers)
	}
	return lines
}
