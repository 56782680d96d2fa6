package router

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The interface takes packets as large as any path carries, and each route says how large they may be on it: Wish.Least for
// all, and more for what Fit names. So the kernel cuts what it sends to size, and says so to programs and to the machines
// for which it forwards (RFC 1191, RFC 8201).
//
// The largest segment is announced to other machines of the network as if the whole path carried it, since it is
// settled once for a connection while a route's MTU grows and shrinks. What the other end really sends, its own route says.
//
// These routes are not in the journal: they are on an interface that is, and the kernel takes them with it.

// spot is where a route of Fit's stands.
type spot struct {
	table int
	dst   netip.Prefix
}

// fits is what Fit and Apply have to tell each other.
type fits struct {
	wish  Wish                 // of the last Apply
	index int                  // of the interface then; 0: there was none
	tight bool                 // the host has routes of its own inside of ours: it wins, so none more exact are added
	sizes map[netip.Prefix]int // told by Fit, where more than the least
	made  map[spot]int         // routes for single addresses
	part  map[item]int         // routes of our table that lead behind machines, and their sizes
	seen  []spot               // those of made that were there at the last look
}

// Fit says how large packets may be that go to addresses of the network, or to what is behind its machines, in bytes. What it
// does not name stays as it was; what is no larger than Wish.Least has no route of its own.
func (r *Router) Fit(sizes map[netip.Prefix]int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handle == nil {
		return nil
	}
	for dst, size := range sizes {
		dst = unmap(dst).Masked()
		if size > r.fits.wish.Least {
			r.fits.sizes[dst] = size
		} else {
			delete(r.fits.sizes, dst)
		}
	}
	var failures []error
	for dst := range sizes {
		failures = append(failures, r.fit(unmap(dst).Masked()))
	}
	return errors.Join(failures...)
}

// Forget takes back what Fit said of all prefixes but those.
func (r *Router) Forget(but map[netip.Prefix]int) error {
	gone := make(map[netip.Prefix]int)
	r.mu.Lock()
	for dst := range r.fits.sizes {
		if _, stays := but[dst]; !stays {
			gone[dst] = 0
		}
	}
	r.mu.Unlock()
	return r.Fit(gone)
}

// fit makes the routes to dst as they are to be.
func (r *Router) fit(dst netip.Prefix) error {
	f := &r.fits
	if f.index == 0 || dst.Addr().Is6() && r.noIPv6 {
		return nil
	}
	if !f.wish.overlay(dst) {
		return r.fitBehind(dst)
	}
	if !dst.IsSingleIP() {
		return nil
	}
	size := f.sizes[dst]
	if f.tight {
		size = 0
	}
	err := r.put1(spot{unix.RT_TABLE_MAIN, dst}, size)
	if f.wish.Exit == nil { // our table does not stand before the main one
		size = 0
	}
	return errors.Join(err, r.put1(spot{Table, dst}, size))
}

// put1 makes one route for a single address. Where another stands in its place already, that one stays.
func (r *Router) put1(s spot, size int) (err error) {
	was, known := r.fits.made[s]
	to := route(r.fits.index, s.dst)
	to.Table = s.table
	switch {
	case was == size:
		return nil
	case size == 0:
		if err = gone(r.handle.RouteDel(to)); err == nil {
			delete(r.fits.made, s)
			return nil
		}
	case known:
		err = r.handle.RouteReplace(r.fits.wish.sized(to, size))
	default:
		if err = r.handle.RouteAdd(r.fits.wish.sized(to, size)); errors.Is(err, unix.EEXIST) {
			return nil
		}
	}
	if err == nil {
		r.fits.made[s] = size
		return nil
	}
	return explain(fmt.Sprintf("set the MTU of the route to %s", s.dst.Addr()), err)
}

// fitBehind gives the route of our table that leads behind a machine its size. One that has it is left alone: the kernel
// tells Watch of a route that is replaced by its like.
func (r *Router) fitBehind(part netip.Prefix) error {
	to := []netip.Prefix{part}
	if part.Bits() > 0 && part.Addr().IsUnspecified() {
		to = append(to, netip.PrefixFrom(part.Addr(), 0)) // an exit node's, of which this is a part
	}
	var failures []error
	for _, dst := range to {
		i := item{six: dst.Addr().Is6(), dst: dst, way: viaTunnel}
		was, made := r.fits.part[i]
		wished := r.asRoute(i, r.fits.index)
		if !made || wished.MTU == was {
			continue
		}
		if err := r.handle.RouteReplace(wished); err != nil {
			failures = append(failures, explain(fmt.Sprintf("set the MTU of the route to %s", dst), err))
			continue
		}
		r.fits.part[i] = wished.MTU
	}
	return errors.Join(failures...)
}

// refit makes all routes that Fit asked for anew, where something took them away or the wish is another.
func (r *Router) refit(index int, w *Wish, rivals bool) error {
	f := &r.fits
	f.wish, f.index, f.tight = *w, index, rivals
	present := make(map[spot]bool, len(f.seen))
	for _, s := range f.seen {
		present[s] = true
	}
	maps.DeleteFunc(f.made, func(s spot, _ int) bool { return !present[s] })
	var failures []error
	for s := range f.made {
		if _, wished := f.sizes[s.dst]; !wished || !w.overlay(s.dst) {
			failures = append(failures, r.put1(s, 0))
		}
	}
	for dst := range f.sizes {
		failures = append(failures, r.fit(dst))
	}
	return errors.Join(failures...)
}

// overlay reports whether the prefix is of the network itself, not behind one of its machines.
func (w *Wish) overlay(dst netip.Prefix) bool {
	for _, p := range w.Routes {
		if contains(p, dst) {
			return true
		}
	}
	return false
}

// sized has a route say how large packets may be on it.
func (w *Wish) sized(to *netlink.Route, size int) *netlink.Route {
	const ip4TCP, ip6TCP = 20 + 20, 40 + 20
	if to.MTU = size; size == 0 {
		return to
	}
	if dst, ok := prefix(to.Dst); ok && w.overlay(dst) {
		if to.AdvMSS = w.MTU - ip4TCP; dst.Addr().Is6() {
			to.AdvMSS = w.MTU - ip6TCP
		}
	}
	return to
}

// asRoute is a route of our table as it is added, with the size that the machine has behind which it leads.
func (r *Router) asRoute(i item, index int) *netlink.Route {
	to := i.asRoute(index)
	if i.way != viaTunnel {
		return to
	}
	// A subnet has a machine of its own, whatever the exit node's path carries. What the exit node leads to comes in parts.
	best, size := 0, max(r.fits.wish.Least, r.fits.sizes[i.dst])
	if i.dst.Bits() == 0 {
		for dst, s := range r.fits.sizes {
			if dst.Contains(i.dst.Addr()) && dst.Bits() > best {
				best, size = dst.Bits(), s
			}
		}
	}
	return r.fits.wish.sized(to, size)
}
