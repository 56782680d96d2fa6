package engine

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/dns"
	"github.com/warren-mesh/warren/daemon/internal/firewall"
	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
	"github.com/warren-mesh/warren/daemon/internal/relaying"
	"github.com/warren-mesh/warren/daemon/internal/router"
	"github.com/warren-mesh/warren/daemon/internal/sleep"
	"github.com/warren-mesh/warren/daemon/internal/sock"
	"github.com/warren-mesh/warren/daemon/internal/tunnel"
	"github.com/warren-mesh/warren/ipc"
)

// Plane is this machine's part in the network's traffic: from OpenPlane to Close the host has the interface.
type Plane interface {
	// Apply makes the host as the plan says. It may be called again after an error.
	Apply(*core.Plan) error
	// Observe adds what is seen of the traffic to the facts.
	Observe(*core.Facts)
	// Traffic is what WireGuard has counted for each peer.
	Traffic() map[key.NodePublic]core.Traffic
	// Reach says where others can reach this machine.
	Reach() Reach
	// SuspectRelay has the home relay tested, which may have gone, or have forgotten this machine.
	SuspectRelay()
	// Ping asks a peer for an answer over the present path.
	Ping(ctx context.Context, k key.NodePublic) (ipc.Path, error)
	// Explain says what was tried for a direct path to a peer, and what a person could change: nothing, where it is not online.
	Explain(ctx context.Context, k key.NodePublic, online bool) (tried []ipc.PathTry, advice []ipc.Advice, err error)
	// Netcheck finds out what the network lets through.
	Netcheck(ctx context.Context) (*ipc.Netcheck, error)
	// QueryDNS asks the resolver for a name.
	QueryDNS(ctx context.Context, q ipc.DNSQuery) (*ipc.DNSAnswer, error)
	// Leave has Close leave what keeps packets from going around an exit node, for the plane that follows.
	Leave()
	// Close puts the host back.
	Close() error
}

// Reach is where others can reach this machine.
type Reach struct {
	Disco     key.DiscoPublic
	Endpoints []coord.Endpoint
	Relay     coord.RelayID    // home; 0: none yet
	Relaying  *coord.Relaying  // how this machine relays for others, or would
	Cut       []netip.Prefix   // that it leads others to, and does not reach itself
	Missing   []key.NodePublic // peers that were just looked for at their home relays, and not found there
}

// PlaneConfig is what a Plane is made of.
type PlaneConfig struct {
	Interface string
	Port      uint16
	Node      key.Node
	Server    key.ServerPublic // the coordination server's identity
	Journal   *journal.Journal
	Log       *slog.Logger
	Names     *lookups // how servers are found by name

	// Told tells the loop what happened. It may block until the loop has taken it; after Close it tells nothing.
	Told func(Happened)
}

// Happened is what a Plane tells of itself and of the host.
type Happened int

// The tidings.
const (
	Seen        Happened = iota // Observe or Reach say something new
	Disturbed                   // something else changed what Apply made: apply again
	HostChanged                 // the host's own addresses or routes changed, or it was asleep
	Gone                        // the interface was taken away: close this plane and open another
)

// wire is the Plane of real sockets and interfaces.
type wire struct {
	cfg    PlaneConfig
	disco  key.Disco
	sock   *sock.Sock
	tunnel *tunnel.Tunnel
	router *router.Router
	filter *firewall.Firewall
	access *firewall.Filter
	dns    *dns.DNS
	relay  *relaying.Relay // owned by whoever calls Apply and Reach
	cancel context.CancelFunc
	wg     sync.WaitGroup
	events *mailbox
	sizes  sizes

	problems []ipc.Problem // of the last Apply; owned by whoever calls Apply and Observe
}

// OpenPlane makes the interface and the sockets.
func OpenPlane(cfg PlaneConfig) (Plane, error) {
	w := &wire{cfg: cfg, disco: key.NewDisco(), events: newMailbox()}
	w.sock = sock.New(sock.Config{
		Port: cfg.Port, Node: cfg.Node, Disco: w.disco, Mark: core.Mark, Resolver: cfg.Names.resolver(), TUNName: cfg.Interface, Log: cfg.Log, Events: w.events.put,
	})
	w.relay = relaying.New(relaying.Config{
		Node: cfg.Node, Issuer: cfg.Server, Port: relaying.PortBeside(cfg.Port), Control: sock.Marked(core.Mark), Log: cfg.Log,
		Moved: w.events.look,
	})
	var err error
	w.tunnel, err = tunnel.New(tunnel.Config{
		Name: cfg.Interface, MTU: peerpath.MaxMTU, Pad: peerpath.PadMTU, NodeKey: cfg.Node, Bind: w.sock.Bind(), Port: cfg.Port, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	w.router, err = router.New(router.Config{Name: cfg.Interface, Mark: core.Mark, Journal: cfg.Journal, Log: cfg.Log})
	if err != nil {
		w.tunnel.Close()
		return nil, err
	}
	w.filter, err = firewall.New(firewall.Config{Interface: cfg.Interface, Journal: cfg.Journal, Log: cfg.Log})
	if err != nil {
		w.tunnel.Close()
		return nil, err
	}
	w.access = firewall.NewFilter(firewall.Config{Interface: cfg.Interface, Journal: cfg.Journal, Log: cfg.Log})
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	host, err := w.router.Watch(ctx)
	if err != nil {
		cancel()
		w.tunnel.Close()
		return nil, err
	}
	w.dns, err = dns.Open(dns.Config{
		Interface: cfg.Interface, Mark: core.Mark, Journal: cfg.Journal, Log: cfg.Log, Changed: func() { cfg.Told(Seen) },
		Direct: cfg.Names.ask,
	})
	if err != nil {
		cancel()
		for range host { // until the router has ended its watch
		}
		w.tunnel.Close()
		return nil, err
	}
	w.wg.Go(func() { _ = w.sock.Run(ctx) })
	woke := make(chan struct{}, 1)
	w.wg.Go(func() { sleep.Watch(ctx, nil, cfg.Log, woke) })
	w.wg.Go(func() { w.follow(ctx, w.tunnel.Done(), host, woke) })
	return w, nil
}

// Apply implements Plane.
func (w *wire) Apply(p *core.Plan) error {
	socks := make([]sock.Peer, len(p.Peers))
	tunnels := make([]tunnel.Peer, len(p.Peers))
	for i, peer := range p.Peers {
		socks[i] = sock.Peer{Key: peer.Key, Disco: peer.Disco, Endpoints: peer.Endpoints, Relay: peer.Relay}
		tunnels[i] = tunnel.Peer{Key: peer.Key, AllowedIPs: peer.AllowedIPs, Endpoint: peer.Key.String()}
	}
	through := make([]sock.NodeRelay, len(p.Through))
	for i, r := range p.Through {
		through[i] = sock.NodeRelay(r)
	}
	refused, err := letIn(w.access, admission(p), tunnels, func(peers []tunnel.Peer) error {
		w.sock.SetNetwork(p.Network)
		w.sock.SetRelays(p.Relays, p.Ticket)
		w.sock.SetNodeRelays(through)
		w.sock.SetPeers(socks)
		return w.tunnel.SetPeers(peers)
	})
	if refused != nil {
		w.cfg.Log.Error("the access rules are not in force as they should be", "err", refused)
	}
	if err != nil {
		return err
	}
	w.problems = append(w.relayFor(p), w.protect(p)...) // before there are addresses to protect
	wish := router.Wish{MTU: peerpath.MaxMTU, Least: peerpath.SafeMTU, Addrs: p.Addrs, Routes: p.Routes, Host: p.DNS.Hosts(), Subnets: p.Subnets, Offers: p.Forward.Subnets}
	if p.Exit != nil {
		wish.Exit = &router.Exit{IPv4: p.Exit.IPv4, IPv6: p.Exit.IPv6, AllowLAN: p.Exit.AllowLAN}
	}
	problems, err := w.router.Apply(context.Background(), wish)
	w.problems = append(w.problems, problems...)
	w.sizes.setPeers(p.Peers, w.fitAll)
	names := dns.Wish{
		Servers: p.DNS.Servers, Suffix: p.Network.Suffix, Zone: p.DNS.Zone, DNS: p.DNS.Settings, Accept: p.DNS.Accept,
		Serve: p.DNS.Serve, Clients: p.DNS.Clients, Guests: w.filter.Guests(), Lockdown: p.Lockdown,
	}
	if p.DNS.ViaExit {
		names.Exit = &dns.Exit{Servers: p.DNS.Exit}
	}
	w.dns.Want(names)
	return errors.Join(err, refused)
}

// rules are access rules that can be put in force: a *firewall.Filter.
type rules interface {
	Apply(context.Context, firewall.Admission) error
	Stands() bool
}

// letIn puts the access rules in force and then, before anybody can send, gives the tunnel its peers. Without the rules
// that the network has nobody may send to this machine: where none stand, not even of another date, there are no peers.
func letIn(access rules, a firewall.Admission, peers []tunnel.Peer, set func([]tunnel.Peer) error) (refused, err error) {
	if refused = access.Apply(context.Background(), a); refused != nil && !access.Stands() {
		peers = nil
	}
	return refused, set(peers)
}

func admission(p *core.Plan) firewall.Admission {
	a := firewall.Admission{Rules: p.Filter}
	for _, s := range p.Addrs {
		a.Self = append(a.Self, s.Addr())
	}
	return a
}

// protect makes the packet filter. The network works without it, as it did on a kernel that has none: but nothing is
// forwarded then, and that is said.
func (w *wire) protect(p *core.Plan) []ipc.Problem {
	r := firewall.Rules{Plain: p.Forward.NoSNAT, Ports: append(w.relay.Ports(), w.cfg.Port), Reached: w.relay.Ports(), Routes: slices.Clone(p.Forward.Subnets), Host: p.DNS.Servers, Judged: p.Filter != nil}
	for _, a := range p.Addrs {
		r.Self = append(r.Self, a.Addr())
	}
	if site := w.events.site(); p.Forward.Exit4 || p.Forward.Exit6 {
		r.Site = site
	}
	for _, n := range []netip.Prefix{p.Network.IPv4, p.Network.IPv6} {
		if n.IsValid() {
			r.Network = append(r.Network, n)
		}
	}
	if p.Forward.Exit4 {
		r.Routes = append(r.Routes, netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	}
	if p.Forward.Exit6 {
		r.Routes = append(r.Routes, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	problems, err := w.filter.Apply(context.Background(), r)
	if err != nil {
		w.cfg.Log.Error("the packet filter is not as it should be", "err", err)
		problems = append(problems, ipc.Problem{
			Code: ipc.ProblemFilter, Text: oneLine(err),
			Fix: "Others on this machine's LAN may reach it by its address in the network, and it forwards nothing, until that is mended; warren down and up tries again.",
		})
	}
	return problems
}

// relayFor has this machine relay for others, or not.
func (w *wire) relayFor(p *core.Plan) []ipc.Problem {
	if err := w.relay.Want(p.Relaying, p.RelayRate); err != nil {
		w.cfg.Log.Error("others cannot relay through this machine", "err", err)
		return []ipc.Problem{{Code: ipc.ProblemRelaying, Text: oneLine(err), Fix: "warren down and up tries again; sudo warren set --relay=false takes the offer back."}}
	}
	return nil
}

// Reach implements Plane.
func (w *wire) Reach() Reach {
	r := w.events.reach()
	return Reach{Disco: w.disco.Public(), Endpoints: r.Endpoints, Relay: r.Home, Relaying: w.relay.Offer(r.Endpoints), Cut: w.router.Cut(), Missing: r.Missing}
}

// SuspectRelay implements Plane.
func (w *wire) SuspectRelay() { w.sock.SuspectHome() }

// Netcheck implements Plane.
func (w *wire) Netcheck(ctx context.Context) (*ipc.Netcheck, error) { return w.sock.Check(ctx) }

// QueryDNS implements Plane.
func (w *wire) QueryDNS(ctx context.Context, q ipc.DNSQuery) (*ipc.DNSAnswer, error) {
	return w.dns.Query(ctx, q)
}

// Leave implements Plane.
func (w *wire) Leave() { w.router.Leave() }

// Close implements Plane. The host stops asking us before there is nobody to ask.
func (w *wire) Close() error {
	w.cancel()
	w.dns.Close()
	w.relay.Close()
	err := errors.Join(w.filter.Close(context.Background()), w.router.Close(context.Background()))
	w.tunnel.Close()
	w.wg.Wait()
	return errors.Join(err, w.access.Close(context.Background())) // when nothing can come in any more
}

// follow takes what happens to the socket, the interface and the host, until ctx ends.
func (w *wire) follow(ctx context.Context, gone <-chan struct{}, host <-chan router.Event, woke <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			if host != nil {
				for range host { // until the router has ended its watch
				}
			}
			return
		case <-gone:
			gone = nil
			w.cfg.Told(Gone)
		case <-w.events.full:
			if w.events.moved() {
				w.cfg.Told(Disturbed)
			}
			for k, active := range w.events.takeRestarted() {
				// The peer has forgotten the session; WireGuard would find out after 15 s.
				drop := w.tunnel.Expire
				if active {
					drop = w.tunnel.Rehandshake
				}
				if err := drop(k); err != nil {
					w.cfg.Log.Debug("the session with a peer that has restarted goes on", "err", err)
				}
			}
			w.sizes.change(w.events.takeMTUs(), w.fit)
			w.cfg.Told(Seen)
		case <-woke:
			w.cfg.Log.Info("this machine was asleep; looking at its network anew")
			w.networkChanged()
			w.cfg.Told(HostChanged)
		case ev, open := <-host:
			if !open {
				host = nil
				continue
			}
			if ev.Network {
				w.networkChanged()
				w.cfg.Told(HostChanged)
			}
			if ev.Own {
				w.cfg.Told(Disturbed)
			}
		}
	}
}

func (w *wire) networkChanged() {
	w.sock.NetworkChanged()
	w.relay.NetworkChanged()
}
