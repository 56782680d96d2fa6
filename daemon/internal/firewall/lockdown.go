package firewall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/store"
)

// MaxPause bounds how long a lockdown may be open for signing in to a network: a person who forgets it is not open for long.
const MaxPause = 30 * time.Minute

// LockdownConfig is what a Lockdown is made of.
type LockdownConfig struct {
	File      string // where the wish is kept, for the next boot
	Interface string // the tunnel's
	Mark      uint32 // of the sockets whose packets may leave (SO_MARK); never 0
	Log       *slog.Logger
}

// Lockdown keeps what is not the network's on this host: with it, nothing leaves but through the tunnel, except our own
// marked packets and what keeps the host on its LAN (DHCP, neighbour discovery). It is the kernel's work and needs no
// process; its wish is on disk, so that it also stands before the first one runs. So it is not in the journal: it
// outlives recovering, and only Want and Unlock take it away. Its methods may be called from several goroutines.
type Lockdown struct {
	cfg LockdownConfig

	mu   sync.Mutex
	made lockWish
	gen  uint32 // of the packet filter when the table was whole; 0: it may not be
	open bool   // there is no lockdown, and no wish of one
}

// Lock is how much is held.
type Lock struct {
	// LAN lets out what goes to the private networks that the host is attached to. Names are not asked for there.
	LAN bool `json:"lan,omitempty"`
}

// lockWish is all that the table is made from. What is on disk of it is what is known without looking.
type lockWish struct {
	Lock
	Interface string         `json:"interface"`
	Mark      uint32         `json:"mark"`
	networks  []netip.Prefix // private ones that the host is attached to
	guests    []string
}

// NewLockdown makes a Lockdown for the network namespace of the thread that calls its methods. It changes nothing yet.
func NewLockdown(cfg LockdownConfig) *Lockdown {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Lockdown{cfg: cfg}
}

// Want makes the lockdown as wished (nil: none), on disk first. It compares with the fact, and mends it.
func (l *Lockdown) Want(ctx context.Context, lock *Lock) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if lock == nil {
		if l.open {
			return nil
		}
		l.gen = 0
		err := Unlock(l.cfg.File)
		l.open = err == nil
		return err
	}
	l.open = false
	w := lockWish{Lock: *lock, Interface: l.cfg.Interface, Mark: l.cfg.Mark}
	if err := w.keep(l.cfg.File); err != nil {
		return err
	}
	if err := w.look(); err != nil {
		// Rather without the LAN than not at all.
		l.cfg.Log.Warn("lockdown holds the LAN too, which could not be looked at", "err", err)
	}
	gen, err := generation()
	if err != nil {
		return explain("look at the packet filter", err)
	}
	if gen == l.gen && reflect.DeepEqual(w, l.made) {
		return nil
	}
	l.gen = 0
	if err := w.load(); err != nil {
		return err
	}
	l.made, l.gen = w, gen+1
	return nil
}

// Pause opens the lockdown for so long, at most MaxPause; 0 ends a pause. The kernel ends it, whatever becomes of us.
func (l *Lockdown) Pause(ctx context.Context, d time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	nft, err := nftables.New()
	if err != nil {
		return explain("open a netlink socket", err)
	}
	s := pausedSet()
	nft.FlushSet(s)
	if d > 0 {
		if err := nft.SetAddElements(s, paused(min(d, MaxPause))); err != nil {
			return err
		}
	}
	if err := nft.Flush(); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return ErrNotLocked
		}
		return explain("pause the lockdown", err)
	}
	if l.gen != 0 {
		l.gen++
	}
	return nil
}

// ErrNotLocked is returned by Pause when there is no lockdown.
var ErrNotLocked = errors.New("there is no lockdown to pause")

// Paused says for how much longer the lockdown is open; 0: it is not.
func (l *Lockdown) Paused() time.Duration { return remaining() }

// Boot loads the lockdown that the file wishes, or removes what is there if it wishes none. It needs no daemon, no
// network and no interface.
func Boot(file string) (locked bool, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, gone(lockTable().undo(context.Background()))
	}
	var w lockWish
	if err == nil {
		err = json.Unmarshal(text, &w)
	}
	if err == nil && (w.Interface == "" || w.Mark == 0) {
		err = errors.New("it names no interface or no mark")
	}
	if err != nil {
		// There was a wish. Whoever made the file unreadable does not open the host by that.
		w = lockWish{Interface: "warren0"}
		return true, errors.Join(fmt.Errorf("%s cannot be read; nothing may leave this host until warrend runs again: %w", file, err), w.load())
	}
	_ = w.look() // at boot there is no LAN yet
	return true, w.load()
}

// Unlock removes the lockdown and its wish, in that order of promises: what a crash in between leaves is open at the next
// boot, not shut.
func Unlock(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot end the lockdown: %w", err)
	}
	if err := store.SyncDir(filepath.Dir(file)); err != nil {
		return fmt.Errorf("cannot end the lockdown: %w", err)
	}
	if err := gone(lockTable().undo(context.Background())); err != nil {
		return explain("end the lockdown", err)
	}
	return nil
}

// keep writes the wish to disk, if it is another.
func (w *lockWish) keep(file string) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	if was, err := os.ReadFile(file); err == nil && string(was) == string(text) {
		return nil
	}
	if err := store.Replace(file, text); err != nil {
		return fmt.Errorf("cannot keep the lockdown for the next boot, so there is none: %w", err)
	}
	return nil
}

// private is what counts as a LAN (RFC 1918, RFC 4193, RFC 3927, RFC 4291): a network that calls itself one with public
// addresses would draw packets to these out of the tunnel (TunnelCrack, CVE-2023-36672).
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

// look finds the host's LANs, and the bridges that are inside of it.
func (w *lockWish) look() error {
	route, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer route.Close()
	h, err := (&Firewall{link: w.Interface, route: route}).look()
	if err != nil {
		return err
	}
	for _, p := range h.attached {
		if slices.ContainsFunc(private, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }) {
			w.networks = append(w.networks, p)
		}
	}
	w.guests = h.guests
	return nil
}

// lockTableName is that of the table that holds the lockdown.
const lockTableName = "warren-lockdown"

func lockTable() tableData {
	return tableData{Family: byte(nftables.TableFamilyINet), Name: lockTableName}
}

func pausedSet() *nftables.Set {
	return &nftables.Set{
		Table: &nftables.Table{Family: nftables.TableFamilyINet, Name: lockTableName}, ID: 1,
		Name: "paused", KeyType: nftables.TypeNFProto, HasTimeout: true,
	}
}

// paused are the elements of a pause: both families, which the kernel removes after the time.
func paused(d time.Duration) []nftables.SetElement {
	return []nftables.SetElement{{Key: []byte{unix.NFPROTO_IPV4}, Timeout: d}, {Key: []byte{unix.NFPROTO_IPV6}, Timeout: d}}
}

// remaining reads how much longer a pause lasts.
func remaining() (d time.Duration) {
	nft, err := nftables.New()
	if err != nil {
		return 0
	}
	elements, err := nft.GetSetElements(pausedSet())
	if err != nil {
		return 0
	}
	for _, e := range elements {
		d = max(d, min(e.Expires, MaxPause))
	}
	return d
}
