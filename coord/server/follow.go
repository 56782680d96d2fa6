package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// How the hub follows the store's log.

// catchUp takes in what the log has after what the state has.
func (h *hub) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	select {
	case h.reading <- struct{}{}:
		defer func() { <-h.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	h.mu.Lock()
	after := h.st.Seq()
	h.mu.Unlock()
	if h.store.News() == nil && h.store.Committed() <= after {
		return nil // only this process writes
	}
	var news store.News
	err := h.store.Read(ctx, func(tx store.Tx) (err error) {
		news, err = tx.News(after)
		return err
	})
	if errors.Is(err, store.ErrForgotten) {
		return h.reload(ctx)
	}
	if err != nil || len(news.Log) == 0 {
		return err
	}
	n, err := h.translate(news)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(n.Log, func(c state.Change) bool { return c.Kind == state.RulesChange }) {
		n.Draft = h.draft(n.Rules)
	}
	h.mu.Lock()
	h.take(n, news.Nodes)
	h.mu.Unlock()
	for _, c := range news.Log {
		if c.Kind == store.LoginChanged {
			h.stir(c.Node)
		}
	}
	h.kick()
	return nil
}

// draft works out what an edit comes to. That takes as long as the network is large, and the lock is free meanwhile: only
// who reads the log changes what the rules go by.
func (h *hub) draft(f *policy.File) *state.Draft {
	h.mu.Lock()
	d := h.st.Draft(f)
	h.mu.Unlock()
	d.Work()
	return d
}

// fresh makes what another server of the network has acknowledged seen here too, for people who look at what they have
// just changed there. Without the database they see what there was.
func (h *hub) fresh(ctx context.Context) {
	if h.store.News() != nil {
		_ = h.catchUp(ctx)
	}
}

// take brings the state up to date, and does what belongs to it here: the hub's lock is held.
func (h *hub) take(n state.News, nodes []store.Node) {
	now := h.now()
	h.st.Apply(n)
	v := h.st.View()
	for _, c := range n.Log {
		if c.Kind != state.NodeChange {
			continue
		}
		h.answer(c.ID)
		switch m, ok := v.Member(c.ID); {
		case m.Pending:
			h.cut(c.ID, "pending")
		case !ok:
			h.cut(c.ID, "removed")
		case m.Expired:
			h.cut(c.ID, "expired")
		}
	}
	for i := range nodes {
		p := h.here[nodes[i].ID]
		if p == nil {
			continue
		}
		h.ticket(now, nodes[i].ID)
		if nodes[i].Replica == 0 && p.stream != nil && p.epoch != 0 { // taken for gone, and it is not
			p.epoch = 0
			h.wish(nodes[i].ID)
		}
	}
}

// reload begins anew where the log says nothing of what this process knew: the database has been restored, or has
// lost its last commits. Machines hear the difference when they come again, by their numbers.
func (h *hub) reload(ctx context.Context) error {
	var n state.Network
	var nodes []store.Node
	err := h.store.Read(ctx, func(tx store.Tx) (err error) {
		if n, err = h.load(tx); err != nil {
			return err
		}
		nodes, err = tx.Nodes()
		return err
	})
	if err != nil {
		return err
	}
	st, now := state.New(n), h.now() // which takes its time
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.here {
		h.cut(id, "the database has lost what it told")
	}
	h.st = st
	for _, x := range nodes {
		if x.Replica == h.replica {
			h.here[x.ID] = &presence{epoch: x.Epoch, left: now}
			h.leaving[x.ID] = struct{}{}
		}
	}
	for id := range h.asking {
		h.answer(id)
	}
	h.kick() // for the deadlines
	return nil
}

// followed is the store as handlers use it: what they have written the hub knows when Write returns, and so do those
// who ask next.
type followed struct {
	store.Store
	hub *hub
}

func (f followed) Write(ctx context.Context, fn func(store.Tx) error) error {
	return f.follow(ctx, f.Store.Write(ctx, fn))
}

func (f followed) WriteSoft(ctx context.Context, fn func(store.Tx) error) error {
	return f.follow(ctx, f.Store.WriteSoft(ctx, fn))
}

func (f followed) follow(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	if f.hub.catchUp(context.WithoutCancel(ctx)) != nil {
		signal(f.hub.heard) // it is done; the rest follows
	}
	return nil
}

// translate makes of the store's news the state's.
func (h *hub) translate(n store.News) (out state.News, err error) {
	out.Relays = n.Relays
	for _, c := range n.Log {
		out.Log = append(out.Log, changeOf(c))
	}
	for _, x := range n.Nodes {
		if !x.Key.IsZero() {
			out.Members = append(out.Members, h.memberOf(x, n.Users[x.User]))
		}
	}
	if n.Network != "" {
		if out.Common, err = parseNetwork(n.Network); err != nil {
			return out, fmt.Errorf("the database does not say which network it is: %w", err)
		}
	}
	if n.DNS != "" {
		if out.DNS, err = parseDNS(n.DNS); err != nil {
			return out, err
		}
	}
	if n.Policy != "" {
		if out.Rules, err = rulesOf(n.Policy); err != nil {
			return out, err
		}
	}
	return out, nil
}

var kinds = map[store.Kind]state.Kind{
	store.NodeChanged: state.NodeChange, store.TicketChanged: state.TicketChange,
	store.RelaysChanged: state.RelaysChange, store.NetworkChanged: state.NetworkChange,
	store.DNSChanged: state.DNSChange, store.PolicyChanged: state.RulesChange,
}

func changeOf(c store.Change) state.Change {
	kind, ok := kinds[c.Kind]
	if !ok {
		kind = state.OtherChange
	}
	return state.Change{Seq: c.Seq, Kind: kind, ID: c.Node, Facts: c.Facts}
}
