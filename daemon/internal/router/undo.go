package router

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/journal"
)

// The kinds of changes that the journal holds of us.
const (
	kindLink  journal.Kind = "link"
	kindAddr  journal.Kind = "addr"
	kindRoute journal.Kind = "route"
)

// onLink names an interface so that no other can be meant: a new one of the same name has another index.
type onLink struct {
	Link  string `json:"link"`
	Index int    `json:"index"`
}

type addrData struct {
	onLink
	Addr netip.Prefix `json:"addr"`
}

type routeData struct {
	onLink
	Dst netip.Prefix `json:"dst"`
}

// Undo gives the handlers that take our changes back, in the network namespace of the thread that calls them.
func Undo() journal.Handlers {
	return journal.Handlers{
		kindLink:  {Undo: undo(undoLink), Volatile: true},
		kindAddr:  {Undo: undo(undoAddr), Volatile: true},
		kindRoute: {Undo: undo(undoRoute), Volatile: true},
	}
}

// named gives every record's data the interface that it names.
type named interface{ on() onLink }

func (l onLink) on() onLink { return l }

// undo decodes a record, and calls f if the interface that it names is still there, and is a TUN as ours is.
func undo[T named](f func(*netlink.Handle, netlink.Link, T) error) func(context.Context, json.RawMessage) error {
	return func(ctx context.Context, text json.RawMessage) error {
		var data T
		if err := json.Unmarshal(text, &data); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return explain("open a netlink socket", err)
		}
		defer h.Close()
		link, err := h.LinkByName(data.on().Link)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err != nil {
			return explain("look at "+data.on().Link, err)
		}
		if tun, ok := link.(*netlink.Tuntap); !ok || tun.Mode != netlink.TUNTAP_MODE_TUN || tun.Index != data.on().Index {
			return nil
		}
		return gone(f(h, link, data))
	}
}

// undoLink removes the interface. The kernel has done it already, unless something else holds the TUN open.
func undoLink(h *netlink.Handle, link netlink.Link, _ onLink) error { return h.LinkDel(link) }

func undoAddr(h *netlink.Handle, link netlink.Link, d addrData) error {
	return h.AddrDel(link, address(d.Addr))
}

func undoRoute(h *netlink.Handle, link netlink.Link, d routeData) error {
	return h.RouteDel(route(link.Attrs().Index, d.Dst))
}
