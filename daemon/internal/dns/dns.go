package dns

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/daemon/internal/dns/resolver"
	"github.com/warren-mesh/warren/daemon/internal/dns/zone"
	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/ipc"
)

// Times of the loop.
const (
	settle  = 100 * time.Millisecond // what comes at once is looked at once
	lookAll = time.Minute            // for what no event tells of
	soon    = 2 * time.Second        // after a failure; then twice that, and so on, up to lookAll
)

// The files that decide.
const (
	confPath     = "/etc/resolv.conf"
	nsswitchPath = "/etc/nsswitch.conf"
	port         = 53
)

// Config is what a DNS is made of.
type Config struct {
	Interface string
	Journal   *journal.Journal
	Log       *slog.Logger // nil: none

	// Mark is the mark of sockets that take the host's own way out, whatever else is routed; 0: none. The host's own nameservers
	// are asked so.
	Mark uint32
	// Direct is told, from the loop, whom to ask with that mark for what an exit node cannot be asked: the host's own
	// nameservers while there is one, or a lockdown, and else nobody. nil: it is not told.
	Direct func([]netip.AddrPort)

	// Changed is called from the loop after Status may say something new. It must not call the DNS.
	Changed func()
}

// Wish is how names are to be resolved.
type Wish struct {
	Servers []netip.Addr // where the resolver listens: addresses of our interface
	Suffix  string       // of the machines' names
	Zone    *zone.Zone
	DNS     coord.DNS
	Accept  bool // the host is to ask us; else only the resolver runs

	// Exit: all questions leave through an exit node, and none goes to the host's own nameservers in the clear.
	Exit *Exit
	// Lockdown: nothing of the host's programs leaves it but through the network, their questions neither.
	Lockdown bool
	// Serve are addresses of ours at which the machines of Clients may ask: those that use this machine as exit node. They
	// learn what this host's own nameservers say, and no name of the network.
	Serve   []netip.Addr
	Clients []netip.Prefix
	// Guests are the networks of this host's own containers and virtual machines. They may ask as its programs do.
	Guests []netip.Prefix
}

// Exit is the exit node in use.
type Exit struct {
	Servers []netip.Addr // where it answers (Wish.Serve there); none: it is not known
}

// DNS keeps names resolvable as wished. Its methods may be called from several goroutines.
type DNS struct {
	cfg      Config
	log      *slog.Logger
	resolver *resolver.Resolver
	wishes   chan wished
	wanted   chan Wish // holds one
	status   atomic.Pointer[Status]
	step     func()           // tests die before the next change
	now      func() time.Time // tests turn it
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	// Owned by the loop.
	wish    *Wish
	servers map[netip.Addr]*resolver.Server
	serving map[netip.Addr]*resolver.Server // for other machines
	others  *resolver.Resolver              // answers those
	clients among                           // Wish.Clients
	guests  among                           // Wish.Guests
	bus     *dbus.Conn
	signals chan *dbus.Signal
	files   *files
	host    chosen
	contest hostmode.Contest
	lost    bool                         // others won the contest
	writing time.Time                    // since when another program writes resolv.conf; zero: none does
	failure string                       // of the last change, as it was logged
	own     []netip.AddrPort             // the host's own nameservers, as last seen
	first   *resolver.Resolver           // finds the hosts of nameservers that are named by URL
	https   map[string]resolver.Upstream // in use, by URL
	routes  []resolver.Route             // in use
}

// chosen is the way to the host's programs that is in use. The zero value is none.
type chosen struct {
	mode  hostmode.Mode
	also  bool
	hosts []host        // the first one knows the other nameservers
	plan  hostmode.Plan // that was wished last, in whichever mode
	set   bool          // it was set, and must be so now
	runs  [2]bool       // whether systemd-resolved and NetworkManager did, when it was last looked
}

// among is a set of addresses that the servers' goroutines ask. The zero value is empty.
type among struct {
	nets atomic.Pointer[[]netip.Prefix]
}

func (a *among) set(nets []netip.Prefix) { a.nets.Store(&nets) }

func (a *among) has(addr netip.Addr) bool {
	nets := a.nets.Load()
	return nets != nil && slices.ContainsFunc(*nets, func(p netip.Prefix) bool { return p.Contains(addr) })
}

type wished struct {
	wish Wish
	done chan *Status
}

// Status is what is so now. It is never changed.
type Status struct {
	DNS      ipc.DNS
	Problems []ipc.Problem
}

// Open starts the loop. It changes nothing before the first Apply.
func Open(cfg Config) (*DNS, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Direct == nil {
		cfg.Direct = func([]netip.AddrPort) {}
	}
	fs, err := watchFiles()
	if err != nil {
		return nil, err
	}
	d := &DNS{
		cfg: cfg, log: cfg.Log, resolver: resolver.New(cfg.Log), first: resolver.New(cfg.Log), others: resolver.New(cfg.Log), wishes: make(chan wished), wanted: make(chan Wish, 1), step: func() {}, now: time.Now,
		servers: make(map[netip.Addr]*resolver.Server), serving: make(map[netip.Addr]*resolver.Server), files: fs, signals: make(chan *dbus.Signal, 64),
	}
	d.status.Store(&Status{DNS: ipc.DNS{Mode: string(hostmode.Off), Reason: reasonStart}})
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.wg.Go(func() { d.run(ctx) })
	return d, nil
}

// Apply makes names be resolved as wished. What the host does not let it do is a problem.
func (d *DNS) Apply(ctx context.Context, w Wish) ([]ipc.Problem, error) {
	asked := wished{w, make(chan *Status, 1)}
	select {
	case d.wishes <- asked:
		return (<-asked.done).Problems, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Want is Apply without waiting: of several wishes the last one counts. One caller at a time.
func (d *DNS) Want(w Wish) {
	select {
	case <-d.wanted:
	default:
	}
	d.wanted <- w
}

// Status tells how names are resolved now.
func (d *DNS) Status() *Status { return d.status.Load() }

// Resolver answers as the host's programs are answered.
func (d *DNS) Resolver() *resolver.Resolver { return d.resolver }

// Close gives the host its own DNS back, and stops.
func (d *DNS) Close() {
	d.cancel()
	d.wg.Wait()
}

// run is the loop.
func (d *DNS) run(ctx context.Context) {
	stop := ctx.Done()
	ctx = context.WithoutCancel(ctx) // what is begun is ended: half an answer of the bus is none
	defer d.end(ctx)
	all := time.NewTicker(lookAll)
	defer all.Stop()
	later := time.NewTimer(time.Hour)
	defer later.Stop()
	patience := soon  // doubled while it fails
	var due time.Time // when later fires; zero: never. What comes meanwhile may bring it forward, and never puts it off
	look := func(after time.Duration) {
		if at := time.Now().Add(after); due.IsZero() || at.Before(due) {
			later.Reset(after)
			due = at
		}
	}
	for {
		var answer chan *Status
		select {
		case <-stop:
			return
		case w := <-d.wishes:
			d.take(ctx, w.wish)
			answer = w.done
		case w := <-d.wanted:
			d.take(ctx, w)
		case <-d.files.events:
			look(settle)
			continue
		case _, open := <-d.signals:
			if !open { // with the bus; reconcile sees that
				d.signals = nil
			}
			look(settle)
			continue
		case <-later.C:
			due = time.Time{}
		case <-all.C:
		}
		if d.wish == nil {
			continue
		}
		if wait := d.written(); wait > 0 && d.wish.Accept {
			look(wait) // or when it is told that they have ended
		} else if again := d.reconcile(ctx); again {
			look(patience)
			patience = min(2*patience, lookAll)
		} else {
			patience = soon
		}
		if answer != nil {
			answer <- d.status.Load()
		}
	}
}

// take takes a wish in: what it says of names is so at once, whatever the host does.
func (d *DNS) take(ctx context.Context, w Wish) {
	renamed := d.wish == nil || d.wish.Zone != w.Zone
	d.wish = &w
	d.clients.set(w.Clients)
	d.guests.set(w.Guests)
	d.answer()
	if renamed {
		for _, h := range d.host.hosts {
			if r, ok := h.(*resolved); ok {
				r.flush(ctx)
			}
		}
	}
}

// end takes everything back.
func (d *DNS) end(ctx context.Context) {
	if err := d.release(ctx); err != nil {
		d.log.Error("the host's DNS could not be put back; warrend recover tries again", "err", err)
	}
	for _, s := range d.servers {
		s.Close()
	}
	for _, s := range d.serving {
		s.Close()
	}
	d.others.Set(resolver.Settings{})
	d.cfg.Direct(nil)
	for _, u := range d.https {
		_ = u.(io.Closer).Close()
	}
	d.resolver.Set(resolver.Settings{})
	if d.bus != nil {
		_ = d.bus.Close()
	}
	d.files.close()
}

// release takes the host's programs away from us.
func (d *DNS) release(ctx context.Context) error {
	var failed error
	for _, h := range d.host.hosts {
		if err := h.unset(ctx); err != nil {
			failed = err
		}
	}
	d.host = chosen{mode: hostmode.Off}
	return failed
}
