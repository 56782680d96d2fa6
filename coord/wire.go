package coord

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

// Signature contexts (key.Message): one for each thing that is signed.
const (
	ContextHello   = "warren hello v1"    // client nonce, server nonce, certificate hash, challenge
	ContextSession = "warren session v1"  // server key, server nonce, client nonce
	ContextLine    = "warren netmap v1"   // session nonce, machine key, big-endian seq and prev, body
	ContextNode    = "warren register v1" // machine key, session nonce; under the key shared with the challenge
)

// Paths of the control protocol.
const (
	PathHello        = "/v1/hello"
	PathSession      = "/v1/session"
	PathRegister     = "/v1/register"
	PathRegisterWait = "/v1/register/wait"
	PathRegisterCode = "/v1/register/code"
	PathRegisterStop = "/v1/register/stop"
	PathNode         = "/v1/node"
	PathNetmap       = "/v1/netmap"
	PathApproval     = "/v1/approval"
	PathLogout       = "/v1/logout"
	PathLogin        = "/login/" // the page for people: PathLogin + login id
)

// QueryPacked, in the query of PathNetmap, says that the reader takes packed bodies.
const QueryPacked = "packed=zstd"

// Bounds and times of the control protocol.
const (
	NonceSize    = 32               // bytes of each side's nonce
	MaxBody      = 64 << 10         // bytes of a request's body
	MaxLoginWait = 30 * time.Second // how long /v1/register/wait holds an unfinished login, and /v1/approval an open question
	Heartbeat    = 20 * time.Second // the longest silence of a netmap stream; a reader gives up after three
	LoginTTL     = 15 * time.Minute // how long a login id lives
	LoginIDSize  = 16               // random bytes of a login id, in base64url without padding
)

// HelloRequest opens the way to a session.
type HelloRequest struct {
	Nonce []byte `json:"nonce"`
}

// Hello proves the server's identity.
type Hello struct {
	Server    key.ServerPublic    `json:"server"`
	Nonce     []byte              `json:"nonce"`          // names the session; serves once, for a minute
	Cert      []byte              `json:"cert,omitempty"` // SHA-256 of the TLS certificate (DER) that the server itself serves
	Challenge key.ChallengePublic `json:"challenge"`      // for RegisterRequest.Proof
	Time      time.Time           `json:"time"`           // the server's clock, to tell whose is off; not signed, trusted for nothing
	Sig       []byte              `json:"sig"`
}

// SessionRequest proves the machine's key.
type SessionRequest struct {
	Machine     key.MachinePublic `json:"machine"`
	Nonce       []byte            `json:"nonce"`       // from Hello
	ClientNonce []byte            `json:"clientNonce"` // from HelloRequest
	Sig         []byte            `json:"sig"`
}

// Session is what later requests bear, as "Authorization: Bearer TOKEN".
type Session struct {
	Token      string    `json:"token"`
	Expires    time.Time `json:"expires"`
	Registered bool      `json:"registered"`        // this machine is a node of the network
	Expired    bool      `json:"expired,omitempty"` // and its key has expired: all but register answers CodeExpired
	Pending    bool      `json:"pending,omitempty"` // and it waits for an admin's approval: the rest answers CodePending
}

// RegisterRequest asks that this machine become a node. Registering again is the same as once, but for a new
// node key, which replaces the old one.
type RegisterRequest struct {
	Node      key.NodePublic `json:"node"`
	Proof     []byte         `json:"proof"`               // key.Node.Prove of ContextNode
	Hostname  string         `json:"hostname"`            // as the machine calls itself
	AuthKey   string         `json:"authKey,omitempty"`   // a pre-auth key, instead of a login
	Challenge string         `json:"challenge,omitempty"` // PKCE S256 (RFC 7636) of a verifier that the person's client keeps
	Reauth    bool           `json:"reauth,omitempty"`    // ask for a login even where the machine is registered
	OS        string         `json:"os,omitempty"`
	Version   string         `json:"version,omitempty"`
}

// RegisterReply says whether the machine is a node, and if not, which login makes it one.
type RegisterReply struct {
	Registered bool      `json:"registered"`
	Pending    bool      `json:"pending,omitempty"` // registered, and waits for an admin's approval (PathApproval)
	LoginID    string    `json:"loginId,omitempty"` // the page is PathLogin + LoginID at the configured server
	Code       string    `json:"code,omitempty"`    // to be typed into the page where it opens on another device
	Expires    time.Time `json:"expires,omitzero"`  // of the login id
}

// ApprovalReply says whether an admin has let the machine in. One that was not let in is CodeNotRegistered.
type ApprovalReply struct {
	Approved bool `json:"approved"`
}

// CodeRequest ends a login on the same device with what the browser brought to the client's loopback listener.
type CodeRequest struct {
	LoginID  string `json:"loginId"`
	Code     string `json:"code"`
	Verifier string `json:"verifier"` // PKCE
}

// StopRequest ends a login that nobody at the machine waits for any more: its page lets no machine in.
type StopRequest struct {
	LoginID string `json:"loginId"`
}

// NodeUpdate is all that a machine says of itself; it replaces what it said before.
type NodeUpdate struct {
	Disco     key.DiscoPublic `json:"disco"`
	Endpoints []Endpoint      `json:"endpoints"`
	Relay     RelayID         `json:"relay"`
	Hostname  string          `json:"hostname"`
	OS        string          `json:"os"`
	Version   string          `json:"version"`
	Routes    []netip.Prefix  `json:"routes,omitempty"` // offered; an admin or the policy approves them (Node.Routes)
	Cut       []netip.Prefix  `json:"cut,omitempty"`    // of Routes: not reached itself now (Node.Cut)

	Doubt RelayID `json:"doubt,omitempty"` // see Node.Doubt

	Relaying *Relaying `json:"relaying,omitempty"` // offered; an admin allows it (Node.Relaying)
}

// Error codes. They are part of the protocol; messages are for people and may change.
const (
	CodeBadRequest    = "bad-request"
	CodeNoSession     = "no-session"     // none, or it is over: start another
	CodeNotRegistered = "not-registered" // the machine is no node of this network (any more)
	CodeExpired       = "expired"        // the node's key has expired: log in again
	CodePending       = "pending"        // an admin has to approve the machine first
	CodeKeyUnknown    = "key-unknown"    // pre-auth key
	CodeKeyUsed       = "key-used"
	CodeKeyExpired    = "key-expired"
	CodeLoginUnknown  = "login-unknown" // login id, or its code
	CodeLoginExpired  = "login-expired"
	CodeLoginDenied   = "login-denied"
	CodeNodeKeyTaken  = "node-key-taken" // the node key belongs to another machine
	CodeFull          = "network-full"   // no address is left
	CodeBusy          = "busy"           // too many requests: wait
	CodeStorage       = "storage"        // the server cannot write
	CodeInternal      = "internal"
)

// Error is a refusal by the server. errors.Is compares codes.
type Error struct {
	Status  int    `json:"-"` // HTTP
	Code    string `json:"code"`
	Message string `json:"message"` // one sentence for people: what happened, what to do
}

// ErrorReply is an error's body.
type ErrorReply struct {
	Error *Error `json:"error"`
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s (%s)", e.Message, e.Code) }

// Is makes errors.Is(err, &Error{Code: c}) compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
