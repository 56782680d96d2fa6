package ipc

// Advice is what a person could change about a network, or what keeps two machines from a direct path.
type Advice struct {
	Code  string   `json:"code"`            // one of Advices, stable, for programs
	About []string `json:"about,omitempty"` // numbers and addresses that Text names, as the code says
	Text  string   `json:"text"`            // English, and may name commands
}

// What a Netcheck advises. Behind each is what Advice.About holds, in this order.
const (
	AdviceUDP        = "let-udp-out"    //
	AdvicePortal     = "portal"         // the host of the page to sign in at
	AdvicePortalPage = "portal-unnamed" //
	AdviceNoInternet = "no-internet"    //
	AdviceMapping    = "port-mapping"   //
	AdviceMTU        = "small-mtu"      // bytes of the largest packets
	AdviceMTUDirect  = "mtu-relays"     // the same, bytes that a direct connection needs
)

// What a Why advises.
const (
	AdviceUDPBlocked  = "udp-blocked"  // by the network that this machine is on
	AdviceNoAddress   = "no-address"   // the other machine has said none
	AdviceNoRelay     = "no-relay"     // that the other machine could be called through
	AdviceBothHard    = "both-hard"    // NATs
	AdviceSearching   = "searching"    // for a hard NAT's port
	AdviceSearched    = "searched"     // how often, in vain
	AdviceSameAddress = "same-address" // that both have on the internet
	AdviceSilent      = "silent"       // none of the other machine's addresses answers, and it does through its relay

	AdviceNoAnswer      = "no-answer"      // by any way: for how long nothing came
	AdviceNeverAnswered = "never-answered" // since the daemon here was started
)

// Advices are all of them, with how many words Advice.About then has.
var Advices = map[string]int{
	AdviceUDP: 0, AdvicePortal: 1, AdvicePortalPage: 0, AdviceNoInternet: 0, AdviceMapping: 0, AdviceMTU: 1, AdviceMTUDirect: 2,

	AdviceUDPBlocked: 0, AdviceNoAddress: 0, AdviceNoRelay: 0, AdviceBothHard: 0, AdviceSearching: 0, AdviceSearched: 1,
	AdviceSameAddress: 1, AdviceSilent: 0, AdviceNoAnswer: 1, AdviceNeverAnswered: 0,
}

// Texts are the sentences alone.
func Texts(all []Advice) (texts []string) {
	for _, a := range all {
		texts = append(texts, a.Text)
	}
	return texts
}
