package router

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/ipc"
)

// detour makes the rules and the table of our own as wished.
func (r *Router) detour(ctx context.Context, index int, w *Wish, attached []attachment) ([]ipc.Problem, error) {
	have, err := present(r.handle, index)
	if err != nil {
		return nil, explain("read the routing rules", err)
	}
	have = slices.DeleteFunc(have, func(i item) bool {
		s := spot{Table, i.dst}
		_, made := r.fits.made[s]
		if made = made && i.rule == 0 && i.way == viaTunnel; made {
			r.fits.seen = append(r.fits.seen, s)
		}
		return made
	})
	wished := w.items(attached, r.noIPv6)
	problems, err := r.loosen(ctx, w.detour4())
	if err != nil {
		return problems, err
	}
	added, left := missing(wished, have), missing(have, wished)
	// One that stands where another is to be has to go first: until that is there, its packets take the wider route into the tunnel.
	inTheWay := func(i item) bool { return slices.ContainsFunc(added, i.excludes) }
	if err := r.takeItems(index, slices.DeleteFunc(slices.Clone(left), func(i item) bool { return !inTheWay(i) })); err != nil {
		return problems, err
	}
	if err := r.putItems(index, added); err != nil {
		return problems, err
	}
	return problems, r.takeItems(index, slices.DeleteFunc(left, inTheWay))
}

// excludes reports whether the kernel takes only one of two routes: of one prefix and metric.
func (i item) excludes(o item) bool {
	return i.rule == 0 && o.rule == 0 && i.dst == o.dst && (i.way == nowhere) == (o.way == nowhere)
}

// missing gives what is in a and not in b, in a's order.
func missing(a, b []item) (rest []item) {
	for _, i := range a {
		if !slices.Contains(b, i) {
			rest = append(rest, i)
		}
	}
	return rest
}

// putItems adds rules and routes, journaled first with one sync.
func (r *Router) putItems(index int, items []item) error {
	var made []change
	var changes []journal.Change
	for _, i := range items {
		c := i.change()
		if _, known := r.records[c]; known {
			continue
		}
		made = append(made, c)
		if i.rule != 0 {
			changes = append(changes, journal.Change{Kind: c.kind, Data: ruleDataOf(i.asRule(r.mark))})
		} else {
			changes = append(changes, journal.Change{Kind: c.kind, Data: detourDataOf(i.asRoute(index), i.dst)})
		}
	}
	ids, err := r.journal.Record(changes...)
	if err != nil {
		return err
	}
	for n, id := range ids {
		r.records[made[n]] = id
	}
	for _, i := range items {
		r.step()
		if i.rule != 0 {
			err = r.handle.RuleAdd(i.asRule(r.mark))
		} else {
			to := r.asRoute(i, index)
			if err = r.handle.RouteAdd(to); err == nil && i.way == viaTunnel && !r.fits.wish.overlay(i.dst) {
				r.fits.part[i] = to.MTU
			}
		}
		if i.way == aside && errors.Is(err, unix.ENETDOWN) {
			continue // a host whose loopback interface is down
		}
		if err != nil && !errors.Is(err, unix.EEXIST) && !(i.six && noFamily(err)) {
			return explain(fmt.Sprintf("lead packets to %s", r.name), err)
		}
	}
	return nil
}

// takeItems removes rules and routes, the last first.
func (r *Router) takeItems(index int, items []item) error {
	var ids []journal.ID
	var failures []error
	for _, i := range slices.Backward(items) {
		r.step()
		var err error
		if i.rule != 0 {
			err = r.handle.RuleDel(i.asRule(r.mark))
		} else {
			err = r.handle.RouteDel(i.asRoute(index))
		}
		if err := gone(err); err != nil && !(i.six && noFamily(err)) {
			failures = append(failures, explain(fmt.Sprintf("lead packets away from %s", r.name), err))
			continue
		}
		delete(r.fits.part, i)
		if id, ok := r.records[i.change()]; ok {
			ids = append(ids, id)
			delete(r.records, i.change())
		}
	}
	return errors.Join(append(failures, r.journal.Done(ids...))...)
}

// change names an item's record.
func (i item) change() change {
	if i.rule != 0 {
		return change{kind: kindRule, item: i}
	}
	return change{kind: kindDetour, item: i}
}

// ourItems lists those that we have made.
func (r *Router) ourItems() (items []item) {
	for c := range r.records {
		if c.kind == kindRule || c.kind == kindDetour {
			items = append(items, c.item)
		}
	}
	slices.SortFunc(items, item.compare)
	return items
}
