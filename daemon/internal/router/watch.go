package router

import (
	"context"
	"errors"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// settle is how long Watch gathers changes before it tells of them: a network that comes up brings a dozen at once.
const settle = 100 * time.Millisecond

// Event says what changed on the host.
type Event struct {
	Own     bool // the tunnel's interface, or a route that may conflict with it: call Apply again
	Network bool // addresses, default routes or links of the other interfaces: paths may have changed
}

func (e *Event) add(o Event) { e.Own, e.Network = e.Own || o.Own, e.Network || o.Network }

// Watch tells of changes on the host until ctx ends; then the channel is closed. Changes within 100 ms come as one event,
// and so do those that come faster than they are taken. Our own changes are told too.
func (r *Router) Watch(ctx context.Context) (<-chan Event, error) {
	groups := []uint{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	}
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return nil, explain("watch the network", err)
	}
	seen, err := r.snapshot()
	if err != nil {
		sock.Close()
		return nil, err
	}
	raw := make(chan Event)
	stop := context.AfterFunc(ctx, sock.Close)
	go func() {
		defer close(raw)
		defer stop()
		defer sock.Close()
		r.receive(ctx, sock, seen, raw)
	}()
	events := make(chan Event)
	go coalesce(raw, events)
	return events, nil
}

// receive turns messages into events until the socket is closed.
func (r *Router) receive(ctx context.Context, sock *nl.NetlinkSocket, seen *view, raw chan<- Event) {
	for {
		msgs, from, err := sock.Receive()
		var e Event
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, unix.ENOBUFS): // messages were lost: anything may have changed
			fresh, err := r.snapshot()
			if err != nil {
				r.log.Warn("lost sight of the network's changes", "err", err)
			} else {
				seen = fresh
			}
			e = Event{Own: true, Network: true}
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			r.log.Warn("the network's changes are not watched any more", "err", err)
			return
		case from.Pid != 0: // not from the kernel
			continue
		}
		for _, m := range msgs {
			e.add(seen.observe(m))
		}
		if e == (Event{}) {
			continue
		}
		select {
		case raw <- e:
		case <-ctx.Done():
			return
		}
	}
}

// coalesce joins events that come within settle of the first, or while nobody takes them.
func coalesce(raw <-chan Event, events chan<- Event) {
	defer close(events)
	for {
		pending, ok := <-raw
		if !ok {
			return
		}
		timer := time.NewTimer(settle)
		var out chan<- Event // nil until settled
		for pending != (Event{}) {
			select {
			case e, ok := <-raw:
				if !ok {
					timer.Stop()
					return
				}
				pending.add(e)
			case <-timer.C:
				out = events
			case out <- pending:
				pending = Event{}
			}
		}
	}
}
