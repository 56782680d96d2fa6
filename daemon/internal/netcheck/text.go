package netcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/warren-mesh/warren/ipc"
)

// What people read.
const (
	textBlocked  = "a network that lets no UDP through: every connection goes through a relay"
	textPortal   = "a network that wants its page passed first"
	textOffline  = "no way to the internet: no relay answers, neither over UDP nor over TCP"
	textNoAnswer = "unknown: no relay could be asked"
	textPublic   = "no NAT"
	textFirewall = "no NAT, but a firewall that lets in answers only"
	textEasy     = "an easy NAT: direct connections work with nearly everyone"
	textHard     = "a hard NAT: each destination gets a port of its own"
	textSome     = "a NAT of a kind that could not be told"
	textOpen     = "an open NAT: anyone may answer its ports"

	textEither = "What helps on either side: port mapping in the router (UPnP-IGD, NAT-PMP, PCP); IPv6 on both; or a fixed port " +
		"(sudo warren set --port 41641), and UDP 41641 forwarded to the machine and let in by its firewall. " +
		"warren netcheck shows what each network does."
	textAway = "It may be switched off, asleep, or cut off from its network."
)

// advices are the sentences of ipc.Advices.
var advices = map[string]string{
	ipc.AdviceUDP:        "Let UDP out in the network's firewall: then direct connections become possible.",
	ipc.AdvicePortal:     "Open http://%s/ in a browser and sign in to the network. With an exit node or lockdown: warren exit-node portal",
	ipc.AdvicePortalPage: "Sign in to the network in a browser. With an exit node or lockdown: warren exit-node portal",
	ipc.AdviceNoInternet: "See that this machine's cable or Wi-Fi works. If it does, the relays are down, or a firewall keeps them off: " +
		"their ports must be let out, usually UDP 3478 and TCP 443.",
	ipc.AdviceMapping: "Switch on port mapping in the router (UPnP-IGD, NAT-PMP or PCP), or forward the UDP port of 'warren set --port' to this machine: " +
		"then machines behind hard NATs reach it directly as well.",
	ipc.AdviceMTU:       "Only packets of up to %s bytes reach the relay: a tunnel or a router on the way takes its part. Connections work, but a larger MTU would make them faster.",
	ipc.AdviceMTUDirect: "Only packets of up to %s bytes reach the relay, and a direct connection needs %s: without a larger MTU on this machine's way out, all connections are relayed.",

	ipc.AdviceUDPBlocked: "This machine's network lets no UDP through. Let UDP out in its firewall.",
	ipc.AdviceNoAddress:  "The other machine has said no address at which it could be reached: it is offline, or its relay is.",
	ipc.AdviceNoRelay:    "No relay is connected that the other machine could be called through. See: warren status",
	ipc.AdviceBothHard:   "Both machines are behind NATs that give each destination a port of its own, and neither can guess the other's. " + textEither,
	ipc.AdviceSearching:  "One side's NAT gives each destination a port of its own: ports are being searched for, which takes some seconds.",
	ipc.AdviceSearched:   "One side's NAT gives each destination a port of its own, and no port was found in %s searches. " + textEither,
	ipc.AdviceSameAddress: "Both machines have the same address on the internet (%s): they are behind one router, of a home or of a provider, that leads no packets " +
		"from its inside back to its inside (hairpinning). And inside they do not reach each other: each has a home router of its own, or guests' Wi-Fi " +
		"keeps them apart, or a firewall on one of them drops UDP. A forwarded port does not help here. What helps: IPv6 on both; or, where that router is " +
		"yours, hairpinning (NAT loopback) there, or no isolation of its clients.",
	ipc.AdviceNoAnswer:      "The other machine does not answer, through its relay neither, and nothing came from it for %s. " + textAway,
	ipc.AdviceNeverAnswered: "The other machine does not answer, through its relay neither, and nothing came from it since the daemon here was started. " + textAway,
	ipc.AdviceSilent:        "None of the other machine's addresses answers: a firewall on its side or on this one drops UDP between the two. " + textEither,
}

// advise gives a code and what it is about its sentence.
func advise(code string, about ...any) []ipc.Advice {
	a := ipc.Advice{Code: code}
	for i, word := range about {
		about[i] = fmt.Sprint(word)
		a.About = append(a.About, fmt.Sprint(word))
	}
	a.Text = fmt.Sprintf(advices[code], about...)
	return []ipc.Advice{a}
}

// usualMTU is Ethernet's; with PPPoE, 1492, nothing is wrong.
const usualMTU = 1500

// What a direct path must carry: packets of 1,280 bytes inside the tunnel, and 60 or 80 of WireGuard, UDP and IP around them.
const (
	directMTU4 = 1340
	directMTU6 = 1360
)

// kind says what the machine is behind, by IPv4 where there is that.
func kind(r *ipc.Netcheck) string {
	f := r.IPv4
	if f.UDP != ipc.Yes {
		f = r.IPv6
	}
	filtered := f.Filtering == ipc.PortDependent || f.Filtering == ipc.AddressOrMore || f.Filtering == ipc.AddressDependent
	switch {
	case r.Portal.Found == ipc.Yes:
		return textPortal
	case offline(r):
		return textOffline
	case r.UDP == ipc.No:
		return textBlocked
	case r.UDP != ipc.Yes:
		return textNoAnswer
	case f.NAT == ipc.No && filtered:
		return textFirewall
	case f.NAT == ipc.No:
		return textPublic
	case hard(f.Mapping):
		return textHard
	case f.Mapping == ipc.BehaviorUnknown:
		return textSome
	case f.Filtering == ipc.AddressOrLess || f.Filtering == ipc.Independent:
		return textOpen
	}
	return textEasy
}

// offline reports whether nothing answers at all, so that more is amiss than UDP.
func offline(r *ipc.Netcheck) bool {
	return r.UDP != ipc.Yes && len(r.Relays) > 0 && !slices.ContainsFunc(r.Relays, func(is ipc.NetcheckRelay) bool { return is.TCP > 0 })
}

func hard(b ipc.Behavior) bool {
	return b == ipc.PortDependent || b == ipc.AddressDependent || b == ipc.AddressOrMore
}

// advice says what a person could change, the gravest first.
func advice(r *ipc.Netcheck) []ipc.Advice {
	switch {
	case r.Portal.Found == ipc.Yes && r.Portal.Server != "":
		return advise(ipc.AdvicePortal, r.Portal.Server)
	case r.Portal.Found == ipc.Yes:
		return advise(ipc.AdvicePortalPage)
	case offline(r):
		return advise(ipc.AdviceNoInternet)
	case r.UDP == ipc.No:
		return advise(ipc.AdviceUDP)
	}
	var out []ipc.Advice
	mapped := slices.ContainsFunc(r.Mapping, func(p ipc.NetcheckPort) bool { return p.Answers == ipc.Yes })
	if hard(r.IPv4.Mapping) && !mapped && r.IPv6.UDP != ipc.Yes {
		out = advise(ipc.AdviceMapping)
	}
	return append(out, adviceOnSize(r)...)
}

// adviceOnSize is about networks that carry small packets only. One version that carries enough is enough.
func adviceOnSize(r *ipc.Netcheck) []ipc.Advice {
	four, six := r.IPv4.PathMTU, r.IPv6.PathMTU
	switch small4, small6 := four > 0 && four < directMTU4, six > 0 && six < directMTU6; {
	case small4 && six < directMTU6:
		return advise(ipc.AdviceMTUDirect, four, directMTU4)
	case small6 && four == 0:
		return advise(ipc.AdviceMTUDirect, six, directMTU6)
	}
	for _, mtu := range []int{four, six} {
		if mtu > 0 && mtu < usualMTU-20 {
			return advise(ipc.AdviceMTU, mtu)
		}
	}
	return nil
}

// Pair is what is known of two machines without a direct path.
type Pair struct {
	Blocked           bool // no relay answers this machine over UDP
	OwnHard, PeerHard bool // the NAT gives each destination a port of its own
	Mapped            bool // the router leads a port here
	Relayed           bool // the peer can be called
	Tried             bool // the peer has addresses
	Searches          int  // for ports, that found nothing
	Searching         bool
	Shared            netip.Addr // the address that both have on the internet; not valid: they have not
}

// Silent says that the other machine does not answer, by any way.
func Silent(heard, now time.Time) []ipc.Advice {
	if heard.IsZero() {
		return advise(ipc.AdviceNeverAnswered)
	}
	return advise(ipc.AdviceNoAnswer, now.Sub(heard).Round(time.Second))
}

// Obstacles says what stands between the two, and what a person could change.
func Obstacles(p Pair) []ipc.Advice {
	switch {
	case p.Blocked && p.Relayed: // otherwise nothing at all may get through
		return advise(ipc.AdviceUDPBlocked)
	case !p.Tried:
		return advise(ipc.AdviceNoAddress)
	case !p.Relayed:
		return advise(ipc.AdviceNoRelay)
	case p.Searching:
		return advise(ipc.AdviceSearching)
	case p.Shared.IsValid():
		return advise(ipc.AdviceSameAddress, p.Shared)
	case p.OwnHard && p.PeerHard && !p.Mapped:
		return advise(ipc.AdviceBothHard)
	case p.Searches > 0:
		return advise(ipc.AdviceSearched, p.Searches)
	}
	return advise(ipc.AdviceSilent)
}
