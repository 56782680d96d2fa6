package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// The log of who did what when. A line is part of the transaction of the change that it tells of: neither is there
// without the other.

// Bounds of the log. A flood neither fills the disk nor pushes out what else is in the log.
const (
	auditKept     = 365 * 24 * time.Hour
	auditLines    = 1_000_000        // some 300 MB; only a flood of everything at once comes to that
	auditOfOne    = 20_000           // lines of one action: who makes many pushes out no other's
	auditOften    = 50_000           // of actions that are many without anybody's ill will
	refusedLines  = 20_000           // of wrong sign-ins, which strangers make
	refusedEvery  = 10 * time.Second // one line so often at the most,
	refusedBurst  = 60               // beyond so many at once
	auditHurry    = 5_000            // lines after which the log is pruned without waiting for the hour
	maxFacts      = 2 << 10          // bytes of a line's details
	maxSubject    = 128              // bytes
	maxFactLength = 256              // bytes of one text of the details
)

// action is what was done.
type action string

// The actions. Their names are stable: logs, filters and receivers of events go by them.
const (
	actSignIn          action = "signin.ok"
	actSignInRefused   action = "signin.refused"
	actSignOut         action = "signin.end"
	actUserAdd         action = "user.add"
	actUserRemove      action = "user.remove"
	actUserRole        action = "user.role"
	actUserPassword    action = "user.password"
	actInvite          action = "invitation.add"
	actInviteUse       action = "invitation.use"
	actInviteRevoke    action = "invitation.revoke"
	actSetupLink       action = "setup.link"
	actSetupUse        action = "setup.use"
	actKeyAdd          action = "key.add"
	actKeyUse          action = "key.use"
	actKeyRevoke       action = "key.revoke"
	actMachineAdd      action = "machine.add"
	actMachineWait     action = "machine.wait"
	actMachineApprove  action = "machine.approve"
	actMachineDeny     action = "machine.deny"
	actMachineExtend   action = "machine.extend"
	actMachineLogin    action = "machine.login"
	actMachineLogout   action = "machine.logout"
	actMachineRename   action = "machine.rename"
	actMachineExpire   action = "machine.expire"
	actMachineRemove   action = "machine.remove"
	actMachineWireKey  action = "machine.key"
	actRelaySet        action = "relay.set"
	actRelayRemove     action = "relay.remove"
	actSecondSet       action = "second.set"
	actSecondRemove    action = "second.remove"
	actSecondReset     action = "second.reset"
	actSecondCodes     action = "second.codes"
	actProviderAdd     action = "provider.add"
	actProviderSet     action = "provider.set"
	actMachineOffer    action = "machine.offer"
	actMachineRelay    action = "machine.relay"
	actProviderRemove  action = "provider.remove"
	actIdentityAdd     action = "identity.add"
	actIdentityRemove  action = "identity.remove"
	actPasskeyAdd      action = "passkey.add"
	actPasskeyRemove   action = "passkey.remove"
	actPasskeyCopied   action = "passkey.copied"
	actMachineTag      action = "machine.tag"
	actMachineRoutes   action = "machine.routes"
	actMachineRelaying action = "machine.relaying"
	actDNS             action = "dns.change"
	actPolicy          action = "policy.set"
	actTokenAdd        action = "token.add"
	actTokenRemove     action = "token.remove"
	actSettings        action = "settings.change"
	actMachineExpiring action = "machine.expiring"
	actMachineExpired  action = "machine.expired"
	actHookAdd         action = "webhook.add"
	actHookSet         action = "webhook.set"
	actHookRemove      action = "webhook.remove"
	actHookDrop        action = "webhook.drop"
	actHookTest        action = "webhook.test"
)

// actionTexts says in words what was done, with the name of what it was done to before it or after it. An action that
// does not stand here cannot be recorded.
var actionTexts = map[action]string{
	actSignIn:          "signed in",
	actSignInRefused:   "sign-in refused",
	actSignOut:         "signed a browser out",
	actUserAdd:         "account made",
	actUserRemove:      "account removed",
	actUserRole:        "role changed",
	actUserPassword:    "password replaced",
	actInvite:          "invitation made",
	actInviteUse:       "invitation used",
	actInviteRevoke:    "invitation revoked",
	actSetupLink:       "set-up link made",
	actSetupUse:        "set-up link used",
	actKeyAdd:          "pre-auth key made",
	actKeyUse:          "pre-auth key used",
	actKeyRevoke:       "pre-auth key revoked",
	actMachineAdd:      "machine joined",
	actMachineWait:     "machine waits for approval",
	actMachineApprove:  "machine approved",
	actMachineDeny:     "machine refused",
	actMachineExtend:   "machine's key extended",
	actMachineLogin:    "machine logged in again",
	actMachineLogout:   "machine logged out",
	actMachineRename:   "machine renamed",
	actMachineExpire:   "machine's key expired",
	actMachineRemove:   "machine removed",
	actMachineWireKey:  "machine changed its key",
	actRelaySet:        "relay set",
	actRelayRemove:     "relay removed",
	actSecondSet:       "second step set up",
	actSecondRemove:    "second step turned off",
	actSecondReset:     "second step reset",
	actSecondCodes:     "recovery codes made",
	actProviderAdd:     "sign-in provider added",
	actProviderSet:     "sign-in provider changed",
	actMachineOffer:    "machine offers routes",
	actMachineRelay:    "machine offers to relay",
	actProviderRemove:  "sign-in provider removed",
	actIdentityAdd:     "account elsewhere added",
	actIdentityRemove:  "account elsewhere removed",
	actPasskeyAdd:      "passkey added",
	actPasskeyRemove:   "passkey removed",
	actPasskeyCopied:   "passkey used by two devices, it seems",
	actMachineTag:      "machine's tags changed",
	actMachineRoutes:   "machine's routes approved or withdrawn",
	actMachineRelaying: "machine's relaying allowed or denied",
	actDNS:             "DNS settings changed",
	actPolicy:          "access rules changed",
	actTokenAdd:        "API token made",
	actTokenRemove:     "API token removed",
	actSettings:        "settings changed",
	actMachineExpiring: "machine's key ends soon",
	actMachineExpired:  "machine's key ended",
	actHookAdd:         "webhook made",
	actHookSet:         "webhook changed",
	actHookRemove:      "webhook removed",
	actHookDrop:        "events given up",
	actHookTest:        "webhook tested",
}

// via says by which way something was asked for.
const (
	viaConsole = "console"
	viaAPI     = "api"
	viaHost    = "host"    // the admin socket
	viaMachine = "machine" // the control protocol
	viaServer  = "server"  // nobody asked: time did
)

// facts are the details of a line: what reads it may count on each one's name.
type facts map[string]any

// record writes into the log that the caller did something, in the transaction that does it. The subject is the name, as
// it was before, of what it was done to.
func (s *Server) record(tx store.Tx, by caller, what action, subject string, details facts) error {
	if actionTexts[what] == "" {
		return fmt.Errorf("action %q is not listed", what)
	}
	if by.login == "" && by.user != 0 {
		u, err := tx.User(by.user)
		if err != nil && !errors.Is(err, store.ErrNotFound) { // it may be the one that was removed
			return err
		}
		by.login = u.Login
	}
	if by.token != 0 {
		details = maps.Clone(details)
		if details == nil {
			details = facts{}
		}
		details["token"] = by.token
	}
	text, err := encodeFacts(details)
	if err != nil {
		return err
	}
	_, err = tx.AddAudit(store.Audit{
		Time: s.now(), User: by.user, Login: by.login, Via: by.via, Address: by.address, Action: string(what),
		Subject: cleanText(subject, maxSubject), Details: text,
	})
	if err == nil {
		s.log.Info(string(what), "subject", subject, "by", by.login, "via", by.via)
		s.trail.wrote()
	}
	return err
}

// encodeFacts holds details to their bounds.
func encodeFacts(details facts) (string, error) {
	if len(details) == 0 {
		return "{}", nil
	}
	short := make(facts, len(details))
	for name, v := range details {
		if text, ok := v.(string); ok {
			v = cleanText(text, maxFactLength)
		}
		short[name] = v
	}
	text, err := json.Marshal(short)
	if err == nil && len(text) > maxFacts {
		return `{"left_out":"too long"}`, nil
	}
	return string(text), err
}

// trail is what the server remembers of its log.
type trail struct {
	news  atomic.Bool   // lines were written that the courier has not heard of
	prune chan struct{} // the log has grown much

	mu      sync.Mutex
	written int // since it was pruned

	// Of wrong sign-ins: a bucket of lines that may be written, and how many were not.
	tokens  float64
	filled  time.Time
	omitted int
}

func newTrail() *trail { return &trail{prune: make(chan struct{}, 1), tokens: refusedBurst} }

// wrote counts a line, and hurries the pruning when there were many.
func (t *trail) wrote() {
	t.news.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.written++; t.written < auditHurry {
		return
	}
	t.written = 0
	select {
	case t.prune <- struct{}{}:
	default:
	}
}

// refusal reports whether a wrong sign-in gets a line, and how many before it did not.
func (t *trail) refusal(now time.Time) (omitted int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.filled.IsZero() || now.Before(t.filled) {
		t.filled = now
	}
	t.tokens = min(refusedBurst, t.tokens+float64(now.Sub(t.filled))/float64(refusedEvery))
	t.filled = now
	if t.tokens < 1 {
		t.omitted++
		return 0, false
	}
	t.tokens--
	omitted, t.omitted = t.omitted, 0
	return omitted, true
}

// recordRefusal notes a wrong sign-in, with the details, to which it may add. What was typed for a name that nobody has may be a password: it is not kept.
func (s *Server) recordRefusal(ctx context.Context, by caller, user store.User, details facts) {
	omitted, ok := s.trail.refusal(s.now())
	if !ok {
		return
	}
	if user.ID == 0 {
		details["unknown"] = true
	}
	if omitted > 0 {
		details["omitted"] = omitted
	}
	err := s.store.Write(context.WithoutCancel(ctx), func(tx store.Tx) error {
		return s.record(tx, by, actSignInRefused, user.Login, details)
	})
	if err != nil {
		s.log.Warn("cannot record a refused sign-in", "err", err)
	}
}

// auditBound is how many lines of an action are kept. Each has one of its own: what a member may do without end (make keys
// and tokens, and remove them), a machine, or a stranger, would otherwise push out who became an owner, and by whom.
func auditBound(what action) int {
	switch what {
	case actSignInRefused:
		return refusedLines
	case actSignIn, actSignOut, actKeyUse, actMachineLogin, actMachineLogout, actMachineRename, actMachineWireKey:
		return auditOften
	}
	return auditOfOne
}

// pruneAudit keeps the log within its bounds.
func (s *Server) pruneAudit(tx store.Tx, now time.Time) error {
	for what := range actionTexts {
		if err := tx.PurgeAudit(string(what), time.Time{}, auditBound(what)); err != nil {
			return err
		}
	}
	return tx.PurgeAudit("", now.Add(-auditKept), auditLines)
}

// AuditLine is a line of the log as programs get it.
type AuditLine struct {
	ID      int64           `json:"id"`
	Time    time.Time       `json:"time"`
	User    int64           `json:"userId,omitempty"`
	Login   string          `json:"login,omitempty"`
	Via     string          `json:"via"`
	Address string          `json:"address,omitempty"`
	Action  string          `json:"action"`
	Subject string          `json:"subject,omitempty"`
	Details json.RawMessage `json:"details"`
}

func lineOf(a store.Audit) AuditLine {
	return AuditLine{
		ID: a.ID, Time: a.Time, User: a.User, Login: a.Login, Via: a.Via, Address: a.Address, Action: a.Action, Subject: a.Subject,
		Details: json.RawMessage(a.Details),
	}
}

// auditLines lists lines of the log, for whoever may see everything.
func (s *Server) auditLines(ctx context.Context, by caller, q store.AuditQuery) (all []store.Audit, err error) {
	if err := authorize(by, account.See, false); err != nil {
		return nil, err
	}
	err = s.store.Read(ctx, func(tx store.Tx) error {
		all, err = tx.AuditLines(q)
		return err
	})
	return all, err
}
