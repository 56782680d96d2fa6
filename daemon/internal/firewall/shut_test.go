package firewall

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/ipc"
)

const relayPort = 41642

// shutIn gives the remedies for a port that is shut.
func shutIn(problems []ipc.Problem) (fixes []string) {
	for _, p := range problems {
		if p.Code == ipc.ProblemRelayShut {
			fixes = append(fixes, p.Fix)
		}
	}
	return fixes
}

// counters count what comes to the port, before any filter of the input and behind all.
const counters = `table inet seen {
	counter came { }
	counter passed { }
	chain first { type filter hook prerouting priority -400; udp dport 41642 counter name came; }
	chain last { type filter hook input priority 1000; udp dport 41642 counter name passed; }
}`

// arrives has the neighbour send to the port, and says whether that comes through the filters.
func (p *place) arrives(t *testing.T) bool {
	t.Helper()
	count := func(name string) (packets int) {
		var out struct {
			Nftables []struct{ Counter struct{ Packets int } }
		}
		if err := json.Unmarshal([]byte(p.host.MustRun("nft", "-j", "list", "counter", "inet", "seen", name)), &out); err != nil {
			t.Fatal(err)
		}
		for _, o := range out.Nftables {
			packets += o.Counter.Packets
		}
		return packets
	}
	conn, err := p.nas.Dial("udp", fmt.Sprintf("%s:%d", p.host.Addr(), relayPort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	came, passed := count("came"), count("passed")
	// The first of them has gone its whole way when the last one comes.
	for range 3 {
		_, _ = conn.Write([]byte("a stranger's")) // an earlier one may have been rejected
	}
	lab.Eventually(t, time.Minute, func() error {
		if n := count("came") - came; n < 2 {
			return fmt.Errorf("%d came", n)
		}
		return nil
	})
	return count("passed") > passed
}

// TestAFilterThatShutsTheRelaysPortIsSaid compares what is said with what the kernel does with a packet.
func TestAFilterThatShutsTheRelaysPortIsSaid(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.host.Echo(relayPort)
	dev := p.host.Device()
	nft := func(rules string) string {
		return "table inet mine {\n" + strings.ReplaceAll(rules, "INPUT", "chain come { type filter hook input priority 0;") + "\n}"
	}
	insert := "Let it in: sudo nft insert rule inet mine come udp dport 41642 accept"
	for _, c := range []struct {
		what, rules string
		fix         string // "": nothing is said
		others      bool   // others than the neighbour may come through, which is why nothing is said
	}{
		{"nothing", nft("INPUT }"), "", false},
		{"a policy", nft(`INPUT policy drop; ct state established,related accept; iif lo accept; tcp dport 22 accept; }`), insert, false},
		{"the port in a set", nft(`INPUT policy drop; ct state { established, related } accept; udp dport { 53, 41000-42000, 50000 } accept; }`), "", false},
		{"another port in a set", nft(`INPUT policy drop; ct state vmap { established : accept, related : accept, invalid : drop }
			udp dport { 53, 41000-41641, 41643-42000 } accept; icmp type echo-request accept; }`), insert, false},
		{"the port in a map", nft(`INPUT policy drop; udp dport vmap { 53 : drop, 41642 : accept }; }`), "", false},
		{"the port to a chain", nft(`chain open { accept; }; INPUT policy drop; udp dport vmap { 41642 : jump open }; }`), "", false},
		{"a map without the port", nft(`INPUT policy drop; udp dport vmap { 53 : accept }; }`), insert, false},
		{"a range", nft(`INPUT policy drop; udp dport 41000-42000 accept; }`), "", false},
		{"all but a range", nft(`INPUT policy drop; udp dport != 41000-42000 accept; }`), insert, false},
		{"a chain that ends", nft(`chain open { tcp dport 22 accept; }; INPUT jump open; reject; }`), insert, false},
		{"a chain that is left", nft(`chain open { return; drop; }; INPUT jump open; }`), "", false},
		{"a chain that does not come back", nft(`chain open { tcp dport 22 accept; }; INPUT goto open; drop; }`), "", false},
		{"its link", nft(`INPUT policy drop; iifname "` + dev + `" udp dport 41642 accept; }`), "", false},
		{"its link in a set", nft(`INPUT policy drop; iifname { "lo", "` + dev + `" } accept; }`), "", false},
		{"another link", nft(`INPUT policy drop; iifname != "` + dev + `" accept; iifname "other*" accept; }`), insert, false},
		{"what it is for", nft(`INPUT policy drop; fib daddr type local meta l4proto udp accept; }`), "", false},
		{"all that is new", nft(`INPUT ct state new drop; }`), insert, false},
		{"a sender", nft(`INPUT policy drop; ip saddr 192.0.2.7 udp dport 41642 accept; }`), "", true},
		{"senders in a set", nft(`set known { type ipv4_addr; elements = { 192.0.2.7 }; }; INPUT policy drop; ip saddr @known accept; }`), "", true},
		{"senders and ports", nft(`INPUT policy drop; ip saddr . udp dport { 192.0.2.7 . 41642 } accept; }`), "", true},
		{"a sender who is dropped", nft(`INPUT ip saddr 192.0.2.7 drop; }`), "", false},
		{"not too many", nft(`INPUT policy drop; limit rate 900/second accept; }`), "", false},
		{"only IPv6", "table ip6 mine { chain come { type filter hook input priority 0; policy drop; }; }", "", false},
		{"two tables", "table ip mine { chain come { type filter hook input priority 0; policy drop; udp dport 41642 accept; }; }\n" +
			"table ip yours { chain come { type filter hook input priority 5; policy drop; }; }", "Let it in: sudo nft insert rule ip yours come udp dport 41642 accept", false},
	} {
		p.host.MustRun("nft", "flush ruleset; "+counters+"\n"+c.rules)
		p.shutAsSaid(t, c.what, c.fix, c.others)
	}
	const iptables = "Let it in: sudo iptables -I INPUT -p udp --dport 41642 -j ACCEPT"
	for _, c := range []struct{ what, rules, fix string }{
		{"iptables' policy", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; -A INPUT -i lo -j ACCEPT; -P INPUT DROP", iptables},
		{"iptables' port", "-A INPUT -p udp -m udp --dport 41642 -j ACCEPT; -P INPUT DROP", ""},
		{"iptables' ports", "-A INPUT -p udp -m multiport --dports 53,41000:42000 -j ACCEPT; -P INPUT DROP", ""},
		{"iptables' other ports", "-A INPUT -p udp -m multiport --dports 53,41000:41641,41643 -j ACCEPT; -P INPUT DROP", iptables},
		{"iptables' reject", "-N own; -A own -m conntrack --ctstate NEW -j REJECT; -A INPUT -m addrtype --dst-type LOCAL -j own", iptables},
		{"iptables' first rule", "-P INPUT DROP; -I INPUT -p udp --dport 41642 -j ACCEPT", ""},
	} {
		p.host.MustRun("nft", "flush ruleset; "+counters)
		p.host.MustRun("sh", "-ec", "iptables-nft "+strings.ReplaceAll(c.rules, "; ", "; iptables-nft "))
		p.shutAsSaid(t, c.what, c.fix, false)
	}
}

// shutAsSaid holds what is said to what happens.
func (p *place) shutAsSaid(t *testing.T, what, fix string, others bool) {
	t.Helper()
	var want []string
	if fix != "" {
		want = []string{fix}
	}
	r := base
	r.Reached = []uint16{relayPort}
	if got := shutIn(p.apply(t, r)); !slices.Equal(got, want) {
		t.Errorf("%s: it is said %q, want %q", what, got, want)
	}
	if arrives := p.arrives(t); arrives != (fix == "" && !others) {
		t.Errorf("%s: a packet arrives: %v", what, arrives)
	}
	if got := shutIn(p.apply(t, base)); len(got) > 0 {
		t.Errorf("%s, of a machine that does not relay: %q", what, got)
	}
}

// shut has a filter that shuts the port say so, and the remedy open it.
func (p *place) shut(t *testing.T, fix string, open func()) {
	t.Helper()
	p.f = p.newFirewall(t)
	p.host.MustRun("nft", counters)
	p.host.Echo(relayPort)
	p.shutAsSaid(t, "before", fix, false)
	open()
	p.shutAsSaid(t, "after the remedy", "", false)
}
