package dns

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
)

// look gathers the facts. An error is that a service does not tell them: nothing is to be changed for that.
func (d *DNS) look(ctx context.Context) (f hostmode.Facts, err error) {
	if target := follow(confPath); target != confPath {
		f.Link = target
	}
	d.files.watch(confPath, nsswitchPath, f.Link, uplinks, busSocket) // before they are read
	d.files.watchDirs(resolvconfRecords...)
	f.Conf, f.Missing, err = readConf(confPath)
	if err != nil {
		d.log.Warn("cannot read the host's resolv.conf", "err", err)
	}
	f.Foreign = foreign()
	f.NSSwitch, _, _ = readConf(nsswitchPath)
	_, f.Resolvconf = resolvconfCommand()
	if err := d.connect(ctx); errors.Is(err, errSilent) {
		return f, err
	}
	if f.Bus = d.bus != nil; !f.Bus {
		return f, nil
	}
	if f.Resolved, err = owned(ctx, d.bus, busResolved); err != nil {
		return f, err
	}
	if f.NM, err = owned(ctx, d.bus, busNM); err != nil || !f.NM {
		return f, err
	}
	_ = property(ctx, d.bus, busNM, nmDNS, busNM+".DnsManager", "Mode", &f.NMMode)
	_ = property(ctx, d.bus, busNM, nmDNS, busNM+".DnsManager", "RcManager", &f.NMWriter)
	return f, nil
}

// written reports how long to wait for another program that writes resolv.conf just now: what stands there then is half of it.
func (d *DNS) written() time.Duration {
	d.files.watch(confPath, follow(confPath)) // it tells when they have ended
	c, _ := openConf(confPath)
	writing := c != nil && c.written()
	c.close()
	for _, h := range d.host.hosts {
		if f, ok := h.(*file); ok {
			writing = f.writing() || writing
		}
	}
	switch {
	case !writing:
		d.writing = time.Time{}
		return 0
	case d.writing.IsZero():
		d.writing = d.now()
	}
	return maxWriting - d.now().Sub(d.writing)
}

// foreign reports whether the resolv.conf that we see is that of the machine's first process, and that is in another
// network than we are (network_namespaces(7)): as for programs that ip netns exec starts.
func foreign() bool {
	same := func(a, b string) bool {
		ours, err1 := os.Stat(a)
		firsts, err2 := os.Stat(b)
		return err1 == nil && err2 == nil && os.SameFile(ours, firsts)
	}
	const first = "/proc/1/root"
	if _, err := os.Stat("/proc/1/ns/net"); err != nil || same("/proc/self/ns/net", "/proc/1/ns/net") {
		return false
	}
	if _, err := os.Stat(confPath); err != nil {
		return same(filepath.Dir(confPath), first+filepath.Dir(confPath))
	}
	return same(confPath, first+confPath)
}

// exists reports whether there is something at a path, where it can be told.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// connect keeps the connection to the system bus, where there is one.
func (d *DNS) connect(ctx context.Context) error {
	if d.bus != nil && d.bus.Connected() {
		return nil
	}
	if d.bus != nil {
		_ = d.bus.Close()
		d.bus = nil
	}
	conn, err := connectBus(ctx)
	if err != nil {
		d.log.Debug("there is no system bus", "err", err)
		return err
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
	return nil
}
