package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mustParse reads a file that is right.
func mustParse(t testing.TB, text string) *File {
	t.Helper()
	f, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return f
}

// TestWhatIsWrongIsToldWithItsPlace marks in each file the place of its problem with «.
func TestWhatIsWrongIsToldWithItsPlace(t *testing.T) {
	const groups = `"groups": {"group:a": ["anna@"]}, "tagOwners": {"tag:web": []}, "hosts": {"nas": "100.64.0.9", "net": "10.0.0.0/8"}, `
	rule := func(src, dst string) string {
		return "{" + groups + "\n" + `"acls": [{"action": "accept", "src": [` + src + `], "dst": [` + dst + `]}]}`
	}
	grant := func(rest string) string { return "{" + groups + "\n" + `"grants": [{` + rest + `}]}` }
	for _, c := range []struct{ file, want string }{
		{`«[]`, "a policy must be an object, in braces"},
		{"{\n  «x: 1}", "this is no HuJSON (JSON with comments and trailing commas): invalid literal: x"},
		{"{}\n«}", "this is no HuJSON (JSON with comments and trailing commas): invalid character '}' after top-level value"},
		{`{"groups": [[[[[[[«[]]]]]]]]}`, "this is nested more than 8 deep: a policy never is"},
		{"{\n\t// ü [[[[[[[[[[[[\n\t\"ö[[[[[[[[[[\": 1, «\"ssh\": []}", `Warren has no SSH server of its own: remove "ssh", and allow tcp:22 in a grant`},
		{`{«"frobs": 1}`, `there is no section "frobs": those that there are, are groups, hosts, ipsets, tagOwners, acls, grants, autoApprovers and tests`},
		{`{"acls": [], «"ACLs": []}`, `"acls" is there already, on line 1: join the two`},
		{`{«"nodeAttrs": []}`, `Warren has no node attributes: remove "nodeAttrs"`},
		{`{«"postures": {}}`, `Warren knows no device postures: remove "postures", and the grants that count on them`},
		{`{«"derpMap": {}}`, `relays are set up at the server, not in the policy ('warren-coord relay --help'): remove "derpMap"`},
		{`{"groups": «[]}`, `groups must be an object, in braces`},
		{`{"groups": {«"dev": []}}`, `a group's name begins with group: and goes on with letters, digits, - and _; this is "dev"`},
		{`{"groups": {"group:dev": [«"group:ops"], "group:ops": []}}`, `groups do not nest: list the users of "group:ops" here`},
		{`{"groups": {"group:dev": [«"tag:x"]}}`, `"tag:x" is no user: a group has users, each by their login`},
		{`{"groups": {"group:dev": [«7]}}`, `a group must be text, in quotes`},
		{`{"groups": {"group:dev": [], «"group:dev": []}}`, `"group:dev" is there already, on line 1: join the two`},
		{`{"groups": {"group:dev": [«"user:*@example.org"]}}`, `users of a whole domain ("user:*@example.org") are not known here: list them in a group`},
		{`{"hosts": {"a": «"10.0.0.1/8"}}`, `10.0.0.1/8 has bits below its mask: is 10.0.0.0/8 meant?`},
		{`{"hosts": {"a": «"::ffff:10.0.0.1"}}`, `::ffff:10.0.0.1 is IPv4 written as IPv6: write it as IPv4`},
		{`{"hosts": {"a": «"fe80::1%eth0"}}`, `fe80::1%eth0 has a zone, which means nothing to other machines: leave it out`},
		{`{"hosts": {"a": «"b"}}`, `"b" is neither an address nor a prefix such as 10.0.0.0/8`},
		{`{"hosts": {«"10.0.0.1": "10.0.0.2"}}`, `a host's name has letters, digits, '.', '-' and '_' and is no address; this is "10.0.0.1"`},
		{`{"ipsets": {"ipset:a": ["ipset:b"], "ipset:b": [«"ipset:a"]}}`, `"ipset:a" contains itself`},
		{`{"ipsets": {"ipset:a": [«"tag:b"]}}`, `"tag:b" is no address, prefix, host, ipset or autogroup:internet, with "add " or "remove " before it if you like`},
		{`{"tagOwners": {«"tag:Web": []}}`, `a tag's name begins with tag: and goes on with lower-case letters, digits and inner hyphens; this is "tag:Web"`},
		{`{"tagOwners": {"tag:web": [«"*"]}}`, `"*" cannot own a tag: users, groups, tags and the autogroups member, owner, admin and auditor can`},

		{rule(`«"group:b"`, ``), `there is no "group:b" in groups: add it, or mend the name`},
		{rule(`«"tag:b"`, ``), `"tag:b" has no owner: add "tag:b": [] to tagOwners (then only owners and admins give it), or mend the name`},
		{rule(`«"ipset:b"`, ``), `there is no "ipset:b" in ipsets: add it, or mend the name`},
		{rule(`«"anna"`, ``), `there is no host "anna" in hosts; if the user is meant, write anna@`},
		{rule(`«"autogroup:shared"`, ``), `Warren has no "autogroup:shared": it has autogroup:member, owner, admin, auditor, tagged, self, internet and subnets`},
		{rule(`«"autogroup:self"`, ``), `"autogroup:self" can only be a destination`},
		{rule(`«"autogroup:internet"`, ``), `"autogroup:internet" can only be a destination`},
		{rule(`«"svc:x"`, ``), `Warren has no virtual services, such as "svc:x": name the machines that serve`},
		{rule(`«"fd00::g"`, ``), `"fd00::g" is no address and no prefix`},
		{rule(`«"10.0.0.300"`, ``), `"10.0.0.300" is no address and no prefix`},
		{rule(`«"a b"`, ``), `Warren has nothing like "a b": name users, groups, tags, hosts, addresses, ipsets or autogroups`},
		{rule(`"*"`, `«"tag:web"`), `"tag:web" lacks its ports: write it as tag:web:22, tag:web:80,443 or tag:web:*`},
		{rule(`"*"`, `«"nas"`), `"nas" lacks its ports: write it as nas:22, nas:80,443 or nas:*`},
		{rule(`"*"`, `«"nas:0"`), `"0" are no ports: write 22, 80,443, 8000-8999 or *; they go from 1 to 65535`},
		{rule(`"*"`, `«"nas:443-80"`), `"443-80" are no ports: write 22, 80,443, 8000-8999 or *; they go from 1 to 65535`},
		{rule(`"*"`, `«"fd00::1:22"`), `"fd00::1:22" can be read in two ways: write an IPv6 address in brackets, as [fd00::1]:22`},
		{rule(`"*"`, `«"[fd00::1]"`), `"[fd00::1]" lacks its ports: write it as [fd00::1]:22, [fd00::1]:80,443 or [fd00::1]:*`},
		{"{" + groups + "\n" + `"acls": [«{"action": "accept", "src": ["tag:web"], "dst": ["autogroup:self:*"]}]}`, `autogroup:self goes with users, groups and their autogroups as sources, and "tag:web" is none: make two rules of this one`},
		{`{"acls": [{"action": «"deny", "src": ["*"], "dst": ["*:*"]}]}`, `the action is "deny": "accept" is the only one, what no rule allows is denied`},
		{`{"acls": [«{"src": ["*"], "dst": ["*:*"]}]}`, `the rule lacks "action"`},
		{`{"acls": [«{"action": "accept", "dst": ["*:*"]}]}`, `the rule lacks "src"`},
		{`{"acls": [«{"action": "accept", "src": ["*"]}]}`, `the rule lacks "dst"`},
		{`{"acls": [{"action": "accept", "src": ["*"], «"users": ["*"], "dst": ["*:*"]}]}`, `"src" and "users" are two names of one field: keep one of them`},
		{`{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"], «"when": 1}]}`, `a rule of acls has no field "when": it has action, src, dst, proto, users, ports`},
		{`{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"], «"srcPosture": ["posture:a"]}]}`, `Warren knows no device postures, and without its posture the rule would allow more: remove the rule, or its "srcPosture"`},
		{`{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"], "proto": «"tpc"}]}`, `"tpc" is no protocol: it is a name such as tcp, udp, icmp, sctp or gre, or a number from 1 to 255`},
		{`{"acls": [{"action": "accept", "src": ["*"], "dst": [«"*:22"], "proto": "icmp"}]}`, `icmp has no ports: write * for them`},
		{`{"acls": [{"action": "accept", "src": ["*"], "dst": [«"*:22"], "proto": "47"}]}`, `gre has no ports: write * for them`},

		{"{" + groups + "\n" + `"grants": [«{"src": ["*"], "dst": ["*"]}]}`, `the grant lacks "ip": say what it allows, such as ["tcp:443"], or ["*"] for all`},
		{grant(`"src": ["*"], "dst": ["*"], "ip": ["*"], «"app": {}`), `Warren has no grants for applications: remove "app"`},
		{grant(`"src": ["*"], "dst": ["*"], "ip": [«"tcp:x"]`), `"x" are no ports: write 22, 80,443, 8000-8999 or *; they go from 1 to 65535`},
		{grant(`"src": ["*"], "dst": ["*"], "ip": [«"all"]`), `"all" is no protocol: it is a name such as tcp, udp, icmp, sctp or gre, or a number from 1 to 255`},
		{grant(`"src": ["*"], "dst": [«"nas:22"], "ip": ["*"]`), `no ports (22) stand here: write "nas", and in a grant the ports in "ip"`},
		{grant(`"src": ["*"], "dst": [«"tag:web:80,443"], "ip": ["*"]`), `no ports (80,443) stand here: write "tag:web", and in a grant the ports in "ip"`},
		{grant(`"src": [«"anna@:*"], "dst": ["*"], "ip": ["*"]`), `no ports (*) stand here: write "anna@", and in a grant the ports in "ip"`},
		{grant(`"src": ["*"], "dst": [«"10.0.0.0/8:22"], "ip": ["*"]`), `no ports (22) stand here: write "10.0.0.0/8", and in a grant the ports in "ip"`},
		{grant(`"src": ["*"], "dst": ["net"], "ip": ["*"], "via": «[]`), `via is empty: name tags of routers or exit nodes, or leave it out`},
		{grant(`"src": ["*"], "dst": ["net"], "ip": ["*"], "via": [«"group:a"]`), `"group:a" cannot be in via: name tags of routers or exit nodes`},
		{"{" + groups + "\n" + `"grants": [«{"src": ["*"], "dst": ["tag:web"], "ip": ["*"], "via": ["tag:web"]}]}`, `via goes with what lies behind routers (addresses, hosts, ipsets, autogroup:internet, autogroup:subnets), and "tag:web" is none: make two rules of this one`},

		{`{"autoApprovers": {"routes": {«"10.0.0.0": ["nobody"]}}}`, ``},
		{`{"autoApprovers": {"routes": {"10.0.0.0/8": [«"*"]}}}`, `"*" cannot approve: users, groups, tags and the autogroups member, owner, admin and auditor can`},
		{`{"autoApprovers": {«"services": {}}}`, `Warren has no virtual services: remove "services"`},
		{`{"tests": [«{"src": "a@"}]}`, `the test expects nothing: give "accept" or "deny"`},
		{`{"tests": [{"src": "a@", "accept": [«"b@:*"]}]}`, `a test asks for one port: write one instead of "*"`},
		{`{"tests": [{"src": «"*", "accept": []}]}`, `a test cannot ask for "*": name a user, a group, a tag, a role (autogroup:admin), a host or one address`},
		{`{"tests": [{"src": "a@", "accept": [«"10.0.0.0/8:80"]}]}`, `a test cannot ask for "10.0.0.0/8": name a user, a group, a tag, a role (autogroup:admin), a host or one address`},
	} {
		before, after, _ := strings.Cut(c.file, "«")
		if c.want == "" {
			continue
		}
		lines := strings.Split(before, "\n")
		want := Problem{Pos: Pos{Line: len(lines), Col: len([]rune(lines[len(lines)-1])) + 1}, Text: c.want}
		_, err := Parse([]byte(before + after))
		var ps Problems
		if !errors.As(err, &ps) || !slices.Contains(ps, want) {
			t.Errorf("%s\n got %v\nwant %v", c.file, err, want)
		}
	}
}

func TestSeveralProblemsAreToldAtOnceInOrderAndBounded(t *testing.T) {
	_, err := Parse([]byte("{\n\"tests\": 1,\n\"acls\": 2,\n\"groups\": 3}"))
	if got, want := fmt.Sprint(err), "2:10: tests must be a list, in brackets\n3:9: acls must be a list, in brackets\n4:11: groups must be an object, in braces"; got != want {
		t.Errorf("got %s", got)
	}
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "\"s%d\": 1,\n", i)
	}
	var ps Problems
	if _, err := Parse([]byte("{" + b.String() + "}")); !errors.As(err, &ps) || len(ps) != MaxProblems {
		t.Errorf("there are %d problems", len(ps))
	}
	long := strings.Repeat("ü", 500)
	if _, err := Parse([]byte(`{"groups": {"` + long + `": []}}`)); len(err.Error()) > 300 {
		t.Errorf("a problem repeats too much: %s", err)
	}
}

func TestFilesBeyondTheBoundsAreRefused(t *testing.T) {
	for want, text := range map[string]string{
		"the file has 1048577 bytes":  strings.Repeat(" ", MaxText+1),
		"nested more than":            strings.Repeat("[", MaxText),
		"no text in UTF-8":            "{\"a\xff\": 1}",
		"10001 entries":               `{"grants": [` + strings.Repeat("1,", maxEntries+1) + `]}`,
		"comes to more than":          `{"ipsets": {"ipset:a": ["0.0.0.0/0",` + manyAddrs(5000) + `]}}`,
		"protocols and ports":         `{"grants": [{"src": ["*"], "dst": ["*"], "ip": [` + manyPorts(300) + `]}]}`,
		"ipsets are made of more":     manySets(5000, 8000),
		"different sources":           manyRules(100, 100),
		"destinations: join":          manyRules(9000, 2),
		"nothing like":                `{"grants": [{"src": ["` + strings.Repeat("a", 300) + `@"], "dst": ["*"], "ip": ["*"]}]}`,
		"this is no HuJSON":           strings.Repeat("/*", MaxText/2),
		"unexpected EOF":              "{",
		"a policy must be an object":  "null",
		"groups must be an object":    `{"groups": null}`,
		"a group must be text":        `{"groups": {"group:a": [""]}}`,
		"grants must be a list":       `{"grants": {}}`,
		"a grant must be an object":   `{"grants": ["*"]}`,
		"autoApprovers must be an ob": `{"autoApprovers": []}`,
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %.200v", want, err)
		}
	}
}

func manyAddrs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"remove 10.%d.%d.1",`, i/250, i%250)
	}
	return b.String()
}

// manySets has ipsets that each contain one large one.
func manySets(sets, nets int) string {
	var b strings.Builder
	b.WriteString(`{"ipsets": {"ipset:big": [`)
	for i := range nets {
		fmt.Fprintf(&b, `"10.%d.%d.1",`, i/250, i%250)
	}
	b.WriteString(`],`)
	for i := range sets {
		fmt.Fprintf(&b, `"ipset:%d": ["ipset:big"],`, i)
	}
	return b.String() + `}}`
}

// manyRules have as many sources, or destinations, as the two numbers say together.
func manyRules(rules, each int) string {
	var b strings.Builder
	b.WriteString(`{"grants": [`)
	for i := range rules {
		b.WriteString(`{"src": [`)
		for j := range each {
			fmt.Fprintf(&b, `"u%d@",`, (i*each+j)%9000)
		}
		b.WriteString(`], "dst": ["*", "*"], "ip": ["*"]},`)
	}
	return b.String() + `]}`
}

func manyPorts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%d",`, 2*i+1)
	}
	return b.String()
}

func TestNamesOfUsersAreLogins(t *testing.T) {
	f := mustParse(t, `{"groups": {"group:a": ["Anna@Example.org", "bert", "carl@", "bert@"]},
		"grants": [{"src": ["bert@", "Anna@example.org"], "dst": ["*"], "ip": ["*"]}]}`)
	if got := f.groups["group:a"]; !slices.Equal(got, []string{"anna@example.org", "bert", "carl"}) {
		t.Errorf("the group is %q", got)
	}
	if got := f.rules[0].src; got[0].name != "bert" || got[0].text != "bert@" || got[1].name != "anna@example.org" {
		t.Errorf("the sources are %+v", got)
	}
}

func TestServicesOfGrantsAndAcls(t *testing.T) {
	for in, want := range map[string]string{
		`*`:                                   "[icmp tcp udp ipv6-icmp]",
		`443`:                                 "[icmp tcp:443 udp:443 ipv6-icmp]",
		`80,8000-8999`:                        "[icmp tcp:80 tcp:8000-8999 udp:80 udp:8000-8999 ipv6-icmp]",
		`tcp:443`:                             "[tcp:443]",
		`tcp:*`:                               "[tcp]",
		`TCP:22`:                              "[tcp:22]",
		`udp:53", "udp:*`:                     "[udp]",
		`tcp:80-90", "tcp:85-88", "tcp:81-95`: "[tcp:80-90 tcp:81-95]",
		`icmp:*`:                              "[icmp ipv6-icmp]",
		`icmp`:                                "[icmp ipv6-icmp]",
		`1:*`:                                 "[icmp]",
		`icmpv6`:                              "[ipv6-icmp]",
		`gre:*`:                               "[gre]",
		`sctp:1000`:                           "[sctp:1000]",
		`112:*`:                               "[112]",
	} {
		f := mustParse(t, `{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["`+in+`"]}]}`)
		if got := fmt.Sprint(f.rules[0].targets[0].services); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		`"proto": "", "dst": ["*:22"]`:        "[icmp tcp:22 udp:22 ipv6-icmp]",
		`"proto": "tcp", "dst": ["*:22,80"]`:  "[tcp:22 tcp:80]",
		`"proto": "17", "dst": ["*:*"]`:       "[udp]",
		`"proto": "icmp", "dst": ["*:*"]`:     "[icmp ipv6-icmp]",
		`"proto": "ip-in-ip", "dst": ["*:*"]`: "[ipv4]",
		`"ports": ["*:1-2"]`:                  "[icmp tcp:1-2 udp:1-2 ipv6-icmp]",
	} {
		f := mustParse(t, `{"ACLs": [{"Action": "accept", "Users": ["*"], `+in+`}]}`)
		if got := fmt.Sprint(f.rules[0].targets[0].services); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestIPSetsAddUpAndWhatIsRemovedStaysRemoved(t *testing.T) {
	f := mustParse(t, `{"hosts": {"gap": "10.1.0.0/16"}, "ipsets": {
		"ipset:b": ["ipset:a", "add 192.168.0.0/24", "remove 10.128.0.0/9"],
		"ipset:a": ["remove host:gap", "10.0.0.0/8", "10.1.2.3"],
		"ipset:net": ["add autogroup:internet", "remove 8.8.8.8"]}}`)
	for _, c := range []struct {
		set, addr string
		want      bool
	}{
		{"a", "10.0.0.1", true},
		{"a", "10.1.2.3", false},
		{"a", "10.200.0.1", true},
		{"b", "10.200.0.1", false},
		{"b", "10.2.0.1", true},
		{"b", "10.1.0.1", false},
		{"b", "192.168.0.9", true},
		{"net", "8.8.8.8", false},
		{"net", "8.8.8.9", true},
		{"net", "10.0.0.1", false},
		{"net", "2606:4700::1", true},
		{"net", "fd00::1", false},
	} {
		if got := containsAddr(f.ipsets["ipset:"+c.set], mustAddr(c.addr)); got != c.want {
			t.Errorf("ipset:%s, %s: got %v", c.set, c.addr, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.hujson")
	if err != nil || len(files) == 0 {
		f.Fatal("there are no files to begin with")
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(DefaultText)
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse([]byte(text))
		if err == nil {
			if file.Rules() > len(text) {
				t.Errorf("%d rules", file.Rules())
			}
			return
		}
		var ps Problems
		if !errors.As(err, &ps) || len(ps) == 0 || len(ps) > MaxProblems {
			t.Fatalf("the error is %v", err)
		}
		lines := strings.Split(text, "\n")
		for _, p := range ps {
			if p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > len([]rune(lines[p.Line-1]))+2 || p.Text == "" {
				t.Errorf("no such place: %v", p)
			}
		}
	})
}

func TestTheDefaultIsAFileOfItsOwn(t *testing.T) {
	if f := mustParse(t, DefaultText); f.Rules() != 4 {
		t.Errorf("it has %d rules", f.Rules())
	}
	if f := mustParse(t, AllText); f.Rules() != 1 {
		t.Errorf("that for all has %d rules", f.Rules())
	}
}
