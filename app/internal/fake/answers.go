package fake

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/warren-mesh/warren/ipc"
)

// Netcheck implements ipc.Backend: what SetNetcheck gave, or a home behind an easy NAT.
func (d *Daemon) Netcheck(context.Context) (*ipc.Netcheck, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.netcheck != nil {
		return d.netcheck, nil
	}
	return &ipc.Netcheck{
		Time: d.status.Time, Took: 2300, UDP: ipc.Yes, Kind: "an easy NAT: direct connections work with nearly everyone",
		IPv4: ipc.NetcheckFamily{
			Local: netip.MustParseAddr("192.168.1.10"), UDP: ipc.Yes, Public: netip.MustParseAddr("203.0.113.7"), NAT: ipc.Yes,
			Mapping: ipc.AddressOrLess, Filtering: ipc.PortDependent, Hairpin: ipc.No, PortKept: ipc.Yes, PathMTU: 1500,
		},
		IPv6: ipc.NetcheckFamily{
			UDP: ipc.Unknown, NAT: ipc.Unknown, Mapping: ipc.BehaviorUnknown, Filtering: ipc.BehaviorUnknown, Hairpin: ipc.Unknown,
			PortKept: ipc.Unknown,
		},
		Mapping: []ipc.NetcheckPort{
			{Protocol: "PCP", Answers: ipc.No, Detail: "no answer"},
			{Protocol: "NAT-PMP", Answers: ipc.Yes, Detail: "203.0.113.7"},
			{Protocol: "UPnP-IGD", Answers: ipc.No, Detail: "no answer"},
		},
		Portal: ipc.NetcheckPortal{Found: ipc.No},
		Relays: []ipc.NetcheckRelay{{Name: "fra", Home: true, IPv4: 12.4, TCP: 13}, {Name: "nyc"}},
	}, nil
}

// SetNetcheck says what Netcheck finds from now on.
func (d *Daemon) SetNetcheck(n *ipc.Netcheck) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.netcheck = n
}

// QueryDNS implements ipc.Backend: the machines of the status are what there is.
func (d *Daemon) QueryDNS(_ context.Context, q ipc.DNSQuery) (*ipc.DNSAnswer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.status.Peers {
		if p := &d.status.Peers[i]; q.Name == p.Name || q.Name == p.DNSName {
			return &ipc.DNSAnswer{Code: "NOERROR", Records: []string{q.Name + ". 10 IN A " + p.Addrs[0].String()}, From: "network", Took: 0.1}, nil
		}
	}
	return &ipc.DNSAnswer{Code: "NXDOMAIN", From: "192.0.2.53", Took: 12}, nil
}

// Portal implements ipc.Backend.
func (d *Daemon) Portal(_ context.Context, r ipc.PortalRequest) (*ipc.PortalReply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	until := time.Time{}
	if r.Duration > 0 {
		until = d.status.Time.Add(r.Duration.Duration())
	}
	d.edit(func(s *ipc.Status) { s.Portal = until })
	return &ipc.PortalReply{Until: until}, nil
}

// SetAdvice says what Why advises from now on.
func (d *Daemon) SetAdvice(all ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.advice = all
}

// Why implements ipc.Backend: bob may use SSH, carol nothing.
func (d *Daemon) Why(_ context.Context, r ipc.WhyRequest) (*ipc.Why, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ssh := ipc.AccessRule{From: []string{"group:dev"}, Allow: []string{"tcp:22"}}
	w := &ipc.Why{Name: r.Peer, Online: true, Service: r.Service, Path: ipc.Path{Kind: ipc.PathRelay, Relay: "fra", MTU: 1280, Reason: "no direct path found yet"}, In: ipc.Access{Ruled: true, Shields: d.prefs.ShieldsUp}, Advice: d.advice}
	switch {
	case r.Peer == "bob" && (r.Service == "" || r.Service == "tcp:22"):
		w.In.Allowed, w.In.Rules = true, []ipc.AccessRule{ssh}
		w.Routes = []ipc.RouteAccess{{To: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}, Allow: []string{"tcp:80"}}}
	case r.Peer == "bob":
		w.In.Nearest, w.In.Lacks = &ssh, ipc.LacksService
	case r.Peer == "carol":
		w.In.Nearest, w.In.Lacks = &ssh, ipc.LacksSource
	default:
		return nil, &ipc.Error{Code: ipc.CodeNoPeer, Message: "no machine of your network is called " + r.Peer, Fix: "See them: warren status"}
	}
	return w, nil
}

// Ping implements ipc.Backend.
func (d *Daemon) Ping(_ context.Context, r ipc.PingRequest) (*ipc.PingReply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !strings.EqualFold(r.Peer, "bob") {
		return nil, &ipc.Error{Code: ipc.CodeNoPeer, Message: "no machine of your network is called " + r.Peer, Fix: "See them: warren status"}
	}
	if len(d.pings) == 0 {
		p := d.status.Peers[0]
		return &ipc.PingReply{Name: p.Name, Addr: p.Addrs[0], Latency: 1.2, Path: p.Path}, nil
	}
	next := d.pings[0]
	if len(d.pings) > 1 {
		d.pings = d.pings[1:]
	}
	if err, ok := next.(error); ok {
		return nil, err
	}
	return next.(*ipc.PingReply), nil
}
