package firewall

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/ipc"
)

// Config is what a Firewall is made of.
type Config struct {
	Interface string // the tunnel's
	Journal   *journal.Journal
	Log       *slog.Logger // nil: none
}

// Rules is how the host's packet filter should be.
type Rules struct {
	// Self are this machine's addresses in the network. Packets to them come through the tunnel only.
	Self []netip.Addr
	// Host are addresses that only this host's own programs use: nothing comes to them from anywhere else.
	Host []netip.Addr
	// Network are the addresses of all machines: from where forwarded packets may come.
	Network []netip.Prefix
	// Routes are what this machine routes for the network, as far as it was granted. 0.0.0.0/0 and ::/0 lead to the
	// public internet only, not into the networks that this machine is on: those are routes of their own.
	Routes []netip.Prefix
	// Site are addresses that lead back into the networks that this machine is on, as its router's on the internet: from 0.0.0.0/0
	// and ::/0 they are as these networks are.
	Site []netip.Addr
	// Plain leaves the machines' own addresses on packets into Routes, where else they get this machine's. To the
	// internet they always get it.
	Plain bool
	// Judged: a Filter decides what comes in from the network. What it lets in passes the filters of others, too.
	Judged bool
	// Ports are UDP ports that this machine listens on, which no forwarded flow may come from.
	Ports []uint16
	// Reached are UDP ports at which others should reach this machine. Nothing is opened for them: where another filter drops
	// all that comes to one, that is said.
	Reached []uint16
}

// Firewall keeps the host's packet filter as it is wished. Its methods may be called from several goroutines.
type Firewall struct {
	link    string
	journal *journal.Journal
	log     *slog.Logger
	step    func() // tests die before the next change

	mu      sync.Mutex
	route   *netlink.Handle
	records []record
	made    wish   // of our tables
	gen     uint32 // of the packet filter when our tables were whole; 0: they may not be
	refuses refusals
	shuts   shutting
}

// wish is all that our tables are made from.
type wish struct {
	rules Rules
	host  host
}

// record is a change of ours that stands.
type record struct {
	id journal.ID
	journal.Change
}

// New makes a Firewall for the network namespace of the calling thread. The interface need not be there yet.
func New(cfg Config) (*Firewall, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	route, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, explain("open a netlink socket", err)
	}
	return &Firewall{link: cfg.Interface, journal: cfg.Journal, log: cfg.Log, route: route, step: func() {}}, nil
}

// Apply makes the packet filter, and what the host forwards, as wished. What keeps packets from passing although we let
// them is a problem; what cannot be made is an error, and then nothing is forwarded that was not before.
func (f *Firewall) Apply(ctx context.Context, r Rules) ([]ipc.Problem, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if f.route == nil {
		return nil, errors.New("the firewall is closed")
	}
	// What is not forwarded any more stops before the rules for it go, and what is, begins after they are there.
	want := wantForwarding(r)
	if err := f.withdraw(ctx, want); err != nil {
		return nil, err
	}
	h, err := f.look()
	if err != nil {
		return nil, err
	}
	f.opening(want, &h)
	gen, err := generation()
	if err != nil {
		return nil, explain("look at the packet filter", err)
	}
	next := wish{r, h}
	if gen != f.gen || !reflect.DeepEqual(next, f.made) {
		f.gen = 0
		if err := f.replace(next); err != nil {
			return nil, err
		}
		f.made, f.gen = next, gen+1 // unless others were at it too: then once more, the next time
	}
	problems, err := f.beside(ctx, r)
	if err != nil {
		return problems, err
	}
	if more, err := f.shut(r.Reached); err == nil {
		problems = append(problems, more...)
	} else { // as when another changes them at this moment
		f.log.Debug("cannot look for rules that shut a port", "err", err)
	}
	return problems, f.forward(want, h.links)
}

// Guests are the networks of this host's own containers and virtual machines, as the last Apply saw them.
func (f *Firewall) Guests() []netip.Prefix {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made.host.inner
}

// Close takes everything back.
func (f *Firewall) Close(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.route == nil {
		return nil
	}
	err := f.undo(ctx, func(journal.Change) bool { return true })
	f.route.Close()
	f.route = nil
	return err
}

// record journals what is not recorded yet, with one sync, and marks the new entries' place.
func (f *Firewall) record(changes ...journal.Change) error {
	var fresh []journal.Change
	for _, c := range changes {
		if !f.recorded(c) {
			fresh = append(fresh, c)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	ids, err := f.journal.Record(fresh...)
	if err != nil {
		return err
	}
	for i, id := range ids {
		f.records = append(f.records, record{id, fresh[i]})
	}
	return nil
}

func (f *Firewall) recorded(c journal.Change) bool {
	for _, r := range f.records {
		if r.Change == c {
			return true
		}
	}
	return false
}

// undo takes back the recorded changes that match, the last first. What fails stays in the journal.
func (f *Firewall) undo(ctx context.Context, match func(journal.Change) bool) error {
	var failures []error
	var done []journal.ID
	var rest []record
	for i := len(f.records) - 1; i >= 0; i-- {
		r := f.records[i]
		if match(r.Change) {
			f.step()
			if err := r.Data.(change).undo(ctx); err == nil {
				done = append(done, r.id)
				continue
			} else {
				failures = append(failures, err)
			}
		}
		rest = append([]record{r}, rest...)
	}
	f.records = rest
	return errors.Join(append(failures, f.journal.Done(done...))...)
}
