package firewall

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/ipc"
)

// counted are the parts of a listing that go on by themselves.
var counted = regexp.MustCompile(`(packets|bytes) [0-9]+`)

func listing(m *lab.Machine) string {
	return counted.ReplaceAllString(m.MustRun("sh", "-c", "set -e; nft list ruleset; iptables-nft -S; ip6tables-nft -S"), "")
}

// besides runs what another filter of the host does to forwarded packets: stopped without us, let through with us, gone after.
// It is said where the host's own rules stop some of it.
func (p *place) besides(t *testing.T, reload func(), said ...string) {
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
		if problems := p.apply(t, judged(base.routing(lan, lan6))); !slices.Equal(refusalsIn(problems), said) || len(problems) != len(said) {
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

// refusalsIn gives the places of the host's own rules that problems name.
func refusalsIn(problems []ipc.Problem) (at []string) {
	for _, p := range problems {
		if p.Code == ipc.ProblemHostRules {
			at = append(at, regexp.MustCompile(`\((.*?)\)`).FindStringSubmatch(p.Text)[1])
		}
	}
	return at
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
	}, "table filter, FORWARD")
}

func TestTheHostsOwnRulesOnTheTunnelHold(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	serve(t, p.nas)
	lan := p.home.Prefix().String()
	p.through(t, lan)
	p.host.MustRun("sh", "-c", "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i "+tun+" -p tcp --dport "+port+" -j DROP")
	if got := refusalsIn(p.apply(t, base.routing(lan))); !slices.Equal(got, []string{"table filter, FORWARD"}) {
		t.Errorf("what is said of it: %q", got)
	}
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
	p := besideUfw(t)
	p.besides(t, func() { p.host.MustRun("ufw", "reload") })
	p.shut(t, "Let it in: sudo ufw allow 41642/udp", func() { p.host.MustRun("ufw", "allow", "41642/udp") })
}

// TestWhatUfwDeniesIsSaid has rules of each kind that it has, and does what the notice says.
func TestWhatUfwDeniesIsSaid(t *testing.T) {
	p := besideUfw(t)
	serve(t, p.host)
	said := func(what string, want ...string) {
		t.Helper()
		if problems := p.apply(t, judged(base)); !slices.Equal(refusalsIn(problems), want) {
			t.Errorf("%s: %+v", what, problems)
		}
	}
	access := newFilter(t)
	tcp := coord.Service{Proto: coord.ProtoTCP, First: 7777, Last: 7777}
	p.do(t, func() error { return access.Apply(t.Context(), Admission{Rules: grantsOf(tcp), Self: base.Self}) })
	said("nothing")
	p.wants(t, "control", p.peer, host4, peer4.String())
	for _, elsewhere := range [][]string{{"deny", "in", "on", "eth9"}, {"deny", "from", "192.0.2.7"}, {"limit", "22/tcp"}, {"allow", "80/tcp"}} {
		p.host.MustRun(append([]string{"ufw"}, elsewhere...)...)
	}
	said("what is not about the network")
	p.host.MustRun("ufw", "default", "reject", "incoming")
	said("ufw's policy")
	p.wants(t, "what ufw rejects by its policy", p.peer, host4, peer4.String())
	var changed <-chan struct{}
	p.do(t, func() (err error) {
		changed, err = NewLockdown(LockdownConfig{}).Watch(t.Context())
		return err
	})
	p.host.MustRun("ufw", "reject", "7777/tcp")
	select {
	case <-changed: // upon which the daemon looks again
	case <-time.After(time.Minute):
		t.Error("nobody hears that ufw's rules are others")
	}
	said("a port", "table filter, ufw-user-input", "table filter, ufw6-user-input")
	p.wants(t, "what ufw rejects", p.peer, host4, nobody)
	p.host.MustRun("ufw", "insert", "1", "allow", "in", "on", tun)
	said("as the notice advises")
	p.wants(t, "as the notice advises", p.peer, host4, peer4.String())
	p.do(t, func() error { return access.Apply(t.Context(), Admission{Rules: &coord.Filter{}, Self: base.Self}) })
	p.wants(t, "then it is the network's rules' word", p.peer, host4, nobody)
	p.host.MustRun("ufw", "delete", "allow", "in", "on", tun)
	p.host.MustRun("ufw", "delete", "reject", "7777/tcp")
	p.host.MustRun("ufw", "deny", "from", "100.64.0.0/10")
	said("the network itself", "table filter, ufw-user-input")
}

// TestAnotherTablesRejectIsSaid has the last rule that many hosts have, in a chain that lets pass what its rules do not stop.
func TestAnotherTablesRejectIsSaid(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.host.MustRun("nft", `table inet mine {
		set known {
			type ipv4_addr
			elements = { 192.0.2.1 }
		}
		chain checked {
			tcp dport 22 return
			reject
		}
		chain incoming {
			type filter hook input priority 0
			ct state established,related accept
			ip saddr @known drop
			meta pkttype broadcast drop
			limit rate over 900/second drop
			iifname "`+tun+`" goto checked
		}
	}`)
	if got := refusalsIn(p.apply(t, judged(base))); !slices.Equal(got, []string{"table mine, checked"}) {
		t.Errorf("%q", got)
	}
	p.host.MustRun("nft", "insert rule inet mine incoming iifname "+tun+" accept")
	if got := refusalsIn(p.apply(t, judged(base))); len(got) > 0 {
		t.Errorf("behind a rule that lets all pass: %q", got)
	}
}

// besideUfw is a place whose host has ufw.
func besideUfw(t *testing.T) *place {
	p := newPlace(t)
	for _, dir := range []string{"/etc", "/var/lib"} {
		overlay(t, p.host, dir)
	}
	p.host.MustRun("ufw", "--force", "enable")
	if out := p.host.MustRun("ufw", "status", "verbose"); !strings.Contains(out, "active") || !strings.Contains(out, "(routed)") {
		t.Fatalf("ufw: %s", out)
	}
	return p
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
	command := func(args ...string) {
		p.host.MustRun(append([]string{"env", env, "/usr/bin/python3", "/usr/bin/firewall-cmd"}, args...)...)
	}
	p.besides(t, func() { command("--reload") })
	p.shut(t, "Let it in: sudo firewall-cmd --permanent --add-port=41642/udp && sudo firewall-cmd --reload", func() {
		command("--permanent", "--add-port=41642/udp")
		command("--reload")
	})
}
