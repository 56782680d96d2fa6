package ipc

// A Reason says more exactly than a code why something was refused, so that a program can say it in its person's language:
// Error.Message is English. A refusal without one is rare, or told well enough by its code; its message has to do.

// The reasons that lie in this machine and its daemon. Behind each is what Error.About holds, in this order.
const (
	ReasonOperate       = "needs-operate"   //
	ReasonAdmin         = "needs-admin"     //
	ReasonSocket        = "no-entry"        // the socket's path
	ReasonStopping      = "stopping"        //
	ReasonChecking      = "checking"        // a Netcheck is under way
	ReasonApproval      = "waits-for-admin" //
	ReasonStarting      = "starting"        // on the way up
	ReasonHostname      = "bad-hostname"    // a name that would do
	ReasonExitRoute     = "route-to-all"    // offered as a subnet
	ReasonRoutes        = "bad-routes"      // the message says what is wrong with them
	ReasonExitAndOffer  = "exit-and-offer"  // a machine cannot use an exit node and be one
	ReasonLockedOffer   = "locked-offer"    // a machine with lockdown leads nobody anywhere
	ReasonNotExit       = "not-an-exit"     // the machine's name
	ReasonSelf          = "this-machine"    // its name: another one has to be named
	ReasonUnknownPeer   = "unknown-peer"    // what was asked for
	ReasonSilent        = "silent"          // the machine's name, for how long
	ReasonSilentOffline = "silent-offline"  // the same, of one that the server takes for offline
)

// The reasons that lie in logins.
const (
	ReasonAddress        = "bad-address"     // of a server; the message says what is wrong with it
	ReasonUnknownProfile = "unknown-profile" // what was asked for
	ReasonManyLogins     = "too-many-logins" // how many there may be
	ReasonLoginElsewhere = "login-elsewhere" // another login was begun
	ReasonLoginDown      = "login-down"      // ended by down
	ReasonLoginOut       = "login-out"       // ended by logout
	ReasonLoginOver      = "login-over"      // it is not under way
	ReasonUntold         = "logout-untold"   // the server does not know of it
	ReasonPinned         = "pinned"          // the server; the fingerprint that it is known by, the one given
	ReasonOtherServer    = "other-server"    // the host; the fingerprint that the invite names, the one that the host shows
)

// The reasons why a server cannot be talked to, as coord.Trouble has them. About begins with its host.
const (
	ReasonNoHost      = serverReason + "no-such-host"
	ReasonNoDNS       = serverReason + "no-dns"
	ReasonRefused     = serverReason + "refused"
	ReasonNoWay       = serverReason + "no-way"
	ReasonTLS         = serverReason + "tls"
	ReasonTimeout     = serverReason + "timeout"
	ReasonDropped     = serverReason + "dropped"
	ReasonBroken      = serverReason + "broken"
	ReasonAway        = serverReason + "away"
	ReasonNotWarren   = serverReason + "not-warren"
	ReasonWrongServer = serverReason + "wrong-server" // the fingerprint that it shows, the one that is known
	ReasonUnverified  = serverReason + "unverified"   // the key that it shows
	ReasonForged      = serverReason + "forged"
	ReasonClock       = serverReason + "clock" // how many days this machine's is wrong
)

// The server's own refusals, as coord.Error has them.
const (
	ReasonServerRequest  = serverReason + "bad-request" // the message says what was wrong
	ReasonSession        = serverReason + "no-session"
	ReasonNotRegistered  = serverReason + "not-registered"
	ReasonExpired        = serverReason + "expired"
	ReasonPending        = serverReason + "pending"
	ReasonKeyUnknown     = serverReason + "key-unknown"
	ReasonKeyUsed        = serverReason + "key-used"
	ReasonKeyExpired     = serverReason + "key-expired"
	ReasonLoginUnknown   = serverReason + "login-unknown"
	ReasonLoginExpired   = serverReason + "login-expired"
	ReasonLoginDenied    = serverReason + "login-denied"
	ReasonNodeKeyTaken   = serverReason + "node-key-taken"
	ReasonFull           = serverReason + "network-full"
	ReasonServerBusy     = serverReason + "busy"
	ReasonServerStorage  = serverReason + "storage"
	ReasonServerInternal = serverReason + "internal"
)

const serverReason = "server-"

// Reasons are all of them, with how many words Error.About then has.
var Reasons = map[string]int{
	ReasonOperate: 0, ReasonAdmin: 0, ReasonSocket: 1, ReasonStopping: 0, ReasonChecking: 0, ReasonApproval: 0, ReasonStarting: 0,
	ReasonHostname: 1, ReasonExitRoute: 0, ReasonRoutes: 0, ReasonExitAndOffer: 0, ReasonLockedOffer: 0, ReasonNotExit: 1,
	ReasonSelf: 1, ReasonUnknownPeer: 1, ReasonSilent: 2, ReasonSilentOffline: 2,

	ReasonAddress: 0, ReasonUnknownProfile: 1, ReasonManyLogins: 1, ReasonLoginElsewhere: 0, ReasonLoginDown: 0, ReasonLoginOut: 0,
	ReasonLoginOver: 0, ReasonUntold: 0, ReasonPinned: 3, ReasonOtherServer: 3,

	ReasonNoHost: 1, ReasonNoDNS: 1, ReasonRefused: 1, ReasonNoWay: 1, ReasonTLS: 1, ReasonTimeout: 1, ReasonDropped: 1, ReasonBroken: 1, ReasonAway: 1,
	ReasonNotWarren: 1, ReasonWrongServer: 3, ReasonUnverified: 2, ReasonForged: 1, ReasonClock: 2,

	ReasonServerRequest: 0, ReasonSession: 0, ReasonNotRegistered: 0, ReasonExpired: 0, ReasonPending: 0,
	ReasonKeyUnknown: 0, ReasonKeyUsed: 0, ReasonKeyExpired: 0, ReasonLoginUnknown: 0, ReasonLoginExpired: 0, ReasonLoginDenied: 0,
	ReasonNodeKeyTaken: 0, ReasonFull: 0, ReasonServerBusy: 0, ReasonServerStorage: 0, ReasonServerInternal: 0,
}

// OfServer gives the reason for a code of the server's (coord.Error) or of the way to it (coord.Trouble); "" for one of a later
// server. about is what it is about.
func OfServer(code string, about ...string) (reason string, words []string) {
	reason = serverReason + code
	if n, known := Reasons[reason]; !known || n != len(about) {
		return "", nil
	}
	return reason, about
}
