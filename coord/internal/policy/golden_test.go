package policy

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord"
)

// The network of the golden tests. A machine's name begins with its owner's, or is that of its tag.
//
//	anna (owner): anna1, anna2    bert (admin): bert1    carl@example.org (member): carl1    dora (auditor): dora1
//	web1 (tag:web), db1 (tag:db, tag:web), router (tag:router, to 192.168.7.0/24), other (tag:other, to the same),
//	exit (tag:exit, to the internet), lone (nobody's, without a tag)
var goldenNames = []string{"anna1", "anna2", "bert1", "carl1", "dora1", "web1", "db1", "router", "other", "exit", "lone"}

func goldenNetwork() Network {
	n := Network{
		IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd00::/48"),
		Users: []User{{1, "anna", roleOwner}, {2, "bert", roleAdmin}, {3, "carl@example.org", roleMember}, {4, "dora", roleAuditor}},
	}
	owner := map[string]int64{"anna1": 1, "anna2": 1, "bert1": 2, "carl1": 3, "dora1": 4, "web1": 1} // web1's tag takes it from anna
	tags := map[string][]string{"web1": {"web"}, "db1": {"db", "web"}, "router": {"router"}, "other": {"other"}, "exit": {"exit"}}
	routes := map[string][]netip.Prefix{
		"router": prefixes("192.168.7.0/24"), "other": prefixes("192.168.7.0/24"), "exit": prefixes("0.0.0.0/0", "::/0"),
	}
	for i, name := range goldenNames {
		n.Machines = append(n.Machines, Machine{
			ID: coord.NodeID(i + 1), User: owner[name], Tags: tags[name], Routes: routes[name],
			Addrs: []netip.Addr{mustAddr(fmt.Sprintf("100.64.0.%d", i+1)), mustAddr(fmt.Sprintf("fd00::%d", i+1))},
		})
	}
	return n
}

func idOf(name string) coord.NodeID { return coord.NodeID(slices.Index(goldenNames, name) + 1) }

// flowOf reads "anna1 > web1 tcp:22" or "anna1 > 192.168.7.9@router udp:53": who, to whom or to which address behind
// whom, and what.
func flowOf(t *testing.T, s string) (from, to coord.NodeID, p coord.Packet) {
	t.Helper()
	f := strings.Fields(s)
	where, through, behind := strings.Cut(f[2], "@")
	from, to = idOf(f[0]), idOf(where)
	p.From = mustAddr(fmt.Sprintf("100.64.0.%d", from))
	if behind {
		to, p.To = idOf(through), mustAddr(where)
	} else {
		p.To = mustAddr(fmt.Sprintf("100.64.0.%d", to))
	}
	if p.To.Is6() {
		p.From = mustAddr(fmt.Sprintf("fd00::%d", from))
	}
	var svc coord.Service
	if err := svc.UnmarshalText([]byte(f[3])); err != nil || from == 0 || to == 0 {
		t.Fatalf("%q: %v", s, err)
	}
	p.Proto, p.Port = svc.Proto, svc.First
	return from, to, p
}

// TestFilesMeanWhatTheDocumentationSays has files in the forms of Tailscale's public documentation.
func TestFilesMeanWhatTheDocumentationSays(t *testing.T) {
	for _, c := range []struct {
		name, file string
		yes, no    []string
	}{
		{
			"without a file a person's machines talk, and reach servers, subnets and the internet", ``,
			[]string{"anna1 > anna2 tcp:22", "anna2 > anna1 icmp", "anna1 > web1 udp:53", "carl1 > db1 tcp:5432", "carl1 > 192.168.7.9@router tcp:80", "bert1 > 8.8.8.8@exit udp:53"},
			[]string{"anna1 > bert1 tcp:22", "web1 > anna1 tcp:22", "lone > anna1 tcp:22", "anna1 > 10.0.0.1@exit tcp:80", "anna1 > 192.168.7.9@exit tcp:80", "anna1 > web1 gre"},
		},
		{
			"a file without rules leaves the default", `{"groups": {"group:a": ["anna"]}}`,
			[]string{"anna1 > anna2 tcp:22"},
			[]string{"anna1 > bert1 tcp:22"},
		},
		{
			"an empty list of rules denies all", `{"acls": []}`, nil,
			[]string{"anna1 > anna2 tcp:22", "anna1 > web1 tcp:80", "bert1 > 8.8.8.8@exit udp:53"},
		},
		{
			"so does one of grants", `{"grants": []}`, nil, []string{"anna1 > anna2 tcp:22", "anna1 > web1 tcp:80"},
		},
		{
			"allow all: every machine, what lies behind routers, and the internet", `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}`,
			[]string{"anna1 > bert1 tcp:22", "web1 > lone icmp", "lone > anna1 tcp:1", "carl1 > 192.168.7.9@router tcp:80", "carl1 > 192.168.7.9@other tcp:80", "db1 > 8.8.8.8@exit tcp:443", "db1 > 2606:4700::1@exit tcp:443"},
			[]string{"anna1 > bert1 gre", "anna1 > 192.168.7.9@exit tcp:80", "anna1 > 8.8.8.8@router tcp:80", "anna1 > 169.254.169.254@exit tcp:80"},
		},
		{
			"one's own machines", `{"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:22"]}]}`,
			[]string{"anna1 > anna2 tcp:22", "anna1 > anna2 icmp"},
			[]string{"anna1 > anna2 tcp:23", "anna1 > bert1 tcp:22", "anna1 > web1 tcp:22", "web1 > anna1 tcp:22", "web1 > db1 tcp:22"},
		},
		{
			"only some have their own machines", `{"groups": {"group:a": ["anna"]}, "grants": [{"src": ["group:a"], "dst": ["autogroup:self"], "ip": ["tcp:22"]}]}`,
			[]string{"anna1 > anna2 tcp:22"},
			[]string{"bert1 > anna1 tcp:22", "anna1 > anna2 udp:22"},
		},
		{
			"groups reach tags, each on its port", `{"groups": {"group:dev": ["bert", "carl@example.org"]}, "tagOwners": {"tag:web": [], "tag:db": []},
			"acls": [{"action": "accept", "src": ["group:dev"], "proto": "tcp", "dst": ["tag:web:80,443", "tag:db:5432"]}]}`,
			[]string{"bert1 > web1 tcp:80", "carl1 > web1 tcp:443", "carl1 > db1 tcp:80", "carl1 > db1 tcp:5432"},
			[]string{"anna1 > web1 tcp:80", "bert1 > web1 udp:80", "bert1 > web1 icmp", "bert1 > web1 tcp:5432", "web1 > bert1 tcp:80"},
		},
		{
			"roles are the very roles", `{"tagOwners": {"tag:web": []}, "grants": [
			{"src": ["autogroup:admin"], "dst": ["tag:web"], "ip": ["tcp:1"]}, {"src": ["autogroup:owner"], "dst": ["tag:web"], "ip": ["tcp:2"]},
			{"src": ["autogroup:auditor"], "dst": ["tag:web"], "ip": ["tcp:3"]}, {"src": ["autogroup:member"], "dst": ["tag:web"], "ip": ["tcp:4"]}]}`,
			[]string{"bert1 > web1 tcp:1", "anna1 > web1 tcp:2", "dora1 > web1 tcp:3", "anna1 > web1 tcp:4", "bert1 > web1 tcp:4", "dora1 > web1 tcp:4", "carl1 > web1 tcp:4"},
			[]string{"anna1 > web1 tcp:1", "bert1 > web1 tcp:2", "carl1 > web1 tcp:3", "db1 > web1 tcp:4", "lone > web1 tcp:4"},
		},
		{
			"tagged machines are nobody's", `{"grants": [{"src": ["anna@"], "dst": ["anna@"], "ip": ["*"]}, {"src": ["autogroup:tagged"], "dst": ["autogroup:tagged"], "ip": ["9100"]}]}`,
			[]string{"anna1 > anna2 tcp:22", "web1 > db1 tcp:9100", "exit > router udp:9100", "web1 > lone tcp:9100"},
			[]string{"anna1 > web1 tcp:22", "web1 > anna1 tcp:22", "web1 > lone tcp:9101"},
		},
		{
			"a subnet behind any of its routers", `{"hosts": {"printer": "192.168.7.20"}, "acls": [
			{"action": "accept", "src": ["carl@example.org"], "dst": ["printer:631", "192.168.7.128/25:*"]}]}`,
			[]string{"carl1 > 192.168.7.20@router tcp:631", "carl1 > 192.168.7.20@other udp:631", "carl1 > 192.168.7.200@router tcp:22"},
			[]string{"carl1 > 192.168.7.20@router tcp:632", "carl1 > 192.168.7.21@router tcp:631", "carl1 > router tcp:631", "anna1 > 192.168.7.20@router tcp:631"},
		},
		{
			"via one router only", `{"tagOwners": {"tag:router": []}, "grants": [{"src": ["anna@"], "dst": ["192.168.0.0/16", "100.64.0.0/10"], "via": ["tag:router"], "ip": ["*"]}]}`,
			[]string{"anna1 > 192.168.7.20@router tcp:631"},
			[]string{"anna1 > 192.168.7.20@other tcp:631", "anna1 > router tcp:22", "anna1 > web1 tcp:22"},
		},
		{
			"the internet through exit nodes with a tag", `{"tagOwners": {"tag:exit": [], "tag:web": []}, "grants": [
			{"src": ["anna@"], "dst": ["autogroup:internet"], "via": ["tag:exit"], "ip": ["*"]}, {"src": ["bert@"], "dst": ["autogroup:internet"], "via": ["tag:web"], "ip": ["*"]},
			{"src": ["carl@example.org"], "dst": ["8.8.8.8"], "ip": ["udp:53"]}]}`,
			[]string{"anna1 > 8.8.8.8@exit tcp:443", "anna1 > 2606:4700::1@exit icmp", "carl1 > 8.8.8.8@exit udp:53"},
			[]string{"bert1 > 8.8.8.8@exit tcp:443", "carl1 > 8.8.8.8@exit tcp:53", "carl1 > 8.8.4.4@exit udp:53", "anna1 > exit tcp:22", "anna1 > 192.168.7.1@router tcp:22"},
		},
		{
			"an address is that address", `{"hosts": {"web": "100.64.0.6"}, "grants": [{"src": ["100.64.0.1"], "dst": ["web"], "ip": ["*"]}, {"src": ["fd00::3"], "dst": ["fd00::6"], "ip": ["tcp:*"]}]}`,
			[]string{"anna1 > web1 tcp:22"},
			[]string{"anna2 > web1 tcp:22", "bert1 > web1 tcp:22", "anna1 > db1 tcp:22"},
		},
		{
			"older words", `{"ACLs": [{"Action": "accept", "Users": ["anna@"], "Ports": ["carl@example.org:22"]}]}`,
			[]string{"anna1 > carl1 tcp:22"},
			[]string{"anna1 > carl1 tcp:23", "carl1 > anna1 tcp:22"},
		},
		{
			"protocols that must be named", `{"acls": [{"action": "accept", "src": ["*"], "proto": "gre", "dst": ["*:*"]}, {"action": "accept", "src": ["anna@"], "proto": "132", "dst": ["*:7"]}]}`,
			[]string{"anna1 > web1 gre", "anna1 > web1 sctp:7"},
			[]string{"anna1 > web1 tcp:7", "anna1 > web1 icmp", "bert1 > web1 sctp:7"},
		},
		{
			"an ipset without a part", `{"ipsets": {"ipset:lan": ["192.168.7.0/24", "remove 192.168.7.20"]}, "grants": [{"src": ["*"], "dst": ["ipset:lan"], "ip": ["*"]}]}`,
			[]string{"anna1 > 192.168.7.21@router tcp:80"},
			[]string{"anna1 > 192.168.7.20@router tcp:80"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f *File
			if c.file != "" {
				f = mustParse(t, c.file)
			}
			compiled := Compile(f, goldenNetwork())
			for want, flows := range map[bool][]string{true: c.yes, false: c.no} {
				for _, s := range flows {
					from, to, p := flowOf(t, s)
					m := compiled.machines[to]
					if got := compiled.Filter(to).Admits(m.Addrs, p); got != want {
						t.Errorf("%s: the filter says %v", s, got)
					}
					v := compiled.Verdict(Question{From: from, To: p.To, Proto: p.Proto, Port: p.Port})
					if got := slices.Contains(v.Through, to); got != want || got && !v.Allowed {
						t.Errorf("%s: the verdict is %+v", s, v)
					}
					if want && (!compiled.Sees(from, to) || !compiled.Sees(to, from)) {
						t.Errorf("%s: they do not see each other", s)
					}
				}
			}
		})
	}
}

func TestMachinesWithoutACommonFamilyDoNotSeeEachOther(t *testing.T) {
	n := goldenNetwork()
	n.Machines[0].Addrs, n.Machines[1].Addrs = n.Machines[0].Addrs[:1], n.Machines[1].Addrs[1:]
	if c := Compile(nil, n); c.Sees(1, 2) || !c.Sees(1, idOf("web1")) {
		t.Error("anna's machines, one with IPv4 and one with IPv6, see each other; or she sees no server")
	}
}

func TestRoutersThatAreAlikeHaveFiltersOfTheirOwn(t *testing.T) {
	n := goldenNetwork()
	n.Machines[idOf("other")-1].Routes = prefixes("192.168.8.0/24")
	c := Compile(mustParse(t, `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}`), n)
	for _, id := range []coord.NodeID{idOf("router"), idOf("other")} {
		p := coord.Packet{From: mustAddr("100.64.0.1"), To: mustAddr("192.168.8.1"), Proto: coord.ProtoTCP, Port: 80}
		if got := c.Filter(id).Admits(c.machines[id].Addrs, p); got != (id == idOf("other")) {
			t.Errorf("through %d: %v", id, got)
		}
	}
}

func TestWhatIsShownOfRoutersIsWhatRulesAreAbout(t *testing.T) {
	c := Compile(mustParse(t, `{"tagOwners": {"tag:router": []}, "grants": [
		{"src": ["anna@"], "dst": ["192.168.7.9"], "via": ["tag:router"], "ip": ["tcp:80"]},
		{"src": ["anna@"], "dst": ["autogroup:tagged"], "ip": ["tcp:22"]},
		{"src": ["192.168.7.0/28"], "dst": ["bert@"], "ip": ["tcp:22"]}]}`), goldenNetwork())
	for _, w := range []struct {
		viewer, router string
		sees, routes   bool
	}{
		{"anna1", "router", true, true},
		{"anna1", "other", true, false},
		{"anna1", "exit", true, false},
		{"bert1", "router", true, true}, // hosts behind it reach bert's machine: answers need the way
		{"bert1", "other", true, true},
		{"carl1", "router", false, false},
	} {
		if got := c.Sees(idOf(w.viewer), idOf(w.router)); got != w.sees {
			t.Errorf("%s sees %s: %v", w.viewer, w.router, got)
		}
		if got := c.Routes(idOf(w.viewer), idOf(w.router)); (len(got) > 0) != w.routes {
			t.Errorf("%s has of %s: %v", w.viewer, w.router, got)
		}
	}
}

func TestRoutesAreApprovedAndTagsGivenByTheirOwners(t *testing.T) {
	f := mustParse(t, `{"groups": {"group:ops": ["carl@example.org"]},
		"tagOwners": {"tag:router": ["group:ops"], "tag:web": ["autogroup:admin", "tag:router"], "tag:db": []},
		"autoApprovers": {"routes": {"192.168.0.0/16": ["tag:router", "bert@"], "10.0.0.0/8": []}, "exitNode": ["bert@"]}}`)
	c := Compile(f, goldenNetwork())
	for _, w := range []struct {
		who, route string
		want       bool
	}{
		{"router", "192.168.7.0/24", true},
		{"router", "192.168.0.0/16", true},
		{"router", "192.0.0.0/8", false},
		{"router", "10.1.0.0/16", false},
		{"router", "0.0.0.0/0", false},
		{"bert1", "192.168.7.0/24", true},
		{"bert1", "::/0", true},
		{"anna1", "192.168.7.0/24", false},
		{"other", "192.168.7.0/24", false},
	} {
		if got := c.AutoApproves(idOf(w.who), netip.MustParsePrefix(w.route)); got != w.want {
			t.Errorf("%s, %s: %v", w.who, w.route, got)
		}
	}
	users := goldenNetwork().Users
	for _, w := range []struct {
		user int
		has  []string
		tag  string
		want bool
	}{
		{2, nil, "router", true},
		{0, nil, "router", false},
		{1, nil, "web", true},
		{2, nil, "web", false},
		{2, []string{"router"}, "web", true},
		{2, nil, "db", false},
		{2, nil, "nothing", false},
	} {
		if got := f.MayTag(users[w.user], w.has, w.tag); got != w.want {
			t.Errorf("%s gives tag:%s to one with %v: %v", users[w.user].Login, w.tag, w.has, got)
		}
	}
}

func TestVerdictsSayWhichRuleOrWhichIsNearest(t *testing.T) {
	f := mustParse(t, `{"groups": {"group:dev": ["bert"]}, "tagOwners": {"tag:web": [], "tag:db": []},
	"grants": [
		{"src": ["group:dev"], "dst": ["tag:web"], "ip": ["tcp:22"]},
		{"src": ["anna@"], "dst": ["tag:db"], "ip": ["tcp:5432"]},
	]}`)
	c := Compile(f, goldenNetwork())
	for _, w := range []struct {
		from, to string
		port     uint16
		want     string
		line     int
	}{
		{"bert1", "100.64.0.6", 22, "the rule on line 3 allows it", 3},
		{"bert1", "fd00::6", 22, "the rule on line 3 allows it", 3},
		{"bert1", "100.64.0.6", 23, "no rule allows it: the rule on line 3 is for this source and destination, but not for this protocol and port", 3},
		{"anna1", "100.64.0.6", 22, "no rule allows it: the rule on line 3 is for this destination and port, but not for this source", 3},
		{"anna1", "100.64.0.6", 5432, "no rule allows it: the rule on line 4 is for this source and port, but not for this destination", 4},
		{"carl1", "100.64.0.4", 80, "that is the machine itself", 0},
		{"carl1", "100.64.0.99", 80, "no machine has the address 100.64.0.99, and none leads there", 0},
		{"carl1", "100.64.0.1", 80, "no rule allows it", 0},
	} {
		v := c.Verdict(Question{From: idOf(w.from), To: mustAddr(w.to), Proto: coord.ProtoTCP, Port: w.port})
		if v.Why != w.want || max(v.Rule.Line, v.Nearest.Line) != w.line {
			t.Errorf("%+v: got %+v", w, v)
		}
	}
	if v := Compile(nil, goldenNetwork()).Verdict(Question{From: 1, To: mustAddr("100.64.0.2"), Proto: 6, Port: 1}); !v.Allowed || !v.Default || v.Why != "the default policy allows it" {
		t.Errorf("by default: %+v", v)
	}
}

// TestTestsOfAFileAreBounded: each machine of one group is tried with each of another, and with each rule.
func TestTestsOfAFileAreBounded(t *testing.T) {
	file := func(users, rules, tests int, src string) *Compiled {
		var b strings.Builder
		b.WriteString(`{"groups": {"group:g": [`)
		for u := range users {
			fmt.Fprintf(&b, `"u%d@",`, u)
		}
		b.WriteString(`]}, "grants": [`)
		for r := range rules {
			fmt.Fprintf(&b, `{"src": [%q], "dst": ["192.168.%d.%d"], "ip": ["tcp:1"]},`, src, r/250, r%250)
		}
		b.WriteString(`], "tests": [`)
		for range tests {
			b.WriteString(`{"src": "group:g", "deny": ["group:g:22"]},`)
		}
		b.WriteString(`]}`)
		return Compile(mustParse(t, b.String()), Network{})
	}
	if ps := file(100, 100, 10, "10.0.0.0/8").RunTests(); len(ps) > 0 { // rules that have nothing to do with them cost little
		t.Errorf("%v", ps)
	}
	for name, c := range map[string]*Compiled{
		"rules": file(60, 60, 60, "group:g"), "machines": file(600, 1, 1, "10.0.0.0/8"),
	} {
		if ps := c.runTests(1 << 17); len(ps) != 1 || ps[0].Text != textTestsLarge {
			t.Errorf("%s: %.200s", name, ps.Error())
		}
	}
}

func TestTheFilesOwnTests(t *testing.T) {
	for _, name := range []string{"office", "sites"} {
		text, err := os.ReadFile("testdata/" + name + ".hujson")
		if err != nil {
			t.Fatal(err)
		}
		if ps := Compile(mustParse(t, string(text)), Network{}).RunTests(); len(ps) > 0 {
			t.Errorf("the tests of %s fail: %v", name, ps)
		}
	}
	const rules = `{"groups": {"group:dev": ["bert", "carl@example.org"], "group:none": []}, "tagOwners": {"tag:web": [], "tag:db": []},
	"grants": [
		{"src": ["group:dev", "autogroup:admin"], "dst": ["tag:web"], "ip": ["tcp:22", "icmp"]},
		{"src": ["100.64.0.0/16"], "dst": ["tag:db"], "ip": ["tcp:5432"]},
		{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["udp:53"]},
		{"src": ["dora@"], "dst": ["192.168.7.0/24"], "ip": ["tcp:80"]},
		{"src": ["anna@"], "dst": ["100.64.0.6"], "ip": ["tcp:80"]},
	],
	"tests": [
`
	for test, want := range map[string]string{
		`{"src": "bert@", "accept": ["tag:web:22"], "deny": ["tag:db:23", "anna@:22"]}`:    "",
		`{"src": "group:dev", "accept": ["tag:web:22"]}`:                                   "",
		`{"src": "autogroup:admin", "accept": ["tag:web:22"]}`:                             "",
		`{"src": "bert@", "proto": "icmp", "accept": ["tag:web:*"]}`:                       "",
		`{"src": "bert@", "proto": "udp", "deny": ["tag:web:22"], "accept": ["bert@:53"]}`: "",
		`{"src": "100.64.0.4", "accept": ["100.64.0.7:5432"]}`:                             "",
		`{"src": "dora@", "accept": ["192.168.7.9:80"], "deny": ["192.168.8.9:80"]}`:       "",
		`{"src": "autogroup:owner", "deny": ["tag:web:22"]}`:                               "",
		`{"src": "dora@", "accept": ["tag:web:22"]}`:                                       "10:29: dora@ should reach tag:web:22 and does not: no rule allows it: the rule on line 3 is for this destination and port, but not for this source",
		`{"src": "bert@", "deny": ["tag:web:22"]}`:                                         "10:27: bert@ should not reach tag:web:22 and does: the rule on line 3 allows it",
		`{"src": "bert@", "deny": ["tag:db:5432"]}`:                                        "10:27: bert@ should not reach tag:db:5432 and does: the rule on line 4 allows it",
		`{"src": "group:none", "accept": ["tag:web:22"]}`:                                  "10:34: group:none should reach tag:web:22 and does not: there is nobody in it",
		`{"src": "anna@", "deny": ["tag:web:80"]}`:                                         "10:27: anna@ should not reach tag:web:80 and does: the rule on line 7 allows it",
	} {
		c := Compile(mustParse(t, rules+test+"]}"), goldenNetwork())
		if got := c.RunTests().Error(); got != want {
			t.Errorf("%s\n got %s\nwant %s", test, got, want)
		}
	}
	// Without the network, whose machine has the address is not known, nor any role.
	c := Compile(mustParse(t, rules+`{"src": "anna@", "deny": ["tag:web:80"]}, {"src": "bert@", "deny": ["tag:db:5432"]}]}`), Network{})
	if got := c.RunTests().Error(); got != "10:69: bert@ should not reach tag:db:5432 and does: the rule on line 4 allows it" {
		t.Errorf("without the network: %s", got)
	}
}
