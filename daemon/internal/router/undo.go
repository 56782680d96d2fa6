package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/journal"
)

// The kinds of changes that the journal holds of us.
const (
	kindLink  journal.Kind = "link"
	kindAddr  journal.Kind = "addr"
	kindRoute journal.Kind = "route"

	kindRule    journal.Kind = "rule"
	kindDetour  journal.Kind = "detour" // a route of our own table
	kindSetting journal.Kind = "rp-filter"
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

		kindRule:    {Undo: undoRule, Volatile: true},
		kindDetour:  {Undo: undoDetour, Volatile: true},
		kindSetting: {Undo: undoSetting, Volatile: true},
	}
}

// ruleData says all of a rule of ours, so that another version can take it back.
type ruleData struct {
	Six         bool   `json:"six,omitempty"`
	Priority    int    `json:"priority"`
	Table       int    `json:"table,omitempty"`
	Mark        uint32 `json:"mark,omitempty"`
	Suppress    bool   `json:"suppress,omitempty"` // suppress_prefixlength 0
	Unreachable bool   `json:"unreachable,omitempty"`
}

func ruleDataOf(r *netlink.Rule) ruleData {
	return ruleData{
		Six: r.Family == netlink.FAMILY_V6, Priority: r.Priority, Table: r.Table, Mark: r.Mark,
		Suppress: r.SuppressPrefixlen >= 0, Unreachable: r.Type == unix.RTN_UNREACHABLE,
	}
}

func undoRule(ctx context.Context, text json.RawMessage) error {
	return undoFree(ctx, text, func(h *netlink.Handle, d ruleData) error {
		r := netlink.NewRule()
		r.Family, r.Priority, r.Table, r.Mark, r.Protocol = netlink.FAMILY_V4, d.Priority, d.Table, d.Mark, Protocol
		if d.Six {
			r.Family = netlink.FAMILY_V6
		}
		if d.Suppress {
			r.SuppressPrefixlen = 0
		}
		if d.Unreachable {
			r.Type = unix.RTN_UNREACHABLE
		}
		return h.RuleDel(r)
	})
}

// detourData says all of a route of our table.
type detourData struct {
	Index  int          `json:"index,omitempty"` // of the interface that it leads to
	Dst    netip.Prefix `json:"dst"`
	Table  int          `json:"table"`
	Type   int          `json:"type"` // rtm_type, rtnetlink(7)
	Metric int          `json:"metric,omitempty"`
}

func detourDataOf(r *netlink.Route, dst netip.Prefix) detourData {
	return detourData{r.LinkIndex, dst, r.Table, r.Type, r.Priority}
}

// undoDetour finds nothing where the kernel has taken the route with its interface.
func undoDetour(ctx context.Context, text json.RawMessage) error {
	return undoFree(ctx, text, func(h *netlink.Handle, d detourData) error {
		r := route(d.Index, d.Dst)
		r.Table, r.Type, r.Priority = d.Table, d.Type, d.Metric
		if d.Index == 0 {
			r.Scope = netlink.SCOPE_UNIVERSE
		}
		return h.RouteDel(r)
	})
}

// undoFree is recorded for what is bound to no interface.
func undoFree[T any](ctx context.Context, text json.RawMessage, f func(*netlink.Handle, T) error) error {
	if err := recorded(ctx, text, f); !noFamily(err) {
		return err
	}
	return nil // the host has no IPv6 (any more)
}

// recorded decodes a record, and calls f to undo what it says, which may be gone.
func recorded[T any](ctx context.Context, text json.RawMessage, f func(*netlink.Handle, T) error) error {
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
	return gone(f(h, data))
}

// settingData is a kernel's setting: a file below /proc/sys.
type settingData struct {
	Path string `json:"path"`
	Was  string `json:"was"`
	Now  string `json:"now"`
}

// undoSetting puts a setting back, unless somebody has set it to something else since.
func undoSetting(_ context.Context, text json.RawMessage) error {
	var d settingData
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	if d.Path != rpFilter {
		return fmt.Errorf("%q is no setting of ours", d.Path)
	}
	now, err := readSetting(d.Path)
	if err != nil || now != d.Now {
		return err
	}
	return os.WriteFile(d.Path, []byte(d.Was), 0)
}

// named gives every record's data the interface that it names.
type named interface{ on() onLink }

func (l onLink) on() onLink { return l }

// undo is recorded where the interface that the record names is still there, and is a TUN as ours is.
func undo[T named](f func(*netlink.Handle, netlink.Link, T) error) func(context.Context, json.RawMessage) error {
	return func(ctx context.Context, text json.RawMessage) error {
		return recorded(ctx, text, func(h *netlink.Handle, data T) error {
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
			return f(h, link, data)
		})
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
