package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// What the server says to people in errors stands here; the pages' text is in assets.

func refuse(status int, code, message string) *coord.Error {
	return &coord.Error{Status: status, Code: code, Message: message}
}

var (
	errNoSession     = refuse(http.StatusUnauthorized, coord.CodeNoSession, "There is no such session: start another one")
	errNotRegistered = refuse(http.StatusForbidden, coord.CodeNotRegistered, "This machine is not a member of the network: log in with 'warren up'")
	errExpired       = refuse(http.StatusForbidden, coord.CodeExpired, "This machine's key has expired: log in again with 'warren login'")
	errPending       = refuse(http.StatusForbidden, coord.CodePending, "This machine waits for an admin's approval")
	errNotPending    = refuse(http.StatusConflict, "not-pending", "This machine does not wait for approval (any more)")
	errKeepsKey      = refuse(http.StatusConflict, "no-expiry", "This machine has tags, so its key does not expire")
	errKeyUnknown    = refuse(http.StatusForbidden, coord.CodeKeyUnknown, "The server does not know this pre-auth key: check that it was copied whole, or make another")
	errKeyUsed       = refuse(http.StatusForbidden, coord.CodeKeyUsed, "This pre-auth key has been used: make another with 'warren-coord key create'")
	errKeyExpired    = refuse(http.StatusForbidden, coord.CodeKeyExpired, "This pre-auth key has expired: make another with 'warren-coord key create'")
	errKeyRevoked    = refuse(http.StatusForbidden, coord.CodeKeyUnknown, "This pre-auth key was revoked: make another with 'warren-coord key create'")
	errNodeKeyTaken  = refuse(http.StatusConflict, coord.CodeNodeKeyTaken, "This machine's WireGuard key belongs to another machine (was its disk copied?): 'warren logout', then log in again")
	errNodeProof     = refuse(http.StatusBadRequest, coord.CodeBadRequest, "The machine did not prove that it holds its WireGuard key")
	errFull          = refuse(http.StatusInsufficientStorage, coord.CodeFull, "The network has no address left: remove machines that are gone")
	errLoginUnknown  = refuse(http.StatusNotFound, coord.CodeLoginUnknown, "This login is not known (any more): start again with 'warren login'")
	errLoginExpired  = refuse(http.StatusGone, coord.CodeLoginExpired, "This login took too long: start again with 'warren login'")
	errLoginDenied   = refuse(http.StatusForbidden, coord.CodeLoginDenied, "The login was cancelled: if that was not meant, start again with 'warren login'")
	errLoginCode     = refuse(http.StatusForbidden, coord.CodeLoginUnknown, "The browser's code does not belong to this login: start again with 'warren login'")
	errBusy          = refuse(http.StatusServiceUnavailable, coord.CodeBusy, "The server is busy: try again in a minute")
	errStorage       = refuse(http.StatusInsufficientStorage, coord.CodeStorage, "The server cannot write to its disk (is it full?): nothing was changed; reading goes on")
	errAway          = refuse(http.StatusServiceUnavailable, coord.CodeBusy, "The server's database does not answer, so nothing was changed: try again in a minute")
	errUnsure        = refuse(http.StatusServiceUnavailable, coord.CodeBusy, "The server's database went away in the middle: look whether the change was made before you make it again")
	errMoved         = refuse(http.StatusInsufficientStorage, coord.CodeStorage, "The database's file was removed or replaced while the server ran, so nothing was changed: put it back, or stop the server and restore a backup")
	errInternal      = refuse(http.StatusInternalServerError, coord.CodeInternal, "Something went wrong in the server; its log says what")
	errHello         = refuse(http.StatusUnauthorized, coord.CodeNoSession, "The greeting is not known or too old: begin with another")
	errSignature     = refuse(http.StatusUnauthorized, coord.CodeBadRequest, "The signature is not by this machine's key for this server")
	errNotFound      = refuse(http.StatusNotFound, "not-found", "There is nothing here: the control protocol's paths begin with /v1/")
	errMethod        = refuse(http.StatusMethodNotAllowed, coord.CodeBadRequest, "This method is not for this address")
	errTooLong       = refuse(http.StatusRequestEntityTooLarge, coord.CodeBadRequest, "The request is too long")
	errForm          = refuse(http.StatusForbidden, coord.CodeBadRequest, "The page was open for too long, or in another window: load it again")
	errLoginLink     = refuse(http.StatusBadRequest, coord.CodeLoginUnknown, "The link is not whole: start again with 'warren login'")
	errLoginTries    = refuse(http.StatusForbidden, coord.CodeLoginUnknown, "That was the fifth wrong code, so this login is over: start again with 'warren login'")
	errNotAllowed    = refuse(http.StatusForbidden, "not-allowed", "Your account may not do this: ask an owner or admin of the network")
	errLastOwner     = refuse(http.StatusConflict, "last-owner", "This is the last owner: make another owner first")
	errSetupOver     = refuse(http.StatusGone, "link-over", "The set-up link works once, for a day, until the network has an owner: sign in, or get another with 'warren-coord setup'")
	errHasOwner      = refuse(http.StatusConflict, "has-owner", "The network has an owner: sign in at the server's page, or add accounts with 'warren-coord user add'")
	errNoVersion     = refuse(http.StatusNotFound, "not-found", "There is no such version of the policy file (any more)")
	errPolicyWrong   = refuse(http.StatusUnprocessableEntity, "policy", "")
	errPolicyMoved   = refuse(http.StatusPreconditionFailed, "policy-moved", "Somebody else has changed the policy file meanwhile, so nothing was saved: read it again, and make your change in the new one")
	errNoOperation   = refuse(http.StatusNotFound, "not-found", "There is no such operation: /api/openapi.json lists those that there are")
	errNoMachine     = refuse(http.StatusNotFound, "not-found", "There is no such machine (any more)")
	errNameTaken     = refuse(http.StatusConflict, "name-taken", "Another machine has this name: choose one that is free")
	errNameBad       = refuse(http.StatusBadRequest, coord.CodeBadRequest, "A machine's name has 1 to 63 lower-case letters, digits and inner hyphens")
	errNoUser        = refuse(http.StatusNotFound, "not-found", "There is no such account (any more)")
	errInviteOver    = refuse(http.StatusGone, "link-over", "An invitation makes one account, and only for some time: ask whoever sent it for another")
	errNoKey         = refuse(http.StatusNotFound, "not-found", "There is no such pre-auth key")
	errNoToken       = refuse(http.StatusUnauthorized, "no-token", "The call needs 'Authorization: Bearer wt_…' with a token that is known: make one on the page of your account")
	errTokenExpired  = refuse(http.StatusUnauthorized, "token-expired", "The token has expired: make another on the page of your account")
	errTokenOwes     = refuse(http.StatusForbidden, "second-step", "The network wants a second step of this account: sign in with a browser and set it up")
	errTooFast       = refuse(http.StatusTooManyRequests, "slow-down", "Too many calls by this token: wait some seconds")
	errManyTokens    = refuse(http.StatusConflict, "too-many", "The account has as many tokens as it may: remove one first")
	errNoSuchToken   = refuse(http.StatusNotFound, "not-found", "There is no such token (any more)")
	errNoAccount     = refuse(http.StatusConflict, "no-account", "This is done by a person: the host's administrator has no account here")
	errNoSignIn      = refuse(http.StatusNotFound, "not-found", "There is no such sign-in (any more)")
	errNoInvitation  = refuse(http.StatusNotFound, "not-found", "There is no such invitation (any more)")
	errWrongCurrent  = refuse(http.StatusForbidden, "wrong-password", "That is not your password now")
	errManyWebhooks  = refuse(http.StatusConflict, "too-many", "There are as many webhooks as there may be: remove one first")
	errNoWebhook     = refuse(http.StatusNotFound, "not-found", "There is no such webhook (any more)")
	errCrossOrigin   = refuse(http.StatusForbidden, coord.CodeBadRequest, "The request comes from another site")
)

func badRequest(format string, args ...any) *coord.Error {
	return refuse(http.StatusBadRequest, coord.CodeBadRequest, fmt.Sprintf(format, args...))
}

// refusal gives any error its answer. What people cannot mend stays in the log.
func refusal(err error) *coord.Error {
	var e *coord.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, store.ErrFull):
		return errStorage
	case errors.Is(err, store.ErrMoved):
		return errMoved
	case errors.Is(err, store.ErrUnsure):
		return errUnsure
	case errors.Is(err, store.ErrAway):
		return errAway
	case errors.Is(err, store.ErrNoNumber):
		return errFull
	case errors.Is(err, coord.ErrInvalid):
		return badRequest("%v", err)
	}
	return errInternal
}

// upTo is an error's text up to the kind of error that it wraps: people need no more.
func upTo(err, kind error) string {
	text, _, _ := strings.Cut(err.Error(), ": "+kind.Error())
	return text
}

// sentence begins an error's text with a capital letter, as pages do.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

const (
	textPasswordsDiffer = "The two passwords differ."
	textMachines        = "Machines"
	textPeople          = "People"
	textInvited         = "Your invitation is ready"
	textInvitedWhat     = "Give this link to one person, by a way that only they can read. Whoever uses it first has the account."
	textRemoveUserAsk   = "Remove the account %s?"
	textRemoveUserWhat  = "Its machines lose the network at once, and its pre-auth keys are void. This cannot be undone."
	textRemoveUser      = "Remove account"
	textKeys            = "Keys"
	textKeyOnce         = "for one machine"
	textKeyMany         = "for any number of machines"
	textKeyEphemeral    = ", ephemeral"
	textKeyApproval     = ", after approval"
	textKeyReady        = "Your pre-auth key is ready"
	textKeyReadyWhat    = "Put it into a file that only root can read, and join with: warren up --auth-key file:FILE"
	textTagsMissing     = "Give at least one tag, such as server."
	textRelays          = "Relays"
	textNetwork         = "Network"
	textNobody          = "Nobody’s"
	textNetAt           = "at home at %s"
	textNetKeyOver      = "its key has expired"
	textNetAsks         = "waits for approval"
	textNetSeen         = "offline, seen %s"
	textNetKey          = "key: %s"
	textNetOnline       = "%d of %d online"
	textNetSoon         = "%d with a key that ends soon"
	textNetExpired      = "%d expired"
	textNetWaiting      = "%d waiting"
	textNetRelay        = "Relay %s"
	textNetRelays       = "%s other relays"
	textNetPicture      = "%s in %s. Machines stand in boxes by person or tag; lines lead to the relays at which they are at home. The table below says the same."
	textConnect         = "Connect a machine"
	textNoSuchCode      = "No machine shows this code, or not any more: look again, or start again on the machine with “warren login”."
	textDNS             = "DNS"
	textSettings        = "Settings"
	textAudit           = "Audit"
	textAPI             = "Warren admin API"
	textAPIWhat         = "All that the console and warren-coord do. Errors are {\"error\": {\"code\", \"message\"}}. Lists come in pages: give next as cursor."
	textAPIToken        = "A token from the page of your account. It does what its scopes say, of what the role of its account allows."
	textTokens          = "API tokens"
	textTokenReady      = "Your token is ready"
	textTokenReadyWhat  = "Give it to the program in a file or a secret that only the program can read. It is sent as: Authorization: Bearer TOKEN"
	textSignInAgain     = "A token outlives this sign-in: sign in again first."
	textWebhooks        = "Webhooks"
	textHookReady       = "Your webhook is ready"
	textHookReadyWhat   = "The receiver checks with this secret that an event comes from here."
	textHookTested      = "The receiver took the test (HTTP %d)."
	textHookFailed      = "The test did not arrive: %s."
	textHookTimeout     = "no answer within %v"
	textHookSpeech      = "what answers there does not speak HTTP"
	textHookName        = "the name of the host cannot be resolved"
	textHookRedirect    = "it answers %d, a redirect, which is not followed: give the address that it leads to"
	textHookAnswer      = "it answers %d"
	textHookInternal    = "the webhook cannot be read: remove it, and make it again"
	textNoScope         = "The token lacks the scope %s: make one that has it"
	textProfile         = "Your account"
	textWrongCurrent    = "That is not your password now."
	textSomeBrowser     = "A browser"
	textDaysLeft        = "%d d left"
	textExitNode        = "exit node"
	textEndpointLocal   = "on its own network"
	textEndpointSTUN    = "as the internet sees it"
	textExpireAsk       = "Expire the key of %s?"
	textExpireWhat      = "It loses the network at once, until its person logs in on it again."
	textExpire          = "Expire its key"
	textRemoveAsk       = "Remove %s?"
	textRemoveWhat      = "It loses the network at once, and its name and addresses. To come back it has to join as a new machine."
	textRemove          = "Remove machine"
	textDenyAsk         = "Refuse %s?"
	textDenyWhat        = "It is forgotten. Its person may ask again."
	textDeny            = "Refuse machine"
	textMayNotInvite    = "The account %s may not invite as %s, and its invitation would be void: name an owner or an admin"
	textNameTaken       = "There is an account of this name already: choose another."

	textWrongPassword = "Name or password is wrong."
	textWrongCode     = "That is not the code. Tries left: %d."
)

// auditKinds are what the audit log's lines are about: the first part of an action.
var auditKinds = map[string]string{
	"signin": "Sign-ins", "user": "Accounts", "invitation": "Invitations", "setup": "Set-up", "key": "Pre-auth keys",
	"machine": "Machines", "dns": "DNS", "relay": "Relays", "settings": "Settings", "second": "Second steps",
	"provider": "Sign-in providers", "identity": "Accounts elsewhere", "passkey": "Passkeys",
	"token": "API tokens", "webhook": "Webhooks",
}

// textScopes says what the scopes of a token allow.
var textScopes = map[account.Scope]string{
	account.ScopeRead: "see all that you see", account.ScopeMachines: "rename, tag, approve, expire and remove machines",
	account.ScopeUsers: "accounts and invitations", account.ScopeKeys: "pre-auth keys", account.ScopePolicy: "access rules", account.ScopeSettings: "settings, DNS, relays and webhooks",
	account.ScopeAccount: "your own account: password, sign-ins, tokens",
}

// auditNobody is who did something that no account did.
var auditNobody = map[string]string{
	viaHost: "the host’s administrator", viaMachine: "a machine", viaServer: "the server", viaConsole: "somebody, not signed in", viaAPI: "somebody",
}

// auditVia is by which way somebody did something.
var auditVia = map[string]string{
	viaConsole: "in the console", viaAPI: "by the API", viaHost: "at the host", viaMachine: "at the machine", viaServer: "by the clock",
}

func sayWait(d time.Duration) string {
	return fmt.Sprintf("Too many wrong guesses: wait %s, then try again", max(d, time.Second).Round(time.Second))
}

// Errors about the state directory.
var (
	// ErrNotInitialized: there is nothing in the state directory yet.
	ErrNotInitialized = errors.New("no server has been set up there: run 'warren-coord init'")
	// ErrInitialized: a server has been set up already.
	ErrInitialized = errors.New("a server has been set up there already; nothing was changed")
	// ErrNoIdentity: there is a network in the database, and not the identity that its machines pin.
	ErrNoIdentity = errors.New("the server's identity is gone, and its machines trust no other: restore a " +
		"backup, or begin anew in another state directory; nothing was changed")
	// ErrNoDatabase: there is an identity, and nothing that it is the identity of.
	ErrNoDatabase = errors.New("the database is gone: if it is in PostgreSQL, name it with --database or WARREN_DATABASE; otherwise restore a backup, " +
		"or begin anew in another state directory; nothing was changed")
	// ErrNoReplica: there is no network in the database that another server could serve too.
	ErrNoReplica = errors.New("a replica serves the PostgreSQL database that a server of this network uses already: name that with --database or WARREN_DATABASE")
	// ErrInUse: another process serves the same state.
	ErrInUse = errors.New("another warren-coord uses it already: stop that one first")
	// ErrForeign: the database is not this server's.
	ErrForeign = errors.New("the database belongs to another server: name this server's own, or an empty one for a new network")
	// ErrOccupied: a backup is not restored over a server.
	ErrOccupied = errors.New("a server is there already, and nothing was changed: restore into another state directory with --state, or move that one away")
)

// Of access rules.
const (
	textPolicyRefused  = "The policy file was not saved:"
	textRules          = "Rules"
	textWhy            = "May A reach B?"
	textRulesVersion   = "Version %d of the rules"
	textRulesWrong     = "Nothing was saved: the file has mistakes."
	textRulesFail      = "Nothing was saved: tests of the file fail."
	textRulesMoved     = "Nothing was saved: somebody else has saved a version meanwhile. Look at it in the history below, and bring your change into it."
	textRulesLarge     = "The filter of the machine %s comes to %d prefixes. A machine refuses one with more than %d and keeps the rules that it has, and rules are saved only where none has more than %d: join groups, or use fewer and larger prefixes"
	textPolicyName     = "access rules"
	textPolicyRestored = "version %d restored"
	textAndMore        = "and %d more"
	textFilterIn       = "from %s: %s"
	textFilterTo       = "from %s: %s, to %s"
	textTagNotYours    = "The policy's tagOwners do not let you give the tag %q: ask an owner or admin of the network"
)
