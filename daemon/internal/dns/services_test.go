package dns

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/ipc"
)

// startResolved runs the real systemd-resolved, with a public nameserver of its own.
func startResolved(t testing.TB, more ...string) (stop func()) {
	t.Helper()
	dir := unpacked(t, "systemd-resolved", "lib/systemd/systemd-resolved")
	sh(t, "grep -q ^systemd-resolve: /etc/passwd || echo systemd-resolve:x:994:994::/:/usr/sbin/nologin >>/etc/passwd")
	sh(t, "grep -q ^systemd-resolve: /etc/group || echo systemd-resolve:x:994: >>/etc/group")
	sh(t, "mkdir -p /etc/systemd /run/systemd/resolve && chown 994:994 /run/systemd/resolve")
	write(t, "/etc/systemd/resolved.conf", "[Resolve]\nDNS=192.0.2.53\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\nCache=yes\n"+strings.Join(more, "\n"))
	stop = start(t, nil, filepath.Join(dir, "lib/systemd/systemd-resolved"))
	waitOwned(t, busResolved)
	return stop
}

// newResolvedHost is a host as systemd makes it.
func newResolvedHost(t testing.TB, more ...string) (pub *nameserver, stop func()) {
	t.Helper()
	newHost(t)
	pub = serveNames(t, "192.0.2.53", "198.51.100.80")
	startBus(t)
	stop = startResolved(t, more...)
	sh(t, "ln -s ../run/systemd/resolve/stub-resolv.conf "+confPath)
	eventually(t, "the stub's file", func() string {
		if !strings.Contains(read(t, confPath), "127.0.0.53") {
			return "is not there"
		}
		return ""
	})
	return pub, stop
}

func TestResolvedIsToldOfOurInterface(t *testing.T) {
	pub, stop := newResolvedHost(t)
	before := read(t, confPath)
	d := openDNS(t)
	apply(t, d, wish(coord.DNS{}))
	if s := d.Status().DNS; s.Mode != "resolved" || !slices.Contains(s.Upstreams[0].Servers, "192.0.2.53") {
		t.Errorf("status %+v", s)
	}
	wantResolved(t, found)
	if got := resolve("nobody.warren.internal"); got != "NXDOMAIN" {
		t.Errorf("nobody: %s", got)
	}
	// A changed network is followed at once, whatever systemd-resolved has in its cache.
	w := wish(coord.DNS{Records: []coord.DNSRecord{{Name: "nobody.warren.internal", Type: "A", Value: "100.64.0.99"}}})
	apply(t, d, w)
	if got := resolve("nobody.warren.internal"); got != "100.64.0.99" {
		t.Errorf("after the change: %s", got)
	}
	if names := pub.leaked(); names != nil {
		t.Errorf("the public nameserver was asked for %v", names)
	}

	// A restart loses nothing.
	stop()
	eventually(t, "it is gone", func() string {
		if s := d.Status().DNS; s.Mode != "off" {
			return s.Mode
		}
		return ""
	})
	startResolved(t)
	eventually(t, "it is told again", func() string {
		if s := d.Status().DNS; s.Mode != "resolved" {
			return s.Mode
		}
		return ""
	})
	wantResolved(t, map[string]string{"bob.warren.internal": "100.64.0.2"})

	d.Close()
	eventually(t, "given back", func() string {
		if got := read(t, confPath); got != before {
			return got
		}
		return ""
	})
	if got := resolve("bob.warren.internal"); got != "198.51.100.80" {
		t.Errorf("bob is still answered: %s", got)
	}
}

// TestResolvedAsksUsWhateverItAsksOfPublicNameservers: our resolver is on this machine and speaks plain DNS, and nobody signs
// the network's names, also those of a suffix below a domain that is signed.
func TestResolvedAsksUsWhateverItAsksOfPublicNameservers(t *testing.T) {
	newResolvedHost(t, "DNSOverTLS=yes")
	d := openDNS(t)
	apply(t, d, wish(coord.DNS{Split: []coord.DNSSplit{{Domain: "corp.example", Nameservers: []string{"192.0.2.53"}}}}))
	wantResolved(t, map[string]string{"bob": "100.64.0.2", "www.corp.example": "198.51.100.80"})
	all := linkProperties(t)
	if got := all["DNSSECNegativeTrustAnchors"].String(); !strings.Contains(got, `"warren.internal"`) || !strings.Contains(got, `"corp.example"`) {
		t.Errorf("signatures are wanted for all but %s", got)
	}
	d.Close()
	if all := linkProperties(t); all["DNSOverTLS"].Value() != "yes" || all["DNSSECNegativeTrustAnchors"].String() != "@as []" {
		t.Errorf("afterwards %v", all)
	}
}

// TestResolvedTakesAllDomainsThatANetworkMayHave: more than it has room for on one interface.
func TestResolvedTakesAllDomainsThatANetworkMayHave(t *testing.T) {
	newResolvedHost(t)
	var most coord.DNS
	for i := range coord.MaxRecords {
		most.Records = append(most.Records, coord.DNSRecord{Name: fmt.Sprintf("r%d.example", i), Type: "A", Value: "100.64.0.2"})
	}
	for i := range coord.MaxSplitDomains {
		most.Split = append(most.Split, coord.DNSSplit{Domain: fmt.Sprintf("s%d.example", i), Nameservers: []string{"192.0.2.53"}})
	}
	d := openDNS(t)
	apply(t, d, wish(most))
	wantResolved(t, map[string]string{"bob": "100.64.0.2", "r999.example": "100.64.0.2", "www.s63.example": "198.51.100.80", "www.example.com": "198.51.100.80"})
}

// linkProperties are what systemd-resolved says of our interface.
func linkProperties(t testing.TB) (all map[string]dbus.Variant) {
	t.Helper()
	bus, err := connectBus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	on, err := linkOf(link)
	if err != nil {
		t.Fatal(err)
	}
	var path dbus.ObjectPath
	if err := errors.Join(
		call(t.Context(), bus, busResolved, resolvedPath, resolvedMgr+".GetLink", int32(on.Index)).Store(&path),
		call(t.Context(), bus, busResolved, path, "org.freedesktop.DBus.Properties.GetAll", resolvedLink).Store(&all),
	); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestServicesThatStartAfterUsAreNoticed: at boot all come at once, and in no order where systemd does not run.
func TestServicesThatStartAfterUsAreNoticed(t *testing.T) {
	newHost(t)
	serveNames(t, "192.0.2.53", "198.51.100.80")
	sh(t, "ln -s ../run/systemd/resolve/stub-resolv.conf "+confPath)
	d := openDNS(t)
	apply(t, d, wish(coord.DNS{}), ipc.ProblemDNSAdvice)
	startBus(t)
	startResolved(t)
	wantResolved(t, found)

	// Also where /etc/resolv.conf leads to a place that is made only then.
	sh(t, "ln -sfn ../run/late/network/resolv.conf "+confPath)
	eventually(t, "it is looked at", func() string {
		if s := d.Status().DNS; s.Mode != "resolv.conf" {
			return s.Mode
		}
		return ""
	})
	sh(t, "mkdir -p /run/late/network && echo nameserver 192.0.2.53 >/run/late/network/resolv.conf")
	wantResolved(t, found)
}

// TestABusThatStallsChangesNothing: that a service does not answer is no reason to think that it is gone.
func TestABusThatStallsChangesNothing(t *testing.T) {
	newResolvedHost(t)
	d := openDNS(t)
	w := wish(coord.DNS{})
	apply(t, d, w)
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, "/run/bus.pid")))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	apply(t, d, w, ipc.ProblemDNSHost)
	if s := d.Status().DNS; s.Mode != "resolved" || hostmode.Marked(read(t, confPath)) {
		t.Errorf("while it stalls: %+v", s)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	apply(t, d, w)
	if s := d.Status().DNS; s.Mode != "resolved" || s.Contested > 0 {
		t.Errorf("afterwards: %+v", s)
	}
	wantResolved(t, found)
}

// TestASilentBusIsWaitedForNoLongerThanPromised, and what it did not take back stays to be undone.
func TestASilentBusIsWaitedForNoLongerThanPromised(t *testing.T) {
	newHost(t)
	if err := os.MkdirAll(filepath.Dir(busSocket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", busSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	on, err := linkOf(link)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Record(journal.Change{Kind: kindResolved, Data: on}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r, err := j.Recover(t.Context(), Undo())
	if took := time.Since(began); r.Left != 1 || !errors.Is(err, errSilent) || took > busy*busTime {
		t.Errorf("%+v, %v after %s", r, err, took)
	}
}

// TestServicesThatHangAreAskedSideBySide, and all of them are waited for no longer than one: neither takes calls any more.
func TestServicesThatHangAreAskedSideBySide(t *testing.T) {
	newHost(t)
	startBus(t)
	hung, err := connectBus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	for _, name := range []string{busResolved, busNM} {
		if _, err := hung.RequestName(name, dbus.NameFlagDoNotQueue); err != nil {
			t.Fatal(err)
		}
	}
	hung.Eavesdrop(make(chan *dbus.Message, 64)) // and nobody answers
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	on, err := linkOf(link)
	if err != nil {
		t.Fatal(err)
	}
	var changes []journal.Change
	for i := range 30 {
		changes = append(changes, journal.Change{Kind: kindResolved, Data: on}, journal.Change{Kind: kindNM, Data: nmData{Servers: []string{"100.127.255." + strconv.Itoa(i)}}})
	}
	write(t, confPath, theirs)
	changes = append([]journal.Change{{Kind: kindFile, Data: fileData{Path: confPath, Target: confPath}}}, changes...)
	if _, err := j.Record(changes...); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r, err := j.Recover(t.Context(), Undo())
	took := time.Since(began)
	t.Logf("recovered in %s (one answer is waited for %s)", took, busTime)
	if r.Left != 60 || r.Undone != 1 || !errors.Is(err, context.DeadlineExceeded) || took > busy*busTime {
		t.Errorf("%+v, %v after %s", r, err, took)
	}
}

// TestResolvedIsToldAgainThreeTimes lets another program revert our interface.
func TestResolvedIsToldAgainThreeTimes(t *testing.T) {
	newResolvedHost(t)
	d := openDNS(t)
	w := wish(coord.DNS{Nameservers: []string{"192.0.2.53"}, Split: []coord.DNSSplit{{Domain: "corp.example", Nameservers: []string{"192.0.2.53"}}}})
	apply(t, d, w)
	bus, err := connectBus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	on, err := linkOf(link)
	if err != nil {
		t.Fatal(err)
	}
	plan := hostmode.NewPlan(w.Servers, w.Suffix, &w.DNS, w.Zone.Domains())
	look := &resolved{bus: bus, link: link}
	revert := func() {
		if err := call(t.Context(), bus, busResolved, resolvedPath, resolvedMgr+".RevertLink", int32(on.Index)).Err; err != nil {
			t.Fatal(err)
		}
	}
	for range hostmode.MaxAgain {
		revert()
		eventually(t, "told again", func() string {
			if ok, err := look.isSet(t.Context(), plan); err != nil || !ok {
				return "not set"
			}
			return ""
		})
	}
	revert()
	eventually(t, "it is reported", func() string {
		if ps := d.Status().Problems; len(ps) != 1 || ps[0].Code != ipc.ProblemDNSContested {
			return "no problem"
		}
		return ""
	})
	if ok, _ := look.isSet(t.Context(), plan); ok {
		t.Error("it is still fought for")
	}
}

func TestRecoverAfterAKillAtEachChangeOfResolved(t *testing.T) {
	newResolvedHost(t)
	killAndRecover(t, func() (got string) {
		all := linkProperties(t)
		for _, key := range slices.Sorted(maps.Keys(all)) {
			got += key + "=" + all[key].String() + "\n"
		}
		return got
	})
}

// newNMHost is a host whose resolv.conf the real NetworkManager writes, with a network that has a nameserver.
func newNMHost(t testing.TB) *nameserver { return newNMHostWith(t, "default", nmConf) }

// newNMHostWith is that with a way of NetworkManager's to resolve names (dns=, NetworkManager.conf(5)), and the file that it
// writes then.
func newNMHostWith(t testing.TB, plugin, conf string) *nameserver {
	t.Helper()
	newHost(t)
	dir := unpacked(t, "network-manager", "usr/sbin/NetworkManager")
	sh(t, "mount -o remount,bind,ro /sys") // without udev it manages interfaces only in what looks like a container
	t.Cleanup(func() { sh(t, "mount -o remount,bind,rw /sys") })
	sh(t, "ip link add eth7 type veth peer name far7 && ip link set far7 up")
	t.Cleanup(func() { sh(t, "ip link del eth7") })
	pub := serveNames(t, "192.0.2.53", "198.51.100.80")
	sh(t, "mkdir -p /etc/NetworkManager/system-connections /run/NetworkManager /var/lib/NetworkManager")
	sh(t, "mount -t tmpfs tmpfs /var/lib/NetworkManager")
	t.Cleanup(func() { sh(t, "umount /var/lib/NetworkManager") })
	write(t, "/etc/NetworkManager/NetworkManager.conf", "[main]\nplugins=keyfile\ndns="+plugin+"\nrc-manager=symlink\nno-auto-default=*\n[device]\nmatch-device=interface-name:far7\nmanaged=0\n")
	lan := "/etc/NetworkManager/system-connections/lan.nmconnection"
	write(t, lan, "[connection]\nid=lan\ntype=ethernet\ninterface-name=eth7\n[ipv4]\nmethod=manual\naddress1=203.0.113.7/24\ndns=192.0.2.53;\ndns-search=lan.example;\n[ipv6]\nmethod=disabled\n")
	if err := os.Chmod(lan, 0o600); err != nil {
		t.Fatal(err)
	}
	sh(t, "ln -s ../run/NetworkManager/resolv.conf "+confPath)
	startBus(t)
	var libs []string
	for _, p := range []string{"libnm0", "libndp0", "libjansson4", "libcurl3-gnutls", "libpsl5"} {
		libs = append(libs, unpacked(t, p, "usr/lib/x86_64-linux-gnu"))
	}
	path := "LD_LIBRARY_PATH=" + strings.Join(libs, "/usr/lib/x86_64-linux-gnu:") + "/usr/lib/x86_64-linux-gnu"
	startNM = func() (stop func()) {
		stop = start(t, []string{path}, filepath.Join(dir, "usr/sbin/NetworkManager"), "--no-daemon")
		waitOwned(t, busNM)
		return stop
	}
	stopNM = startNM()
	eventually(t, "its resolv.conf", func() string {
		if got := read(t, confPath); got != conf {
			return "is " + got
		}
		return ""
	})
	return pub
}

// startNM and stopNM are the running test's.
var (
	startNM func() (stop func())
	stopNM  func()
)

func TestNetworkManagerMayRestart(t *testing.T) {
	newNMHost(t)
	d := openDNS(t)
	apply(t, d, wish(coord.DNS{}))
	wantResolved(t, found)
	// The host moves to another network.
	serveNames(t, "192.0.2.54", "198.51.100.81")
	other := "/etc/NetworkManager/system-connections/other.nmconnection"
	write(t, other, "[connection]\nid=other\ntype=ethernet\ninterface-name=eth7\nautoconnect=false\n[ipv4]\nmethod=manual\naddress1=203.0.113.8/24\ndns=192.0.2.54;\n[ipv6]\nmethod=disabled\n")
	if err := os.Chmod(other, 0o600); err != nil {
		t.Fatal(err)
	}
	move := func(to, say string) {
		bus, err := connectBus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer bus.Close()
		var loaded bool
		var failed []string
		var device, active dbus.ObjectPath
		var profiles []dbus.ObjectPath
		if err := errors.Join(
			call(t.Context(), bus, busNM, nmPath+"/Settings", busNM+".Settings.LoadConnections", []string{other}).Store(&loaded, &failed),
			call(t.Context(), bus, busNM, nmPath, busNM+".GetDeviceByIpIface", "eth7").Store(&device),
			call(t.Context(), bus, busNM, nmPath+"/Settings", busNM+".Settings.ListConnections").Store(&profiles),
		); err != nil {
			t.Fatal(err)
		}
		for _, p := range profiles {
			var file string
			if property(t.Context(), bus, busNM, p, busNM+".Settings.Connection", "Filename", &file) == nil && strings.Contains(file, to) {
				if err := call(t.Context(), bus, busNM, nmPath, busNM+".ActivateConnection", p, device, dbus.ObjectPath("/")).Store(&active); err != nil {
					t.Fatal(err)
				}
			}
		}
		wantResolved(t, map[string]string{"bob": "100.64.0.2", to + ".example.com": say})
	}
	move("other", "198.51.100.81")
	move("lan", "198.51.100.80")
	for i := range hostmode.MaxAgain + 1 {
		stopNM()
		eventually(t, "it is gone", func() string {
			if s := d.Status().DNS; s.Mode != "resolv.conf" {
				return s.Mode
			}
			return ""
		})
		wantResolved(t, map[string]string{"bob": "100.64.0.2", "n" + strconv.Itoa(i) + ".example.com": "198.51.100.80"})
		stopNM = startNM()
		eventually(t, "it is told again", func() string {
			if s := d.Status(); s.DNS.Mode != "network-manager" || s.DNS.Contested+len(s.Problems) > 0 {
				return fmt.Sprintf("%+v", s)
			}
			return ""
		})
		wantResolved(t, map[string]string{"bob": "100.64.0.2", "m" + strconv.Itoa(i) + ".example.com": "198.51.100.80"})
	}
	stopNM() // and what is given back without it are nameservers that work
	d.Close()
	if got := resolve("afterwards.example.com"); got != "198.51.100.80" {
		t.Errorf("afterwards: %s in\n%s", got, read(t, confPath))
	}
	stopNM = startNM()
	eventually(t, "given back", func() string {
		if got := read(t, confPath); got != nmConf {
			return "is " + got
		}
		return ""
	})
}

// TestNetworkManagersDnsmasqAsksUs: the host's programs ask the real dnsmasq that NetworkManager starts. It asks the network's
// own nameserver through the network's interface, where that of the test is not: so public names come only through us here.
func TestNetworkManagersDnsmasqAsksUs(t *testing.T) {
	libs := ""
	for _, p := range []string{"libnetfilter-conntrack3", "libnfnetlink0"} {
		libs += unpacked(t, p, "usr/lib/x86_64-linux-gnu") + "/usr/lib/x86_64-linux-gnu:"
	}
	real := filepath.Join(unpacked(t, "dnsmasq-base", "usr/sbin/dnsmasq"), "usr/sbin/dnsmasq")
	sh(t, "mount -t tmpfs tmpfs /usr/local/sbin") // where NetworkManager looks for it first; this is a mount namespace of ours
	t.Cleanup(func() { sh(t, "umount /usr/local/sbin") })
	write(t, "/usr/local/sbin/dnsmasq", "#!/bin/sh\nLD_LIBRARY_PATH="+libs+"$LD_LIBRARY_PATH exec "+real+" \"$@\"\n")
	if err := os.Chmod("/usr/local/sbin/dnsmasq", 0o755); err != nil {
		t.Fatal(err)
	}
	const before = "# Generated by NetworkManager\nsearch lan.example\nnameserver 127.0.0.1\noptions edns0 trust-ad\n"
	child := 0
	t.Cleanup(func() { // NetworkManager, killed by then, leaves it
		if child > 0 {
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
	})
	pub := newNMHostWith(t, "dnsmasq", before)
	t.Cleanup(func() { child, _ = strconv.Atoi(strings.TrimSpace(read(t, "/run/NetworkManager/dnsmasq.pid"))) })
	if got := resolve("bob.warren.internal"); got == "100.64.0.2" {
		t.Errorf("control: without us bob is %s", got)
	}
	asked := len(pub.leaked())
	d := openDNS(t)
	apply(t, d, wish(coord.DNS{}))
	if s := d.Status().DNS; s.Mode != "network-manager" || !slices.Equal(s.Upstreams[0].Servers, []string{"192.0.2.53"}) {
		t.Errorf("status %+v", s)
	}
	if got := read(t, confPath); !strings.Contains(got, "nameserver 127.0.0.1\n") {
		t.Errorf("programs do not ask dnsmasq any more:\n%s", got)
	}
	wantResolved(t, found)
	if names := pub.leaked(); len(names) > asked {
		t.Errorf("the public nameserver was asked for %v", names[asked:])
	}
	d.Close()
	eventually(t, "given back", func() string {
		if got := read(t, confPath); got != before {
			return "is " + got
		}
		return ""
	})
	if got := resolve("bob.warren.internal"); got == "100.64.0.2" {
		t.Errorf("afterwards bob is %s", got)
	}
}

const nmConf = "# Generated by NetworkManager\nsearch lan.example\nnameserver 192.0.2.53\n"

// hostsLinks shows what NetworkManager could change of the host, but for its own interface.
const hostsLinks = "ip addr show " + link + "; { ip route; ip -6 route; } | grep -v eth7"

func TestNetworkManagerIsToldOfOurInterface(t *testing.T) {
	pub := newNMHost(t)
	before := sh(t, hostsLinks)
	d := openDNS(t)
	apply(t, d, wish(coord.DNS{}))
	if s := d.Status().DNS; s.Mode != "network-manager" || !slices.Equal(s.Upstreams[0].Servers, []string{"192.0.2.53"}) {
		t.Errorf("status %+v", s)
	}
	wantResolved(t, found)
	if got := sh(t, hostsLinks); got != before {
		t.Errorf("the interface was\n%s\nand is\n%s", before, got)
	}
	if names := pub.leaked(); names != nil {
		t.Errorf("the public nameserver was asked for %v", names)
	}
	// The network changes: its new nameserver and search domain are followed, and are what comes back.
	serveNames(t, "192.0.2.54", "198.51.100.81")
	sh(t, "sed -i 's/dns=.*/dns=192.0.2.54;/; s/dns-search=.*/dns-search=new.example;/; s/method=disabled/method=manual\\naddress1=fd00::7\\/64\\ndns=fe80::53;/' /etc/NetworkManager/system-connections/lan.nmconnection")
	bus, err := connectBus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	var device dbus.ObjectPath
	if err := errors.Join(
		call(t.Context(), bus, busNM, nmPath+"/Settings", busNM+".Settings.ReloadConnections").Err,
		call(t.Context(), bus, busNM, nmPath, busNM+".GetDeviceByIpIface", "eth7").Store(&device),
		call(t.Context(), bus, busNM, device, nmDevice+".Reapply", map[string]map[string]dbus.Variant{}, uint64(0), uint32(0)).Err,
	); err != nil {
		t.Fatal(err)
	}
	wantResolved(t, map[string]string{"bob": "100.64.0.2", "new.example.com": "198.51.100.81"})
	eventually(t, "the search domains", func() string {
		if got := read(t, confPath); !strings.Contains(got, "search warren.internal new.example\n") {
			return "is " + got
		}
		return ""
	})
	if got := d.Status().DNS.Upstreams[0].Servers; !slices.Equal(got, []string{"192.0.2.54", "fe80::53%eth7"}) {
		t.Errorf("its nameservers: %v", got)
	}
	// Without NetworkManager, ours is taken out of what it keeps on disk.
	kept := read(t, nmIntern)
	if got := stripIntern(kept, serversOf(hostmode.Plan{Servers: wish(coord.DNS{}).Servers})); !strings.Contains(kept, "global-dns") || strings.Contains(got, "global-dns") {
		t.Errorf("it keeps\n%s\nof which this was left:\n%s", kept, got)
	}
	if stripIntern(kept, []string{"192.0.2.99"}) != kept {
		t.Error("what is another's was taken out")
	}
	nmConf := strings.NewReplacer("lan.example", "new.example", "192.0.2.53", "192.0.2.54").Replace(nmConf) + "nameserver fe80::53%eth7\n"
	d.Close()
	eventually(t, "given back", func() string {
		if got := read(t, confPath); got != nmConf {
			return "is " + got
		}
		return ""
	})
	if got := sh(t, hostsLinks); got != before {
		t.Errorf("afterwards the interface was\n%s\nand is\n%s", before, got)
	}
}

// TestNetworkManagerGetsBackWhatOthersSetMeanwhile, and nothing of ours stays, also where we were another server at first.
func TestNetworkManagerGetsBackWhatOthersSetMeanwhile(t *testing.T) {
	newNMHost(t)
	bus, err := connectBus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	givenBack := func(want string) {
		t.Helper()
		eventually(t, "given back", func() string {
			if got := read(t, confPath); got != want {
				return "is " + got
			}
			return ""
		})
	}
	d := openDNS(t)
	w := wish(coord.DNS{})
	servers := w.Servers
	w.Servers = servers[:1] // as long as the other address cannot be listened on
	apply(t, d, w)
	w.Servers = servers
	apply(t, d, w)
	w.Accept = false
	apply(t, d, w)
	givenBack(nmConf)

	w.Accept = true
	apply(t, d, w)
	wantResolved(t, map[string]string{"bob": "100.64.0.2"})
	administrators := global{Searches: []string{"office.example"}, Domains: map[string]globalDomain{"*": {Servers: []string{"192.0.2.99"}}}}
	if err := administrators.write(t.Context(), bus); err != nil {
		t.Fatal(err)
	}
	eventually(t, "told again", func() string {
		if g, err := readGlobal(t.Context(), bus); err != nil || !g.has(serversOf(hostmode.Plan{Servers: servers})) {
			return "not set"
		}
		return ""
	})
	w.Servers = servers[:1]
	apply(t, d, w)
	d.Close()
	givenBack("# Generated by NetworkManager\nsearch office.example\nnameserver 192.0.2.99\n")
}

func TestRecoverAfterAKillAtEachChangeOfNetworkManager(t *testing.T) {
	newNMHost(t)
	killAndRecover(t, func() string {
		got := ""
		eventually(t, "its resolv.conf", func() string { // it writes a moment later
			if got = read(t, confPath); got != nmConf {
				return "is " + got
			}
			return ""
		})
		return got
	})
}

// resolvconfs are the kinds that there are. Newer ones of openresolv have another place for what they are told.
var resolvconfs = []string{"debian", "openresolv", "openresolv since 3.14"}

// newResolvconfHost is a host with the real resolvconf of either kind, which has been told of a network.
func newResolvconfHost(t testing.TB, flavour string) *nameserver {
	t.Helper()
	newHost(t)
	name, _, newer := strings.Cut(flavour, " ")
	if name == "debian" {
		name = "resolvconf"
	}
	dir := unpacked(t, name, "sbin/resolvconf")
	for _, place := range []struct{ from, to string }{{"sbin", "/usr/sbin"}, {"lib/resolvconf", "/usr/lib/resolvconf"}} {
		// Over what is there, for this test only.
		if place.to == "/usr/lib/resolvconf" {
			sh(t, "mkdir -p "+place.to)
			sh(t, "mount --bind "+filepath.Join(dir, place.from)+" "+place.to)
			t.Cleanup(func() { sh(t, "umount "+place.to) })
			continue
		}
		work := t.TempDir()
		sh(t, "mount -t tmpfs tmpfs "+work+" && mkdir "+work+"/up "+work+"/work")
		sh(t, "mount -t overlay overlay -o lowerdir=/usr/sbin,upperdir="+work+"/up,workdir="+work+"/work /usr/sbin")
		t.Cleanup(func() { sh(t, "umount /usr/sbin && umount "+work) })
		sh(t, "cp "+filepath.Join(dir, place.from, "resolvconf")+" /usr/sbin/resolvconf")
		if newer {
			sh(t, `sed -i 's|^IFACEDIR=.*|IFACEDIR="$VARDIR/keys"|' /usr/sbin/resolvconf && grep -q VARDIR/keys /usr/sbin/resolvconf`)
		}
	}
	sh(t, "cp -r "+filepath.Join(dir, "etc")+"/. /etc/")
	if flavour == "debian" {
		sh(t, "mkdir -p /run/resolvconf/interface")
		sh(t, "ln -s ../run/resolvconf/resolv.conf "+confPath)
		sh(t, "resolvconf --enable-updates")
	}
	pub := serveNames(t, "192.0.2.53", "198.51.100.80")
	sh(t, "printf 'nameserver 192.0.2.53\nsearch lan.example\n' | resolvconf -a eth7.dhcp")
	return pub
}

func TestResolvconfIsTold(t *testing.T) {
	for _, flavour := range resolvconfs {
		t.Run(flavour, func(t *testing.T) {
			pub := newResolvconfHost(t, flavour)
			before := read(t, confPath)
			if !strings.Contains(before, "192.0.2.53") {
				t.Fatalf("resolvconf does not work here:\n%s", before)
			}
			d := openDNS(t)
			apply(t, d, wish(coord.DNS{}))
			if s := d.Status().DNS; s.Mode != "resolvconf" || !strings.Contains(s.Reason, strings.Fields(flavour)[0]) || !slices.Equal(s.Upstreams[0].Servers, []string{"192.0.2.53"}) {
				t.Errorf("status %+v", s)
			}
			wantResolved(t, found)
			if names := pub.leaked(); names != nil {
				t.Errorf("the public nameserver was asked for %v", names)
			}
			// The network changes: its new nameserver is followed, and is what comes back.
			serveNames(t, "192.0.2.54", "198.51.100.81")
			sh(t, "printf 'nameserver 192.0.2.54\nsearch lan.example\n' | resolvconf -a eth7.dhcp")
			wantResolved(t, map[string]string{"bob": "100.64.0.2", "new.example.com": "198.51.100.81"})
			d.Close()
			if got, want := read(t, confPath), strings.Replace(before, "192.0.2.53", "192.0.2.54", 1); got != want {
				t.Errorf("given back:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestRecoverAfterAKillAtEachChangeOfResolvconf(t *testing.T) {
	for _, flavour := range resolvconfs {
		t.Run(flavour, func(t *testing.T) {
			newResolvconfHost(t, flavour)
			killAndRecover(t, func() string { return read(t, confPath) })
		})
	}
}

// TestAServerOfTheHostsOwnStandsBeforeResolvconfs: programs ask it, whatever resolvconf is told, so it has to ask us.
func TestAServerOfTheHostsOwnStandsBeforeResolvconfs(t *testing.T) {
	for _, flavour := range resolvconfs[:2] {
		t.Run(flavour, func(t *testing.T) {
			newResolvconfHost(t, flavour)
			if flavour == "debian" {
				sh(t, "echo nameserver 127.0.0.1 | resolvconf -a lo.dnsmasq") // as the package dnsmasq does
			} else {
				sh(t, "echo name_servers=127.0.0.1 >>/etc/resolvconf.conf && resolvconf -u")
			}
			before := read(t, confPath)
			if !strings.Contains(before, "nameserver 127.0.0.1\n") {
				t.Fatalf("control: it is\n%s", before)
			}
			d := openDNS(t)
			for range hostmode.MaxAgain + 2 {
				apply(t, d, wish(coord.DNS{}), ipc.ProblemDNSHost)
			}
			if got := d.Status(); got.DNS.Contested > 0 || !strings.Contains(got.Problems[0].Text, "127.0.0.1") || !strings.Contains(got.Problems[0].Text, "100.127.255.254 for warren.internal") {
				t.Errorf("%+v", got)
			}
			if got := read(t, confPath); got != before {
				t.Errorf("it is\n%s\nwas\n%s", got, before)
			}

			// And the other way round: it goes, and comes.
			own := []string{"resolvconf -d lo.dnsmasq", "echo nameserver 127.0.0.1 | resolvconf -a lo.dnsmasq"}
			if flavour != "debian" {
				own = []string{"sed -i /^name_servers/d /etc/resolvconf.conf && resolvconf -u", "echo name_servers=127.0.0.1 >>/etc/resolvconf.conf && resolvconf -u"}
			}
			sh(t, own[0])
			apply(t, d, wish(coord.DNS{}))
			wantResolved(t, found)
			sh(t, own[1])
			eventually(t, "it is left alone", func() string {
				if got := read(t, confPath); got != before {
					return "it is " + got
				}
				return ""
			})
		})
	}
}
