package dns

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/daemon/internal/dns/resolver"
	"github.com/warren-mesh/warren/daemon/internal/dns/zone"
	"github.com/warren-mesh/warren/ipc"
)

// reconcile looks at the facts and sets what is not as it should be. It reports whether to look again soon.
func (d *DNS) reconcile(ctx context.Context) (again bool) {
	problems := append(d.listen(), d.serve()...)
	facts, err := d.look(ctx)
	choice := hostmode.Detect(facts)
	var listening []netip.Addr
	for _, a := range d.wish.Servers {
		if d.servers[a] != nil {
			listening = append(listening, a)
		}
	}
	switch {
	case !d.wish.Accept:
		choice, err = hostmode.Choice{Mode: hostmode.Off, Reason: reasonPrefs}, nil
	case len(listening) == 0:
		choice, err = hostmode.Choice{Mode: hostmode.Off, Reason: reasonDeaf}, nil
	case err != nil: // it stays as it is until there is an answer
		choice = hostmode.Choice{Mode: cmp.Or(d.host.mode, hostmode.Off), Also: d.host.also, Reason: err.Error()}
	}
	plan := hostmode.NewPlan(listening, d.wish.Suffix, &d.wish.DNS, d.domains())
	plan.All = plan.All || d.wish.Exit != nil
	if err == nil {
		err = d.adopt(ctx, choice, plan, [2]bool{facts.Resolved, facts.NM})
	}
	if err != nil {
		problems, again = append(problems, hostProblem(err)), true
		if text := err.Error(); text != d.failure {
			d.failure = text
			d.log.Warn("the host's DNS could not be changed", "mode", choice.Mode, "err", err)
		}
	} else {
		d.failure = ""
	}
	if d.lost {
		problems = append(problems, contested(choice.Mode))
	}
	if choice.Advice != "" {
		problems = append(problems, ipc.Problem{Code: ipc.ProblemDNSAdvice, Level: ipc.ProblemNotice, Text: sentence(choice.Reason), Fix: choice.Advice, About: "/etc/resolv.conf, systemd-resolved"})
	}
	d.own = d.theirs(ctx)
	if d.wish.Exit != nil || d.wish.Lockdown {
		d.cfg.Direct(d.own)
	} else {
		d.cfg.Direct(nil)
	}
	d.answer()
	d.publish(choice, plan, problems)
	return again || len(listening) < len(d.wish.Servers) || d.bus == nil && exists(busSocket)
}

// adopt makes the host ask us, in the mode that was chosen while these services run.
func (d *DNS) adopt(ctx context.Context, c hostmode.Choice, p hostmode.Plan, runs [2]bool) error {
	if c.Mode != d.host.mode || c.Also != d.host.also {
		wished := c.Reason == reasonPrefs || c.Reason == reasonDeaf
		moved := (d.host.set || d.lost) && !wished && runs == d.host.runs // something else took the file over; no service came or went
		was := d.host.plan
		if err := d.release(ctx); err != nil {
			d.log.Warn("the host's DNS could not be put back wholly", "err", err)
		}
		d.host = chosen{mode: c.Mode, also: c.Also, hosts: d.ways(c), plan: was}
		if d.lost = false; moved {
			d.lost = !d.contest.Lost(d.now())
			d.log.Info("another program changed who keeps the host's DNS", "mode", c.Mode, "set again", !d.lost)
		}
	}
	d.host.runs = runs
	if !p.Equal(d.host.plan) {
		d.host.plan, d.host.set = p, false // another wish is no contest
		d.lost = false
	}
	for _, h := range d.host.hosts {
		ok, err := h.isSet(ctx, p)
		if err != nil {
			return err
		}
		if ok && d.host.set {
			if nm, is := h.(*networkManager); is {
				if err := nm.refresh(ctx, p); err != nil {
					return err
				}
			}
			continue
		}
		if d.host.set && !d.lost {
			d.lost = !d.contest.Lost(d.now())
			d.log.Info("another program changed the host's DNS", "mode", c.Mode, "set again", !d.lost)
		}
		if d.lost && !d.contest.Over(d.now()) {
			if err := h.unset(ctx); err != nil { // what is left of ours must not stand beside theirs
				return err
			}
			continue
		}
		d.lost = false
		if err := h.set(ctx, p); err != nil {
			d.host.set = false
			return err
		}
	}
	d.host.set = len(d.host.hosts) > 0 && !d.lost
	return nil
}

// ways makes the hosts of a choice.
func (d *DNS) ways(c hostmode.Choice) (hs []host) {
	rec := func() records { return newRecords(d.cfg.Journal, d.step) }
	switch c.Mode {
	case hostmode.Resolved:
		hs = append(hs, &resolved{rec(), d.bus, d.cfg.Interface})
	case hostmode.NetworkManager:
		hs = append(hs, &networkManager{records: rec(), bus: d.bus, link: d.cfg.Interface})
	case hostmode.Resolvconf:
		_, flavour := resolvconfCommand()
		hs = append(hs, &resolvconf{rec(), flavour})
	case hostmode.File:
		hs = append(hs, &file{records: rec(), path: confPath, watch: d.files.watchOpen})
	}
	if c.Also {
		hs = append(hs, &resolved{rec(), d.bus, d.cfg.Interface})
	}
	return hs
}

// listen opens the resolver's addresses, and closes those that are not wished any more.
func (d *DNS) listen() (problems []ipc.Problem) {
	for a, s := range d.servers {
		if !slices.Contains(d.wish.Servers, a) {
			s.Close()
			delete(d.servers, a)
		}
	}
	for _, a := range d.wish.Servers {
		if d.servers[a] == nil {
			s, err := d.resolver.Listen(netip.AddrPortFrom(a, port), d.guests.has)
			if errors.Is(err, unix.EAFNOSUPPORT) { // a host without IPv6
				continue
			}
			if err != nil {
				problems = append(problems, portTaken(a, err))
				continue
			}
			d.servers[a] = s
		}
		if err := d.servers[a].TCPError(); err != nil {
			problems = append(problems, tcpTaken(a))
		}
	}
	return problems
}

// domains lists those that the zone speaks for.
func (d *DNS) domains() []string {
	if d.wish.Zone == nil {
		return nil
	}
	return d.wish.Zone.Domains()
}

// answer makes the resolver answer as wished: who is asked for what. The host's own nameservers stand for the root unless
// the network names others; and they find the hosts of those that are named by URL.
func (d *DNS) answer() {
	s := resolver.Settings{Zone: d.wish.Zone}
	https := make(map[string]resolver.Upstream)
	for _, sp := range d.wish.DNS.Split {
		s.Routes = append(s.Routes, resolver.Route{Domain: sp.Domain, Upstreams: d.upstreams(sp.Nameservers, https)})
	}
	own := d.ownWay()
	root := own
	if servers := d.wish.DNS.Nameservers; len(servers) > 0 {
		root.Upstreams = d.upstreams(servers, https)
	}
	s.Routes = append(s.Routes, root)
	d.first.Set(resolver.Settings{Zone: d.wish.Zone, Routes: []resolver.Route{own}})
	d.resolver.Set(s)
	d.others.Set(resolver.Settings{Routes: []resolver.Route{root}})
	for name, u := range d.https {
		if https[name] == nil {
			_ = u.(io.Closer).Close()
		}
	}
	d.https, d.routes = https, s.Routes
}

// ownWay is who stands for the host's own nameservers: they themselves, asked past all routes of ours; or, while there is an
// exit node, that, and through it those of them that can be reached from anywhere.
func (d *DNS) ownWay() (r resolver.Route) {
	if d.wish.Exit == nil {
		mark := d.cfg.Mark
		if d.wish.Lockdown { // whose questions these are is not known any more behind our mark
			mark = 0
		}
		for _, a := range d.own {
			r.Upstreams = append(r.Upstreams, resolver.Marked(a, mark))
		}
		return r
	}
	for _, a := range d.wish.Exit.Servers {
		r.Upstreams = append(r.Upstreams, resolver.Plain(netip.AddrPortFrom(a, port)))
	}
	for _, a := range d.own {
		if addr := a.Addr(); addr.IsGlobalUnicast() && !addr.IsPrivate() && !shared.Contains(addr) {
			r.Upstreams = append(r.Upstreams, resolver.Plain(a))
		}
	}
	return r
}

// shared are a provider's own addresses (RFC 6598): its nameservers answer its customers only.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// serve opens the addresses at which other machines may ask, and closes those that are not wished any more.
func (d *DNS) serve() (problems []ipc.Problem) {
	for a, s := range d.serving {
		if !slices.Contains(d.wish.Serve, a) {
			s.Close()
			delete(d.serving, a)
		}
	}
	for _, a := range d.wish.Serve {
		if d.serving[a] != nil {
			continue
		}
		s, err := d.others.ListenFor(netip.AddrPortFrom(a, port), d.clients.has)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			problems = append(problems, guestPortTaken(a, err))
			continue
		}
		d.serving[a] = s
	}
	return problems
}

// theirs are the host's own nameservers; never us.
func (d *DNS) theirs(ctx context.Context) []netip.AddrPort {
	var hs []netip.AddrPort
	if len(d.host.hosts) > 0 {
		hs = d.host.hosts[0].others(ctx)
	} else if text, _, err := readConf(confPath); err == nil {
		hs = port53(hostmode.Theirs(text).Servers)
	}
	return slices.DeleteFunc(hs, func(a netip.AddrPort) bool { return slices.Contains(d.wish.Servers, a.Addr()) })
}

// upstreams makes those of nameservers as the network names them. Bounds were held when the netmap came.
func (d *DNS) upstreams(servers []string, https map[string]resolver.Upstream) (ups []resolver.Upstream) {
	for _, s := range servers {
		addr, u, err := coord.ParseNameserver(s)
		switch {
		case err != nil || slices.Contains(d.wish.Servers, addr.Addr()):
		case u == nil:
			ups = append(ups, resolver.Plain(addr))
		default:
			if https[s] = d.https[s]; https[s] == nil {
				https[s] = resolver.HTTPS(u, nil, d.find)
			}
			ups = append(ups, https[s])
		}
	}
	return ups
}

// find looks a nameserver's own host up: in the network, or with the host's own nameservers.
func (d *DNS) find(ctx context.Context, host string) (addrs []netip.Addr, err error) {
	for _, t := range []zone.Type{zone.A, zone.AAAA} {
		a := d.first.Lookup(ctx, host, uint16(t))
		addrs = append(addrs, a.Addrs()...)
		if a.Cause != nil {
			err = a.Cause
		}
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	return nil, err
}

// publish makes the status.
func (d *DNS) publish(c hostmode.Choice, p hostmode.Plan, problems []ipc.Problem) {
	s := ipc.DNS{
		Accept: d.wish.Accept, Mode: string(c.Mode), Reason: c.Reason, Advice: c.Advice, Resolver: p.Servers, Suffix: d.wish.Suffix,
		Search: p.Search, All: p.All, Contested: d.contest.Count(),
	}
	if c.Also {
		s.Mode += "+resolved"
	}
	for _, domain := range p.Routing {
		if !strings.HasSuffix(domain, ".arpa") {
			s.Domains = append(s.Domains, domain)
		}
	}
	if d.wish.Zone != nil {
		s.Names = d.wish.Zone.Len()
	}
	for _, rt := range d.routes {
		up := ipc.DNSUpstream{Domain: rt.Domain, Host: rt.Domain == "" && len(d.wish.DNS.Nameservers) == 0 && d.wish.Exit == nil, Servers: []string{}}
		for _, u := range rt.Upstreams {
			up.Servers = append(up.Servers, u.String())
		}
		s.Upstreams = append(s.Upstreams, up)
	}
	now := &Status{DNS: s, Problems: problems}
	if was := d.status.Swap(now); !reflect.DeepEqual(was, now) {
		d.cfg.Changed()
	}
}
