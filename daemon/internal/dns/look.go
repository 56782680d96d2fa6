package dns

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
)

// look gathers the facts.
func (d *DNS) look(ctx context.Context) hostmode.Facts {
	var f hostmode.Facts
	var err error
	f.Conf, f.Missing, err = readConf(confPath)
	if err != nil {
		d.log.Warn("cannot read the host's resolv.conf", "err", err)
	}
	if target := follow(confPath); target != confPath {
		f.Link = target
	}
	f.NSSwitch, _, _ = readConf(nsswitchPath)
	_, f.Resolvconf = resolvconfCommand()
	d.connect(ctx)
	if f.Bus = d.bus != nil; f.Bus {
		f.Resolved, f.NM = owned(ctx, d.bus, busResolved), owned(ctx, d.bus, busNM)
	}
	if f.NM {
		_ = property(ctx, d.bus, busNM, nmDNS, busNM+".DnsManager", "Mode", &f.NMMode)
		_ = property(ctx, d.bus, busNM, nmDNS, busNM+".DnsManager", "RcManager", &f.NMWriter)
	}
	d.files.watch(confPath, nsswitchPath, f.Link, uplinks)
	d.files.watchDirs(resolvconfRecords...)
	return f
}

// connect keeps the connection to the system bus, where there is one.
func (d *DNS) connect(ctx context.Context) {
	if d.bus != nil && d.bus.Connected() {
		return
	}
	if d.bus != nil {
		_ = d.bus.Close()
		d.bus = nil
	}
	conn, err := connectBus(ctx)
	if err != nil {
		d.log.Debug("there is no system bus", "err", err)
		return
	}
	if err := subscribe(conn); err != nil {
		d.log.Warn("the system bus does not tell of changes", "err", err)
	}
	d.signals = make(chan *dbus.Signal, 64) // the old one was closed with its connection
	conn.Signal(d.signals)
	d.bus = conn
	for _, h := range d.host.hosts {
		switch h := h.(type) {
		case *resolved:
			h.bus = conn
		case *networkManager:
			h.bus = conn
		}
	}
}
