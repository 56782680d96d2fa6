package server

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/coord/internal/store"
)

// Delivery of the audit log to webhooks. Each has a place in the log, which is in the store: a line is sent until it was
// taken, at least once and in order, over restarts too.
//
//	log ──▶ 7 8 9 10 11 12
//	            │
//	         position ─ POST line 9, signed ─▶ 2xx: position 9 │ else: again later, for a day, then dropped and said so

// Times and bounds of delivery.
const (
	hookTimeout   = 10 * time.Second // of one try, to the end of its answer
	hookLease     = time.Minute      // others leave a webhook alone for so long that one has begun to serve
	hookBatch     = 100              // lines of the log that are read at a time
	hookFirstWait = 5 * time.Second
	hookLongWait  = time.Hour
	hookGiveUp    = 24 * time.Hour // how old an event may become
	hookAnswer    = 64 << 10       // bytes of an answer that are read, and forgotten
	hookIdle      = time.Minute    // how long the courier sleeps at the most
	hooksAtOnce   = 8
)

// HookSignature is the header with an event's signature: t=UNIX TIME,v1=HEX. The latter is HMAC-SHA256 by the webhook's
// secret, of the time, a dot and the body.
const HookSignature = "Warren-Signature"

// Event is what is posted: a line of the audit log, and which network it is of.
type Event struct {
	AuditLine
	Network string `json:"network"`
	Server  string `json:"server"` // its URL
}

// courier sends events.
type courier struct {
	s     *Server
	wake  chan struct{}
	wait  func(tries int) time.Duration // before the next try
	plain *http.Client                  // to this host
	tls   *http.Client
	slots chan struct{}

	mu   sync.Mutex
	busy map[int64]bool // webhooks that are being served; true: there may be more to do afterwards
}

func newCourier(s *Server) *courier {
	return &courier{
		s: s, wake: make(chan struct{}, 1), wait: backOff, plain: hookClient("http"), tls: hookClient("https"),
		slots: make(chan struct{}, hooksAtOnce), busy: map[int64]bool{},
	}
}

// backOff doubles up to a bound, and is not the same for all that fail at once.
func backOff(tries int) time.Duration {
	d := min(hookLongWait, hookFirstWait<<min(max(tries-1, 0), 16))
	return d/2 + rand.N(d/2+1)
}

// hookClient reaches receivers: by no proxy, following nobody elsewhere, and no address that hookAddress refuses,
// whatever its name was resolved to.
func hookClient(scheme string) *http.Client {
	d := &net.Dialer{Timeout: hookTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return hookAddress(scheme, a.Addr())
	}}
	return &http.Client{
		Timeout:       hookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: d.DialContext, TLSHandshakeTimeout: hookTimeout, ResponseHeaderTimeout: hookTimeout, MaxResponseHeaderBytes: maxHeader,
			DisableCompression: true, ForceAttemptHTTP2: true, MaxIdleConns: hooksAtOnce, MaxIdleConnsPerHost: 1, IdleConnTimeout: hookIdle,
		},
	}
}

// run sends until ctx ends.
func (c *courier) run(ctx context.Context) {
	var work sync.WaitGroup
	defer func() {
		work.Wait()
		c.plain.CloseIdleConnections()
		c.tls.CloseIdleConnections()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		next := c.begin(ctx, &work)
		timer.Reset(next)
	}
}

// kick has the courier look for work.
func (c *courier) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// begin starts to serve each webhook that is due, and says when to look again.
func (c *courier) begin(ctx context.Context, work *sync.WaitGroup) time.Duration {
	var hooks []store.Webhook
	err := c.s.store.Read(ctx, func(tx store.Tx) (err error) {
		hooks, err = tx.Webhooks()
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			c.s.log.Warn("cannot look for webhooks", "err", err)
		}
		return hookFirstWait
	}
	now, next := c.s.now(), hookIdle
	for _, w := range hooks {
		if !c.claim(w.ID, w.Next.After(now)) {
			if wait := w.Next.Sub(now); wait > 0 {
				next = min(next, wait+time.Millisecond)
			}
			continue
		}
		work.Go(func() {
			defer c.release(w.ID)
			select {
			case c.slots <- struct{}{}:
				defer func() { <-c.slots }()
			case <-ctx.Done():
				return
			}
			if err := c.serve(ctx, w.ID); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) { // it was removed meanwhile
				c.s.log.Warn("cannot serve a webhook", "id", w.ID, "err", err)
			}
		})
	}
	return next
}

// claim takes a webhook that is due and not being served. One that is will be looked at again.
func (c *courier) claim(id int64, early bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, busy := c.busy[id]; busy {
		c.busy[id] = true
		return false
	}
	if !early {
		c.busy[id] = false
	}
	return !early
}

// again has a webhook that is being served looked at afterwards.
func (c *courier) again(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[id] = true
}

func (c *courier) release(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[id] {
		c.kick()
	}
	delete(c.busy, id)
}

// serve sends what there is for a webhook, until nothing is left or a try fails.
func (c *courier) serve(ctx context.Context, id int64) error {
	for ctx.Err() == nil {
		w, lines, err := c.take(ctx, id)
		if err != nil || w.ID == 0 {
			return err
		}
		until := time.Now().Add(hookLease - 2*hookTimeout)
		for _, line := range lines {
			w.Position = line.ID
			ok := true
			if wanted(w.Events, line.Action) {
				if ok, err = c.try(ctx, &w, line); err != nil {
					return err
				}
			}
			if !ok {
				c.again(id) // to sleep no longer than until the next try
				return nil
			}
			if time.Now().After(until) {
				break
			}
		}
		if err := c.settle(ctx, w, nil); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// take finds the next lines for a webhook, and keeps other servers of the network from sending them too. The webhook
// has ID 0 where there is nothing to do.
func (c *courier) take(ctx context.Context, id int64) (w store.Webhook, lines []store.Audit, err error) {
	due := false
	err = c.s.store.Read(ctx, func(tx store.Tx) error {
		w, err := tx.Webhook(id)
		if err != nil {
			return err
		}
		lines, err = tx.AuditLines(store.AuditQuery{After: w.Position, Forward: true, Limit: 1})
		due = len(lines) > 0
		return err
	})
	if err != nil || !due {
		return store.Webhook{}, nil, err
	}
	err = c.s.store.Write(ctx, func(tx store.Tx) error {
		lines = nil
		if w, err = tx.Webhook(id); err != nil {
			return err
		}
		now := c.s.now()
		if w.Next.After(now) {
			w.ID = 0
			return nil
		}
		if lines, err = tx.AuditLines(store.AuditQuery{After: w.Position, Forward: true, Limit: hookBatch}); err != nil {
			return err
		}
		w.Next = now.Add(hookLease)
		return tx.SetDelivery(id, w.Delivery)
	})
	return w, lines, err
}

// try sends one line, and writes down what came of it.
func (c *courier) try(ctx context.Context, w *store.Webhook, line store.Audit) (ok bool, err error) {
	status, problem := c.post(ctx, *w, Event{AuditLine: lineOf(line), Network: c.s.network.Name, Server: c.s.url})
	if ctx.Err() != nil { // it may have arrived: it is sent again
		w.Position = line.ID - 1
		return false, errors.Join(ctx.Err(), c.settle(ctx, *w, nil))
	}
	now := c.s.now()
	lease := w.Next
	w.Tried, w.Status, w.Problem = now, status, problem
	if problem == "" {
		w.Tries, w.Sent = 0, now
		return true, c.settle(ctx, *w, &lease)
	}
	w.Tries++
	w.Position = line.ID - 1
	w.Next = now.Add(c.wait(w.Tries))
	c.s.log.Info("webhook not served", "id", w.ID, "problem", problem, "tries", w.Tries)
	return false, c.giveUp(ctx, *w, now)
}

// settle writes down how far a webhook is. It stays taken until then, or is free for the next.
func (c *courier) settle(ctx context.Context, w store.Webhook, until *time.Time) error {
	if w.Next = (time.Time{}); until != nil {
		w.Next = *until
	}
	return c.s.store.Write(context.WithoutCancel(ctx), func(tx store.Tx) error { return tx.SetDelivery(w.ID, w.Delivery) })
}

// giveUp writes a failure down, and drops the events that are too old.
func (c *courier) giveUp(ctx context.Context, w store.Webhook, now time.Time) error {
	return c.s.store.Write(context.WithoutCancel(ctx), func(tx store.Tx) error {
		d := w.Delivery
		old := store.AuditQuery{After: d.Position, Until: now.Add(-hookGiveUp), Forward: true, Limit: hookBatch}
		dropped := int64(0)
		for {
			lines, err := tx.AuditLines(old)
			if err != nil {
				return err
			}
			for _, l := range lines {
				if d.Position = l.ID; wanted(w.Events, l.Action) {
					dropped++
				}
			}
			if old.After = d.Position; len(lines) < hookBatch {
				break
			}
		}
		d.Dropped += dropped
		if err := tx.SetDelivery(w.ID, d); err != nil || dropped == 0 {
			return err
		}
		return c.s.record(tx, caller{via: viaServer}, actHookDrop, hookName(w), facts{"id": w.ID, "events": dropped, "problem": d.Problem})
	})
}

// post sends an event, and says in words what was wrong; nothing: it was taken.
func (c *courier) post(ctx context.Context, w store.Webhook, e Event) (status int, problem string) {
	body, err := json.Marshal(e)
	if err != nil {
		return 0, textHookInternal
	}
	secret, err := c.s.vault.open(hookPurpose(w.ID), w.Secret)
	if err != nil {
		return 0, textHookInternal
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return 0, textHookInternal
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "warren-coord/"+c.s.opts.Version)
	req.Header.Set(HookSignature, sign(secret, c.s.now(), body))
	client := c.tls
	if req.URL.Scheme == "http" {
		client = c.plain
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, hookProblem(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, hookAnswer)
	switch {
	case resp.StatusCode < http.StatusMultipleChoices:
		return resp.StatusCode, ""
	case resp.StatusCode < http.StatusBadRequest:
		return resp.StatusCode, fmt.Sprintf(textHookRedirect, resp.StatusCode)
	}
	return resp.StatusCode, fmt.Sprintf(textHookAnswer, resp.StatusCode)
}

// hookProblem is an error without what comes before its cause: the address may hold a secret.
func hookProblem(err error) string {
	var timeout net.Error
	var dns *net.DNSError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf(textHookTimeout, hookTimeout)
	case errors.As(err, &dns):
		return textHookName
	}
	if strings.Contains(err.Error(), "malformed ") { // net/http goes on with what the other said, which is nobody's business
		return textHookSpeech
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return bounded(err.Error(), maxFactLength)
}

// sign makes the value of HookSignature.
func sign(secret []byte, now time.Time, body []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(t + "."))
	m.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

// testWebhook sends an event that is in no log, now.
func (s *Server) testWebhook(ctx context.Context, by caller, id int64) (t WebhookTest, err error) {
	var w store.Webhook
	err = s.store.Write(ctx, func(tx store.Tx) error {
		if w, err = tx.Webhook(id); err != nil {
			return err
		}
		return s.record(tx, by, actHookTest, hookName(w), facts{"id": id})
	})
	if errors.Is(err, store.ErrNotFound) {
		return t, errNoWebhook
	}
	if err != nil {
		return t, err
	}
	t.Status, t.Problem = s.courier.post(ctx, w, Event{
		AuditLine: AuditLine{Time: s.now().UTC(), Via: viaServer, Action: string(actHookTest), Details: json.RawMessage("{}")}, Network: s.network.Name, Server: s.url,
	})
	t.OK = t.Problem == ""
	return t, nil
}

// watched is a store that tells the courier when lines were written to the log.
type watched struct {
	store.Store
	s *Server
}

// Write implements store.Store.
func (w watched) Write(ctx context.Context, fn func(store.Tx) error) error {
	err := w.Store.Write(ctx, fn)
	if err == nil && w.s.trail.news.Swap(false) {
		w.s.courier.kick()
	}
	return err
}
