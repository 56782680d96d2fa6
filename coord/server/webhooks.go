package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// Webhooks are addresses that lines of the audit log are posted to: what deliver.go does. Owners set them.

const (
	hookPrefix  = "whs_" // of secrets
	maxWebhooks = 20
	maxHookURL  = 500 // bytes
)

// WebhookInfo is a webhook without its secret.
type WebhookInfo struct {
	ID      int64     `json:"id"`
	URL     string    `json:"url"`
	Events  []string  `json:"events" doc:"actions of the audit log, or their first parts; none: all"`
	Created time.Time `json:"created"`
	State   string    `json:"state" enum:"ok,new,failing" doc:"failing: the last try failed, and is repeated"`
	Waiting bool      `json:"waiting,omitempty" doc:"there are events that were not sent yet"`
	Tries   int       `json:"tries,omitempty" doc:"that failed, since the last that did not"`
	Next    time.Time `json:"nextTry,omitzero"`
	Status  int       `json:"status,omitempty" doc:"HTTP's, of the last answer"`
	Problem string    `json:"problem,omitempty" doc:"of the last try"`
	Tried   time.Time `json:"tried,omitzero" doc:"when last"`
	Sent    time.Time `json:"sent,omitzero" doc:"when last with success"`
	Dropped int64     `json:"dropped" doc:"events that could not be sent within a day"`
}

// WebhookList is a page of webhooks.
type WebhookList struct {
	Webhooks []WebhookInfo `json:"webhooks"`
	Next     string        `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
}

// WebhookRequest makes a webhook.
type WebhookRequest struct {
	URL    string   `json:"url" maxLength:"500" doc:"https://…, or http:// on this host itself"`
	Events []string `json:"events,omitempty" maxItems:"64" doc:"actions of the audit log, or their first parts, such as machine; none: all"`
}

// WebhookChange changes what it names.
type WebhookChange struct {
	URL    *string   `json:"url,omitempty" maxLength:"500"`
	Events *[]string `json:"events,omitempty" maxItems:"64" nullable:"false"`
}

// NewWebhook is a webhook as its maker sees it, once.
type NewWebhook struct {
	ID     int64  `json:"id"`
	Secret string `json:"secret"`
}

// WebhookTest is what came of sending a test.
type WebhookTest struct {
	OK      bool   `json:"ok"`
	Status  int    `json:"status,omitempty" doc:"HTTP's"`
	Problem string `json:"problem,omitempty"`
}

func (s *Server) webhookOperations() []operation {
	// at is an operation of those who rule: what is sent says who is in the network, and the address may hold a secret.
	at := func(method, id, path, about string) operation {
		return operation{method: method, id: id, path: "/webhooks" + path, about: about, scope: account.ScopeSettings, right: account.Govern}
	}
	return []operation{
		gives(at(http.MethodGet, "listWebhooks", "", "List the webhooks, and how sending to them goes"),
			func(ctx context.Context, _ caller, in *PageQuery) (l WebhookList, err error) {
				all, err := s.webhooks(ctx)
				if err != nil {
					return l, err
				}
				l.Webhooks, l.Next, err = pageOf(*in, slices.Values(all), func(w WebhookInfo) int64 { return w.ID })
				return l, err
			}),
		gives(at(http.MethodPost, "addWebhook", "", "Make a webhook; its secret is shown once"),
			func(ctx context.Context, by caller, in *struct{ Body WebhookRequest }) (NewWebhook, error) {
				return s.addWebhook(ctx, by, in.Body)
			}),
		does(at(http.MethodPatch, "setWebhook", "/{id}", "Change a webhook's address or events"), func(ctx context.Context, by caller, in *struct {
			IDPath
			Body WebhookChange
		},
		) error {
			return s.setWebhook(ctx, by, in.ID, in.Body)
		}),
		does(at(http.MethodDelete, "removeWebhook", "/{id}", "Remove a webhook"),
			func(ctx context.Context, by caller, in *IDPath) error { return s.removeWebhook(ctx, by, in.ID) }),
		gives(at(http.MethodPost, "testWebhook", "/{id}/test", "Send a test event now"),
			func(ctx context.Context, by caller, in *IDPath) (WebhookTest, error) {
				return s.testWebhook(ctx, by, in.ID)
			}),
	}
}

// webhooks lists them with the state of sending.
func (s *Server) webhooks(ctx context.Context) (all []WebhookInfo, err error) {
	err = s.store.Read(ctx, func(tx store.Tx) error {
		all = []WebhookInfo{}
		hooks, err := tx.Webhooks()
		if err != nil {
			return err
		}
		for _, w := range hooks {
			i := WebhookInfo{
				ID: w.ID, URL: w.URL, Events: w.Events, Created: w.Created, State: "ok", Tries: w.Tries, Status: w.Status, Problem: w.Problem,
				Tried: w.Tried, Sent: w.Sent, Dropped: w.Dropped,
			}
			switch {
			case w.Problem != "":
				i.State, i.Next = "failing", w.Next
			case w.Sent.IsZero():
				i.State = "new"
			}
			next, err := tx.AuditLines(store.AuditQuery{After: w.Position, Forward: true, Limit: 1})
			if err != nil {
				return err
			}
			i.Waiting = len(next) > 0
			all = append(all, i)
		}
		return nil
	})
	return all, err
}

func hookPurpose(id int64) string { return fmt.Sprintf("secret of webhook %d", id) }

// addWebhook makes a webhook, which hears of what happens from now on.
func (s *Server) addWebhook(ctx context.Context, by caller, q WebhookRequest) (n NewWebhook, err error) {
	w := store.Webhook{Created: s.now()}
	if w.URL, err = s.hookURL(q.URL); err != nil {
		return n, err
	}
	if w.Events, err = hookEvents(q.Events); err != nil {
		return n, err
	}
	n.Secret = hookPrefix + rand.Text() // 128 random bits at the least
	err = s.store.Write(ctx, func(tx store.Tx) error {
		if err := authorizeNow(tx, by, account.Govern, false); err != nil {
			return err
		}
		have, err := tx.Webhooks()
		if err != nil {
			return err
		}
		if len(have) >= maxWebhooks {
			return errManyWebhooks
		}
		newest, err := tx.AuditLines(store.AuditQuery{Limit: 1})
		if err != nil {
			return err
		}
		if len(newest) > 0 {
			w.Position = newest[0].ID
		}
		w.Secret = []byte{}
		if n.ID, err = tx.AddWebhook(w); err != nil {
			return err
		}
		w.ID, w.Secret = n.ID, s.vault.seal(hookPurpose(n.ID), []byte(n.Secret)) // for the id that it has now
		if err := tx.SetWebhook(w); err != nil {
			return err
		}
		return s.record(tx, by, actHookAdd, hookName(w), facts{"id": w.ID, "events": w.Events})
	})
	return n, err
}

func (s *Server) setWebhook(ctx context.Context, by caller, id int64, q WebhookChange) (err error) {
	var next store.Webhook
	if q.URL != nil {
		if next.URL, err = s.hookURL(*q.URL); err != nil {
			return err
		}
	}
	if q.Events != nil {
		if next.Events, err = hookEvents(*q.Events); err != nil {
			return err
		}
	}
	return s.changeWebhook(ctx, by, id, func(tx store.Tx, w store.Webhook) error {
		was := hookName(w)
		if q.URL != nil {
			w.URL = next.URL
		}
		if q.Events != nil {
			w.Events = next.Events
		}
		if err := tx.SetWebhook(w); err != nil {
			return err
		}
		w.Next = time.Time{} // the new address need not wait
		if err := tx.SetDelivery(id, w.Delivery); err != nil {
			return err
		}
		return s.record(tx, by, actHookSet, was, facts{"id": id, "to": hookName(w), "events": w.Events})
	})
}

func (s *Server) removeWebhook(ctx context.Context, by caller, id int64) error {
	return s.changeWebhook(ctx, by, id, func(tx store.Tx, w store.Webhook) error {
		if err := tx.RemoveWebhook(id); err != nil {
			return err
		}
		return s.record(tx, by, actHookRemove, hookName(w), facts{"id": id})
	})
}

func (s *Server) changeWebhook(ctx context.Context, by caller, id int64, change func(store.Tx, store.Webhook) error) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		if err := authorizeNow(tx, by, account.Govern, false); err != nil {
			return err
		}
		w, err := tx.Webhook(id)
		if errors.Is(err, store.ErrNotFound) {
			return errNoWebhook
		}
		if err != nil {
			return err
		}
		return change(tx, w)
	})
}

// hookName is what the log calls a webhook: its host, since the rest of its address may be a secret.
func hookName(w store.Webhook) string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return fmt.Sprint("webhook ", w.ID)
	}
	return u.Host
}

// hookURL checks an address: https to any host, http to this one. An owner may well want to reach hosts on private
// networks, where receivers of those who host themselves are; so what is refused is where no receiver is: what would turn
// the server against itself, against the metadata of the cloud that it runs in, or against all hosts around it. Names
// are checked again when they are resolved, for each connection (hookAddress).
func (s *Server) hookURL(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil || len(text) > maxHookURL || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "":
		return "", fmt.Errorf("%w address of a webhook: give it as https://host/path", coord.ErrInvalid)
	case u.User != nil:
		return "", fmt.Errorf("%w address of a webhook: it holds a password, which would be in the log; events are signed instead", coord.ErrInvalid)
	case u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("%w address of a webhook: it begins with https://", coord.ErrInvalid)
	case u.Scheme == "http" && !localName(u.Hostname()):
		return "", fmt.Errorf("%w address of a webhook: plain http:// is for this host itself, such as http://127.0.0.1:8000; use https://", coord.ErrInvalid)
	}
	if own, err := url.Parse(s.url); err == nil && strings.EqualFold(u.Host, own.Host) {
		return "", fmt.Errorf("%w address of a webhook: it is this server's own", coord.ErrInvalid)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := hookAddress(u.Scheme, a); err != nil {
			return "", fmt.Errorf("%w address of a webhook: %w", coord.ErrInvalid, err)
		}
	}
	return u.String(), nil
}

func localName(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// Addresses at which clouds give their hosts secrets, besides link-local ones.
var metadataAddresses = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),   // Amazon
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("192.0.0.192"),     // Oracle
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")     // RFC 1122, section 3.2.1.3: means this host
	nat64       = netip.MustParsePrefix("64:ff9b::/96")  // RFC 6052: the last 32 bits are an IPv4 address
	sixToFour   = netip.MustParsePrefix("2002::/16")     // RFC 3056: the next 32 bits are one
	reserved    = netip.MustParsePrefix("240.0.0.0/4")   // RFC 1112, section 4; with the broadcast address
	mapped      = netip.MustParsePrefix("::ffff:0:0/96") // RFC 4291, section 2.5.5.2
)

// hookAddress refuses the addresses that a webhook must not lead to.
func hookAddress(scheme string, a netip.Addr) error {
	b := a.As16()
	switch a = a.WithZone(""); {
	case a.Is4In6() || mapped.Contains(a):
		a = a.Unmap()
	case nat64.Contains(a):
		a = netip.AddrFrom4([4]byte(b[12:16]))
	case sixToFour.Contains(a):
		a = netip.AddrFrom4([4]byte(b[2:6]))
	}
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), thisNetwork.Contains(a), reserved.Contains(a), slices.Contains(metadataAddresses, a):
		return fmt.Errorf("%s is no address of a receiver", a)
	case scheme == "http" && !a.IsLoopback():
		return fmt.Errorf("plain http:// is for this host itself, and %s is another: use https://", a)
	}
	return nil
}

// hookEvents checks names of actions, or of their first parts.
func hookEvents(names []string) ([]string, error) {
	for _, n := range names {
		known := false
		for a := range actionTexts {
			kind, _, _ := strings.Cut(string(a), ".")
			known = known || n == string(a) || n == kind
		}
		if !known {
			return nil, fmt.Errorf("%w event %q: choose of those of the audit log, such as machine or machine.add", coord.ErrInvalid, bounded(n, 40))
		}
	}
	return sortedUnique(names), nil
}

// wanted reports whether a webhook hears of an action.
func wanted(events []string, what string) bool {
	if what == string(actHookDrop) || what == string(actHookTest) {
		return false // or it would say of itself that it cannot be reached, and of a test twice
	}
	kind, _, _ := strings.Cut(what, ".")
	return len(events) == 0 || slices.Contains(events, what) || slices.Contains(events, kind)
}
