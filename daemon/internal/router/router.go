package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/ipc"
)

// Protocol marks our routes as ours (rtm_protocol, rtnetlink(7)). 87 is in no list of iproute2's rt_protos.
const Protocol = 87

// ErrNoInterface is returned by Apply when the interface is not there (any more): make a new tunnel.
var ErrNoInterface = errors.New("the tunnel's interface is not there")

// Config is what a Router is made of.
type Config struct {
	Name    string // of the interface
	Mark    uint32 // of the sockets that are never routed into it; needed with Wish.Subnets and Wish.Exit
	Journal *journal.Journal
	Log     *slog.Logger // nil: none
}

// Router keeps one interface as it is wished. Its methods may be called from several goroutines.
type Router struct {
	name    string
	mark    uint32
	journal *journal.Journal
	log     *slog.Logger
	step    func() // tests die before the next change
	last    atomic.Pointer[told]

	mu      sync.Mutex
	handle  *netlink.Handle
	index   int                   // of the interface that the records below are about; 0: none
	records map[change]journal.ID // what we made on it
	fits    fits
	cut     []netip.Prefix        // see Cut
	led     map[netip.Prefix]bool // of Wish.Offers, those to which there was more than the default route
	noIPv6  bool                  // the host has IPv6 switched off, at the last look
	leaving bool                  // see Leave
}

// told is what Watch needs to know of the last Apply. Watch may have begun before it.
type told struct {
	routes []netip.Prefix // that were wished: who else routes these is a rival
	offers []netip.Prefix // that this host leads others to: how it gets there counts
	rivals bool           // there are some
	detour bool           // there are rules of ours: what the host is attached to counts
}

func (r *Router) told() told { return *r.last.Load() }

// change names one thing that we made. The zero prefix is the interface itself.
type change struct {
	kind   journal.Kind
	prefix netip.Prefix
	item   item // of kindRule and kindDetour
}

// New makes a Router for the network namespace of the calling thread. The interface need not be there yet.
func New(cfg Config) (*Router, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, explain("open a netlink socket", err)
	}
	r := &Router{
		name: cfg.Name, mark: cfg.Mark, journal: cfg.Journal, log: cfg.Log,
		handle: h, records: make(map[change]journal.ID), step: func() {},
		fits: fits{sizes: make(map[netip.Prefix]int), made: make(map[spot]int), part: make(map[item]int)},
	}
	r.last.Store(&told{})
	if err := r.adopt(); err != nil {
		h.Close()
		return nil, err
	}
	return r, nil
}

// Apply makes the interface as wished. What the host does not let it have, but can do without, is a problem;
// what it cannot do without is an error.
func (r *Router) Apply(ctx context.Context, w Wish) ([]ipc.Problem, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	link, f, err := r.look()
	if err != nil {
		return nil, err
	}
	w = w.clean()
	if r.noIPv6 = hostWithoutIPv6(r.name); r.noIPv6 {
		w.Addrs, w.Routes, w.Host, w.Subnets = ipv4(w.Addrs), ipv4(w.Routes), ipv4(w.Host), ipv4(w.Subnets)
	}
	r.fits.wish = w // for the routes that are added
	now := told{routes: slices.Concat(w.Routes, w.Subnets), offers: w.Offers, rivals: r.told().rivals, detour: w.detour()}
	r.last.Store(&now)
	p := diff(f, w, r.ours(kindAddr))
	if err := r.follow(link, p); err != nil {
		return nil, err
	}
	if len(p.delAddrs) > 0 { // with the last address the kernel takes the routes too
		if link, f, err = r.look(); err != nil {
			return nil, err
		}
		if err := r.follow(link, diff(f, w, r.ours(kindAddr))); err != nil {
			return nil, err
		}
	}
	var attached []attachment
	if w.detour() {
		if attached, err = r.attachments(f.index); err != nil {
			return nil, err
		}
	}
	problems, err := r.detour(ctx, f.index, &w, attached)
	if err != nil {
		return problems, err
	}
	if err := r.survey(f.index, w.Offers); err != nil {
		return problems, err
	}
	rivals, err := r.conflicts(f.index, &w, attached)
	if err == nil {
		with := now
		with.rivals = len(rivals) > 0
		r.last.Store(&with)
	}
	if problem := r.refit(f.index, &w, len(rivals) > 0); problem != nil {
		r.log.Warn("packets to some machines stay small", "err", problem)
	}
	return append(problems, rivals...), err
}

func (r *Router) follow(link netlink.Link, p plan) error {
	if p.empty() {
		return nil
	}
	r.log.Debug("changing the interface", "interface", r.name, "plan", fmt.Sprintf("%+v", p))
	if err := r.take(link, p); err != nil {
		return err
	}
	return r.put(link, p)
}

// Close takes everything back and leaves the interface down, for the tunnel to remove.
func (r *Router) Close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handle == nil {
		return nil
	}
	defer func() { r.handle.Close(); r.handle = nil }()
	index := r.index
	link, f, err := r.look()
	if err != nil && !errors.Is(err, ErrNoInterface) {
		return err
	}
	if !r.leaving {
		_, problem := r.loosen(ctx, false)
		if failure := errors.Join(r.takeItems(index, r.ourItems()), problem); failure != nil {
			return failure
		}
	}
	if err != nil || f.index != r.index {
		return r.forget() // the kernel took the rest back, with the interface
	}
	err = r.take(link, plan{delRoutes: r.ours(kindRoute), delAddrs: r.ours(kindAddr)})
	r.step()
	if err := errors.Join(err, gone(r.handle.LinkSetDown(link))); err != nil {
		return explain("take down "+r.name, err)
	}
	r.step()
	return r.forget()
}

// look reads the fact, and forgets what we made on an interface that is gone.
func (r *Router) look() (netlink.Link, fact, error) {
	if r.handle == nil {
		return nil, fact{}, errors.New("the router is closed")
	}
	link, err := r.handle.LinkByName(r.name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, fact{}, fmt.Errorf("%w: %s", ErrNoInterface, r.name)
	}
	if err != nil {
		return nil, fact{}, explain("look at "+r.name, err)
	}
	f, err := factOf(r.handle, link)
	if err != nil {
		return nil, fact{}, explain("look at "+r.name, err)
	}
	r.fits.seen = nil
	f.routes = slices.DeleteFunc(f.routes, func(dst netip.Prefix) bool {
		s := spot{unix.RT_TABLE_MAIN, dst}
		_, made := r.fits.made[s]
		if made {
			r.fits.seen = append(r.fits.seen, s)
		}
		return made
	})
	if r.index != 0 && r.index != f.index {
		if err := r.forget(); err != nil {
			return nil, fact{}, err
		}
	}
	return link, f, nil
}

// forget marks as undone what the kernel took with the interface.
func (r *Router) forget() error {
	bound := func(c change) bool {
		return c.kind != kindRule && c.kind != kindSetting && (c.kind != kindDetour || c.item.way == viaTunnel)
	}
	var ids []journal.ID
	for c, id := range r.records {
		if bound(c) {
			ids = append(ids, id)
		}
	}
	if err := r.journal.Done(ids...); err != nil {
		return err
	}
	r.index, r.fits.index = 0, 0
	clear(r.fits.made)
	clear(r.fits.part)
	maps.DeleteFunc(r.records, func(c change, _ journal.ID) bool { return bound(c) })
	return nil
}

func (r *Router) ours(kind journal.Kind) []netip.Prefix {
	var ps []netip.Prefix
	for c := range r.records {
		if c.kind == kind {
			ps = append(ps, c.prefix)
		}
	}
	slices.SortFunc(ps, netip.Prefix.Compare)
	return ps
}

// take removes what the plan says, routes before the addresses that they might prefer.
func (r *Router) take(link netlink.Link, p plan) error {
	var ids []journal.ID
	var failures []error
	remove := func(c change, err error) {
		if err := gone(err); err != nil {
			failures = append(failures, explain(fmt.Sprintf("remove %s from %s", c.prefix, r.name), err))
			return
		}
		if id, ok := r.records[c]; ok {
			ids = append(ids, id)
			delete(r.records, c)
		}
	}
	for _, dst := range p.delRoutes {
		r.step()
		remove(change{kind: kindRoute, prefix: dst}, r.handle.RouteDel(route(link.Attrs().Index, dst)))
	}
	for _, a := range p.delAddrs {
		r.step()
		remove(change{kind: kindAddr, prefix: a}, r.handle.AddrDel(link, address(a)))
	}
	return errors.Join(append(failures, r.journal.Done(ids...))...)
}

// put adds what the plan says, journaled first with one sync.
func (r *Router) put(link netlink.Link, p plan) error {
	if err := r.record(link, p); err != nil {
		return err
	}
	if p.setMTU != 0 {
		r.step()
		if err := r.handle.LinkSetMTU(link, p.setMTU); err != nil {
			return explain(fmt.Sprintf("set the MTU of %s to %d", r.name, p.setMTU), err)
		}
	}
	if p.setUp {
		// A link-local address would only send router solicitations and multicast reports into the tunnel. Where the
		// kernel does not let us say so, it does.
		_ = r.handle.LinkSetIP6AddrGenMode(link, 1) // IN6_ADDR_GEN_MODE_NONE, linux/if_link.h
		r.step()
		if err := r.handle.LinkSetUp(link); err != nil {
			return explain("set "+r.name+" up", err)
		}
	}
	for _, a := range p.addAddrs {
		r.step()
		made := address(a)
		if slices.Contains(p.host, a) {
			made = hostAddress(a)
		}
		err := r.handle.AddrAdd(link, made)
		if a.Addr().Is6() && noFamily(err) {
			r.noIPv6 = true
			continue
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return explain(fmt.Sprintf("give %s the address %s", r.name, a.Addr()), err)
		}
	}
	for _, dst := range p.addRoutes {
		r.step()
		err := r.handle.RouteAdd(r.fits.wish.sized(route(link.Attrs().Index, dst), r.fits.wish.Least))
		if errors.Is(err, unix.EEXIST) || (dst.Addr().Is6() && noFamily(err)) {
			continue // conflicts says whose it is
		}
		if err != nil {
			return explain(fmt.Sprintf("route %s to %s", dst, r.name), err)
		}
	}
	return nil
}

// record journals what put is about to add.
func (r *Router) record(link netlink.Link, p plan) error {
	on := onLink{Link: r.name, Index: link.Attrs().Index}
	var made []change
	var changes []journal.Change
	add := func(c change, data any) {
		if _, known := r.records[c]; !known {
			made, changes = append(made, c), append(changes, journal.Change{Kind: c.kind, Data: data})
		}
	}
	add(change{kind: kindLink}, on)
	for _, a := range p.addAddrs {
		add(change{kind: kindAddr, prefix: a}, addrData{on, a})
	}
	for _, dst := range p.addRoutes {
		add(change{kind: kindRoute, prefix: dst}, routeData{on, dst})
	}
	ids, err := r.journal.Record(changes...)
	if err != nil {
		return err
	}
	for i, id := range ids {
		r.records[made[i]] = id
	}
	r.index = on.Index
	return nil
}

// address is an address as netlink takes it: without a route of its own (/128) and without duplicate detection,
// for which a tunnel has nobody to ask.
func address(a netip.Prefix) *netlink.Addr {
	n := &netlink.Addr{IPNet: ipNet(a)}
	if a.Addr().Is6() {
		n.Flags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
	}
	return n
}

// hostAddress is an address that the kernel picks as no packet's source: one of IPv4 whose scope is the host, and of IPv6
// one that is not preferred any more (RFC 6724, section 5, rule 3).
func hostAddress(a netip.Prefix) *netlink.Addr {
	n := address(a)
	if a.Addr().Is4() {
		n.Scope = unix.RT_SCOPE_HOST
		return n
	}
	n.Flags |= unix.IFA_F_DEPRECATED
	n.ValidLft, n.PreferedLft = math.MaxUint32, 0
	return n
}

// route is a route of ours as netlink takes it.
func route(index int, dst netip.Prefix) *netlink.Route {
	scope := netlink.SCOPE_LINK
	if dst.Addr().Is6() {
		scope = netlink.SCOPE_UNIVERSE // IPv6 knows no other
	}
	return &netlink.Route{LinkIndex: index, Dst: ipNet(dst), Scope: scope, Protocol: Protocol, Table: unix.RT_TABLE_MAIN}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
