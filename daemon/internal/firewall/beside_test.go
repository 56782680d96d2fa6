package firewall

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// counted are the parts of a listing that go on by themselves.
var counted = regexp.MustCompile(`(packets|bytes) [0-9]+`)

func listing(m *lab.Machine) string {
	return counted.ReplaceAllString(m.MustRun("sh", "-c", "set -e; nft list ruleset; iptables-nft -S; ip6tables-nft -S"), "")
}

// besides runs what another filter of the host does to forwarded packets: stopped without us, let through with us, gone after.
func (p *place) besides(t *testing.T, reload func()) {
	t.Helper()
	serve(t, p.nas)
	serve(t, p.web)
	serve(t, p.host)
	lan, lan6 := p.home.Prefix().String(), p.home.Prefix6().String()
	p.through(t, lan, lan6, p.web.Addr().String()+"/32")
	reload() // which brings ufw to what it is after another one
	before := listing(p.host)
	p.host.MustRun("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	p.nas.MustRun("ip", "route", "add", "100.64.0.0/10", "via", p.host.Addr().String())
	p.wants(t, "control: the other filter drops it", p.peer, p.nas.Addr(), nobody)
	p.wants(t, "control: the other filter drops it", p.peer, host4, nobody)
	access := newFilter(t)
	let := &coord.Filter{
		Sets:    []coord.FilterSet{{Name: "*", Nets: mesh}},
		In:      []coord.FilterRule{{From: []string{"*"}, Allow: []coord.Service{{Proto: coord.ProtoTCP, First: 7777, Last: 7777}}}},
		Forward: []coord.FilterRule{{From: []string{"*"}, To: []netip.Prefix{p.home.Prefix(), p.home.Prefix6()}, Allow: []coord.Service{{Proto: coord.ProtoTCP}}}},
	}
	p.do(t, func() error { return access.Apply(t.Context(), Admission{Rules: let, Self: base.Self}) })
	for _, again := range []string{"", "reloaded"} {
		if again != "" {
			reload()
		}
		if problems := p.apply(t, judged(base.routing(lan, lan6))); len(problems) > 0 {
			t.Errorf("problems: %+v", problems)
		}
		p.wants(t, again, p.peer, p.nas.Addr(), p.host.Addr().String())
		p.wants(t, again, p.peer, p.nas.Addr6(), p.host.Addr6().String())
		p.wants(t, again, p.peer, host4, peer4.String())
		p.wants(t, again, p.peer, host6, peer6.String())
		p.wants(t, again+", what was not granted", p.peer, p.web.Addr(), nobody)
		p.wants(t, again+", what was not granted", p.nas, peer4, nobody)
	}
	p.do(t, func() error { return access.Apply(t.Context(), Admission{Rules: &coord.Filter{}, Self: base.Self}) })
	p.wants(t, "granted no more", p.peer, p.nas.Addr(), nobody)
	p.wants(t, "granted no more", p.peer, host4, nobody)
	p.do(t, func() error { return access.Close(t.Context()) })
	p.apply(t, base)
	p.wants(t, "the other filter alone", p.peer, host4, nobody)
	if after := strings.Split(listing(p.host), "table ip warren")[0]; strings.Contains(after, `"warren"`) {
		t.Errorf("a machine that routes nothing still has rules in another's table:\n%s", after)
	}
	if err := p.host.Do(func() error { return p.f.Close(t.Context()) }); err != nil {
		t.Error(err)
	}
	if after := listing(p.host); after != before {
		t.Errorf("after us:\n%s", difference(before, after))
	}
}

func judged(r Rules) Rules {
	r.Judged = true
	return r
}

// TestForwardingBesideIptables has Debian's iptables, as Docker leaves it and as an admin adds to it.
func TestForwardingBesideIptables(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.host.MustRun("sh", "-c", `set -e
		for t in iptables-nft ip6tables-nft; do
			$t -P INPUT DROP; $t -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
			$t -N DOCKER-USER; $t -A FORWARD -j DOCKER-USER; $t -A DOCKER-USER -j RETURN; $t -P FORWARD DROP
		done
		ip6tables-nft -A INPUT -p ipv6-icmp -j ACCEPT
		iptables-nft -A FORWARD -i `+tun+` -p tcp --dport 25 -j DROP`)
	p.besides(t, func() {
		p.host.MustRun("sh", "-c", "iptables-nft -F FORWARD; iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -A FORWARD -i "+tun+" -p tcp --dport 25 -j DROP")
	})
}

func TestTheHostsOwnRulesOnTheTunnelHold(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	serve(t, p.nas)
	lan := p.home.Prefix().String()
	p.through(t, lan)
	p.host.MustRun("sh", "-c", "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i "+tun+" -p tcp --dport "+port+" -j DROP")
	p.apply(t, base.routing(lan))
	p.wants(t, "what an admin drops", p.peer, p.nas.Addr(), nobody)
	if out, err := p.peer.Run("ping", "-c1", "-W1", p.nas.Addr().String()); err != nil {
		t.Errorf("the rest: %v: %s", err, out)
	}
}

// overlay gives the test's processes a writable layer above a directory, and more below it.
func overlay(t testing.TB, m *lab.Machine, dir string, below ...string) {
	t.Helper()
	over := t.TempDir()
	for _, sub := range []string{"up", "work"} {
		if err := os.Mkdir(filepath.Join(over, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lower := strings.Join(append(below, dir), ":")
	m.MustRun("sh", "-c", "mount -t tmpfs tmpfs "+over+" && mkdir "+over+"/up "+over+"/work && mount -t overlay overlay -o lowerdir="+lower+",upperdir="+over+"/up,workdir="+over+"/work "+dir)
	t.Cleanup(func() { m.MustRun("umount", "-l", dir, over) })
}

func TestForwardingBesideUfw(t *testing.T) {
	p := newPlace(t)
	for _, dir := range []string{"/etc", "/var/lib"} {
		overlay(t, p.host, dir)
	}
	p.host.MustRun("ufw", "--force", "enable")
	if out := p.host.MustRun("ufw", "status", "verbose"); !strings.Contains(out, "active") || !strings.Contains(out, "(routed)") {
		t.Fatalf("ufw: %s", out)
	}
	p.besides(t, func() { p.host.MustRun("ufw", "reload") })
}

// TestForwardingBesideFirewalld runs it from where packaging/deps unpacked it: installed, it would shut the machine that
// runs the tests.
func TestForwardingBesideFirewalld(t *testing.T) {
	p := newPlace(t)
	cache := os.Getenv("WARREN_TEST_PACKAGES")
	if cache == "" {
		cache = "/var/cache/warren-test"
	}
	var usr []string
	for _, name := range []string{"firewalld", "python3-firewall", "python3-nftables"} {
		dir := filepath.Join(cache, name, "usr")
		if _, err := os.Stat(dir); err != nil {
			t.Fatalf("%s is not unpacked in %s: run packaging/deps test", name, cache)
		}
		usr = append(usr, dir)
	}
	overlay(t, p.host, "/usr", usr...)
	overlay(t, p.host, "/etc", filepath.Join(cache, "firewalld", "etc"))
	overlay(t, p.host, "/var/log")
	bus := filepath.Join(t.TempDir(), "bus")
	conf := `<busconfig><type>system</type><listen>unix:path=` + bus + `</listen><auth>EXTERNAL</auth>
		<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(bus+".conf", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	p.host.Start("dbus-daemon", "--config-file="+bus+".conf", "--nofork", "--nopidfile")
	lab.Eventually(t, 5*time.Second, func() error { _, err := os.Stat(bus); return err })
	env := "DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + bus
	p.host.Start("env", env, "/usr/bin/python3", "/usr/sbin/firewalld", "--nofork", "--nopid")
	lab.Eventually(t, 15*time.Second, func() error {
		_, err := p.host.Run("env", env, "/usr/bin/python3", "/usr/bin/firewall-cmd", "--state")
		return err
	})
	p.besides(t, func() { p.host.MustRun("env", env, "/usr/bin/python3", "/usr/bin/firewall-cmd", "--reload") })
}
