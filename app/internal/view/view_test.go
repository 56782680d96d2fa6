package view

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/warren-mesh/warren/app/internal/fake"
	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Times of day are shown as they are here.
func init() { time.Local = time.UTC }

// found is what a check of a network at home finds.
func found() *ipc.Netcheck {
	n, err := fake.New().Netcheck(context.Background())
	if err != nil {
		panic(err)
	}
	return n
}

func running() *ipc.Status {
	s := fake.Running()
	return &s
}

func in(state ipc.State) *ipc.Status {
	s := running()
	s.State = state
	if state != ipc.StateRunning && state != ipc.StateStarting {
		s.Peers, s.Self.Addrs = nil, nil
	}
	return s
}

// exits is a network with exit nodes, of which one is used.
func exits(name string, up bool) *ipc.Status {
	s := running()
	s.Exit = &ipc.Exit{Wanted: []string{name}, Name: name, Up: up, IPv4: true, AllowLAN: true}
	if name == "" {
		s.Exit.Wanted = []string{"erin"}
	}
	s.Self.Offers = []ipc.Offer{{Route: netip.MustParsePrefix("0.0.0.0/0")}}
	s.Self.Relaying = &ipc.Relaying{}
	for i := range s.Peers {
		p := &s.Peers[i]
		p.ExitOption, p.Exit = true, p.Name == name
		p.Version, p.Expires = "1.2.3", s.Time.Add(90*24*time.Hour)
		p.Routes = []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
	}
	s.Peers[0].History = []ipc.PathChange{
		{At: s.Time.Add(-time.Hour), Kind: ipc.PathRelay, Via: "fra", Code: ipc.PathReasonRelayUp},
		{At: s.Time.Add(-45 * time.Minute), Kind: ipc.PathDirect, Via: "203.0.113.7:41641", Code: ipc.PathReasonProven},
	}
	s.Self.Endpoints = []ipc.Endpoint{
		{Addr: netip.MustParseAddrPort("192.168.1.7:41641"), Kind: "local"}, {Addr: netip.MustParseAddrPort("203.0.113.9:41641"), Kind: "stun"},
	}
	s.Problems = nil
	if !up && name != "" {
		s.Problems = []ipc.Problem{{Code: ipc.ProblemExitDown, Level: ipc.ProblemUrgent, Text: "down", Fix: "warren exit-node off"}}
	}
	return s
}

// profiles are those of the fake daemon.
var profiles = []ipc.Profile{
	{ID: "00", Name: "home", Server: "https://warren.example.org", User: "alice", Current: true},
	{ID: "11", Name: "work", Server: "https://work.example", User: "alice@work", Pending: true},
	{ID: "22", Name: "lab", Server: "https://lab.example:8443", NeedsLogin: true},
}

// states are those in which a person may meet the menu.
var states = []struct {
	name string
	in   Input
}{
	{"start", Input{}},
	{"not-running", Input{Missing: &ipc.Error{Code: ipc.CodeNotRunning, Message: "warrend is not running", Fix: "Start it: x"}}},
	{"no-entry", Input{Missing: &ipc.Error{Code: ipc.CodeDenied, Reason: ipc.ReasonSocket, About: []string{"/run/x.sock"}, Message: "you may not", Fix: "sudo"}}},
	{"other-version", Input{Missing: &ipc.Error{Code: ipc.CodeUnsupported, Message: "what?"}}},
	{"other-error", Input{Missing: &ipc.Error{Code: "x", Message: "too many\nopen files\x1b[2J"}}},
	{"no-server", Input{Status: &ipc.Status{State: ipc.StateNoServer}}},
	{"no-server-windows", Input{Status: &ipc.Status{State: ipc.StateNoServer}, Windows: true}},
	{"first-login", Input{
		Status: &ipc.Status{State: ipc.StateNoServer}, Windows: true,
		Login: &Login{Page: "https://warren.example.org:8443/login/x", Code: "4821-93", Expires: time.Unix(1, 0)},
	}},
	{"first-asks", Input{Status: &ipc.Status{State: ipc.StateNoServer}, Windows: true, Busy: true, Asking: " https://warren.example.org:8443/join#server:00"}},
	{"first-unopened", Input{
		Status: &ipc.Status{State: ipc.StateNoServer}, Windows: true,
		Login: &Login{Page: "https://warren.example.org/login/x", Code: "4821-93", Expires: time.Unix(1, 0), Unopened: true},
	}},
	{"first-other-server", Input{Status: &ipc.Status{State: ipc.StateNoServer}, Windows: true, Tried: OpJoin, Failed: &ipc.Error{
		Code: ipc.CodeIdentity, Reason: ipc.ReasonOtherServer, About: []string{"warren.example.org", "3f2a", "99b1"}, Message: "English",
	}}},
	{"needs-login", Input{Status: in(ipc.StateNeedsLogin), Profiles: profiles}},
	{"login", Input{
		Status: in(ipc.StateNeedsLogin), Profiles: profiles,
		Login: &Login{Page: "https://warren.example.org/login/x", Code: "4821-93", Expires: time.Unix(1, 0)},
	}},
	{"pending", Input{Status: in(ipc.StatePending), Profiles: profiles}},
	{"down", Input{Status: in(ipc.StateDown), Profiles: profiles, Prefs: ipc.Prefs{IgnoreDNS: true}}},
	{"starting", Input{Status: in(ipc.StateStarting), Profiles: profiles}},
	{"busy", Input{Status: in(ipc.StateDown), Profiles: profiles, Busy: true}},
	{"running", Input{Status: running(), Profiles: profiles}},
	{"running-windows", Input{Status: running(), Profiles: profiles, Windows: true}},
	{"alone", Input{Status: func() *ipc.Status { s := running(); s.Peers = nil; return s }(), Profiles: profiles}},
	{"problems", Input{Windows: true, Status: func() *ipc.Status {
		s := running()
		s.Problems = []ipc.Problem{
			{Code: "a", Text: "the key ends tomorrow", Level: ipc.ProblemUrgent},
			{Code: "b", Text: "b"},
			{Code: "c", Text: "c"},
			{Code: "d", Text: "d"},
			{Code: "n", Text: "a notice", Level: ipc.ProblemNotice},
		}
		return s
	}()}},
	{"notice", Input{Status: func() *ipc.Status {
		s := running()
		s.Problems = []ipc.Problem{{Code: "n", Text: "a notice", Level: ipc.ProblemNotice}}
		return s
	}()}},
	{"denied", Input{Status: in(ipc.StateDown), Failed: &ipc.Error{Code: ipc.CodeDenied, Reason: ipc.ReasonOperate, Message: "only root", Fix: "Run: sudo x\nOr: sudo usermod"}}},
	{"denied-admin", Input{Status: in(ipc.StateDown), Failed: &ipc.Error{Code: ipc.CodeDenied, Reason: ipc.ReasonAdmin, Message: "only root", Fix: "Run: sudo x"}}},
	{"failed-long", Input{Status: in(ipc.StateNoServer), Failed: &ipc.Error{Code: ipc.CodeCoord, Message: strings.Repeat("what went wrong, ", 10) + "what to do next"}}},
	{"failed", Input{Status: in(ipc.StateDown), Tried: OpConnect, Failed: &ipc.Error{Code: ipc.CodeCoord, Message: "the server refused", Fix: "Ask its admin."}}},
	{"exit", Input{Windows: true, Status: exits("bob", true), Prefs: ipc.Prefs{ExitNodes: []string{"bob"}, ExitNodeAllowLAN: true, AdvertiseExitNode: true, Relay: true}}},
	{"exit-down", Input{Status: exits("dave", false), Prefs: ipc.Prefs{ExitNodes: []string{"dave"}}}},
	{"exit-gone", Input{Windows: true, Status: func() *ipc.Status {
		s := exits("", false)
		s.Lockdown, s.Portal = true, s.Time.Add(time.Minute)
		s.Problems = []ipc.Problem{{Code: ipc.ProblemExitGone, Level: ipc.ProblemUrgent, Text: "gone", Fix: "warren exit-node off"}}
		return s
	}(), Prefs: ipc.Prefs{ExitNodes: []string{"erin"}, Lockdown: true}}},
	{"pinged", Input{Status: running(), Pings: map[int64]Answer{
		3: {Reply: &ipc.PingReply{Name: "bob", Latency: 12, Path: ipc.Path{Kind: ipc.PathDirect}}}, 4: {}, 5: {Err: &ipc.Error{Message: "dave did not answer within 5s."}},
	}}},
	{"checked", Input{Status: exits("bob", true), Netcheck: found(), Whys: map[int64]*ipc.Why{
		3: {In: ipc.Access{Ruled: true, Allowed: true, Rules: []ipc.AccessRule{{Allow: []string{"tcp:22", "icmp"}}, {Allow: []string{"icmp"}}}}},
		4: {In: ipc.Access{Ruled: true}, Advised: []ipc.Advice{{Code: ipc.AdviceSameAddress, About: []string{"203.0.113.9"}}}}, 5: {In: ipc.Access{}},
	}}},
	{"checking", Input{Status: running(), Checking: true}},
	{"later-daemon", Input{Status: in("hibernating")}},
}

// print writes a menu as a person would read it.
func printMenu(m Menu) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s] %s\n", m.Icon, m.Tooltip)
	printItems(&b, m.Items, "  ")
	return b.String()
}

func printItems(b *strings.Builder, items []Item, indent string) {
	for _, i := range items {
		switch {
		case i.Hidden:
			continue
		case i.Separator:
			fmt.Fprintf(b, "%s────\n", indent)
			continue
		}
		mark := ""
		if i.Toggle != ToggleNone {
			mark = map[bool]string{true: "[x] ", false: "[ ] "}[i.Checked]
		}
		fmt.Fprintf(b, "%s%s%s", indent, mark, i.Label)
		switch {
		case i.Items != nil:
			b.WriteString(" ▸")
		case i.Disabled:
			b.WriteString("   (only said)")
		default:
			b.WriteString("   → " + strings.TrimSpace(string(i.Do.Op)+" "+i.Do.Arg))
		}
		b.WriteString("\n")
		printItems(b, i.Items, indent+"      ")
	}
}

func TestMenusOfAllStates(t *testing.T) {
	for _, language := range Languages {
		var b strings.Builder
		for _, s := range states {
			i := s.in
			i.Language, i.Version = language, "1.2.3"
			fmt.Fprintf(&b, "== %s\n%s\n", s.name, printMenu(Draw(&i)))
		}
		golden(t, "menus-"+string(language)+".txt", b.String())
	}
}

// printWindow writes a window as a person would read it.
func printWindow(w Window, in *Input) string {
	var b strings.Builder
	line := func(format string, args ...any) {
		if text := strings.TrimRight(fmt.Sprintf(format, args...), " "); text != "" {
			b.WriteString(text + "\n")
		}
	}
	button := func(v Button) string {
		if v.Label == "" {
			return ""
		}
		return fmt.Sprintf("[%s]%s → %s %s", v.Label, map[bool]string{true: " (off)"}[v.Disabled], v.Do.Op, v.Do.Arg)
	}
	line("[%s] %s | %s | %s | %s", w.Icon, w.State, w.Below, button(w.Copy), button(w.Power))
	line("%s", strings.ReplaceAll(w.Failed, "\n", " / "))
	if w.First != nil {
		line("first: %+v", *w.First)
	}
	if w.Waiting != nil {
		line("waiting: %+v", *w.Waiting)
	}
	for _, r := range w.Machines.Rows {
		line("machine: %s | %s | %s | %t", r.Name, r.Addr, r.How, r.Here)
		printDetail(line, in.Detail(r.ID))
	}
	for _, r := range w.Exits.Rows {
		line("exit: %s | %s | %t | %t %t | %s", r.Name, r.How, r.Here, r.Chosen, r.Trouble, r.Do.Arg)
	}
	for _, s := range w.Exits.Settings {
		line("exits' setting: %s (%s) %t → %s %s", s.Label, s.Explains, s.On, s.Do.Op, s.Do.Arg)
	}
	line("exits: %s | %s | %s | %s", w.Exits.State, w.Exits.None, button(w.Exits.Nearest), button(w.Exits.Portal))
	line("network: %s | %s | %s | %s | %s", w.Network.Mood, w.Network.Verdict, w.Network.None, strings.Join(w.Network.Advice, " / "), button(w.Network.Check))
	for _, t := range w.Network.Tiles {
		line("network: %s: %s (%s)", t.Label, t.Text, t.Mood)
	}
	for _, r := range w.Network.Relays {
		line("relay: %s: %s (%s, %.2f)", r.Name, r.Text, r.Mood, r.Share)
	}
	for _, f := range w.Network.Facts {
		line("endpoint: %s: %s", f.Label, f.Value)
	}
	for _, s := range w.Fields {
		line("field: %s (%s) %q %q", s.Label, s.Explains, s.Value, s.Hint)
	}
	for _, s := range w.Settings {
		line("setting: %s (%s) %t → %s %s", s.Label, s.Explains, s.On, s.Do.Op, s.Do.Arg)
	}
	for _, a := range w.Accounts {
		line("account: %s %t → %s %s", a.Label, a.Checked, a.Do.Op, a.Do.Arg)
	}
	for _, p := range w.Problems {
		line("problem: %s: %s / %s | %s", p.Level, p.Text, p.Fix, button(p.Button))
	}
	for _, f := range w.About {
		line("about: %s: %s", f.Label, f.Value)
	}
	return b.String()
}

func printDetail(line func(string, ...any), v *Detail) {
	line("    %s | %s | %s | %s", v.How, v.Why, v.Answer, v.Exit.Label)
	for _, a := range v.Advice {
		line("    advice: %s", a)
	}
	for _, f := range v.Facts {
		line("    %s: %s", f.Label, f.Value)
	}
	for _, w := range v.Way {
		line("    way: %s %.2f %s", w.Kind, w.Share, w.Text)
	}
}

func TestWindowsOfAllStates(t *testing.T) {
	for _, language := range Languages {
		var b strings.Builder
		for _, s := range states {
			i := s.in
			i.Language, i.Version, i.Windows = language, "1.2.3", true
			fmt.Fprintf(&b, "== %s\n%s\n", s.name, printWindow(DrawWindow(&i), &i))
		}
		golden(t, "windows-"+string(language)+".txt", b.String())
	}
}

// golden compares with what was written down.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (write it anew with -update):\n%s", file, diff)
	}
}

// walk visits every item.
func walk(items []Item, level int, visit func(Item, int)) {
	for _, i := range items {
		visit(i, level)
		walk(i.Items, level+1, visit)
	}
}

// sound is what holds for every menu, whatever the daemon says.
func sound(t *testing.T, m Menu) {
	t.Helper()
	keys := map[string]bool{}
	walk(m.Items, 1, func(i Item, level int) {
		switch {
		case keys[i.Key]:
			t.Errorf("two items have the key %q", i.Key)
		case i.Key == "":
			t.Errorf("%q has no key", i.Label)
		case level > 2:
			t.Errorf("%q is at level %d", i.Label, level)
		case !i.Separator && !i.Hidden && i.Label == "":
			t.Errorf("%s has no label", i.Key)
		case utf8.RuneCountInString(i.Label) > 250 || strings.ContainsFunc(i.Label, moves):
			t.Errorf("%s: %q", i.Key, i.Label)
		case i.Disabled || i.Items != nil || i.Separator || i.Hidden:
		case i.Do.Op == OpNone:
			t.Errorf("%q does nothing, and does not show it", i.Label)
		}
		keys[i.Key] = true
	})
	separated(t, m.Items)
	if len(m.Items) > 40 {
		t.Errorf("%d items", len(m.Items))
	}
}

// separated looks at a menu's separators.
func separated(t *testing.T, items []Item) {
	t.Helper()
	visible := slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return i.Hidden })
	for n, i := range visible {
		if i.Separator && (n == 0 || n == len(visible)-1 || visible[n-1].Separator) {
			t.Errorf("%s separates nothing", i.Key)
		}
		separated(t, i.Items)
	}
}

// moves tells the characters that would act on the menu; a name's own isolation is ours.
func moves(r rune) bool { return say.Harmful(r) && string(r) != isolate && string(r) != endIsolate }

func TestEveryMenuIsSound(t *testing.T) {
	for _, s := range states {
		t.Run(s.name, func(t *testing.T) { sound(t, Draw(&s.in)) })
	}
}

func TestHostileNamesAreDrawnPlain(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"bob", "bob"},
		{"", "(no name)"},
		{"\x00\x1b[31mroot\a", "[31mroot"},
		{"evil\u202Egnp.exe", "evilgnp.exe"},
		{"a\nb\tc\u2028d", "abcd"},
		{"zero\u200Bwidth\uFEFF\u2066", "zerowidth"},
		{strings.Repeat("x", 10_000), strings.Repeat("x", maxShort) + "…"},
		{strings.Repeat("\u202E", 10_000), "(no name)"},
		{"e" + strings.Repeat("\u0301", 10_000), "e\u0301\u0301"},
		{"שלום", isolate + "שלום" + endIsolate},
		{"a\xff\xfeb", "a\uFFFDb"},
		{"{0}{1}{2}", "{0}{1}{2}"},
		{"wide\u3000space", "wide space"},
	} {
		s := running()
		s.Peers = []ipc.Peer{{ID: 7, Name: c.name, Online: true, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.9")}}}
		s.Network.Name, s.Self.Name, s.Profile, s.Server = c.name, c.name, c.name, c.name
		s.Problems = []ipc.Problem{{Code: c.name, Text: c.name}, {Code: c.name, Text: c.name}}
		p := []ipc.Profile{{ID: "00", Name: c.name, User: c.name, Current: true}, {ID: "11", Name: c.name, User: c.name}}
		m := Draw(&Input{Status: s, Profiles: p, Failed: &ipc.Error{Code: c.name, Message: c.name, Fix: c.name}, Version: "1"})
		walk(m.Items, 1, func(i Item, _ int) {
			if want := c.want + " · idle"; i.Key == "machine-7" && i.Label != want {
				t.Errorf("%.40q: got %q, want %q", c.name, i.Label, want)
			}
			if strings.ContainsFunc(i.Label, moves) || utf8.RuneCountInString(i.Label) > 250 {
				t.Errorf("%.40q: %s is %q", c.name, i.Key, i.Label)
			}
		})
	}
}

// many is a network of n machines, every third of which is there.
func many(n int) *ipc.Status {
	s := running()
	s.Peers = nil
	for i := range n {
		s.Peers = append(s.Peers, ipc.Peer{
			ID: int64(i + 1), Name: fmt.Sprintf("machine-%05d", i), Online: i%3 == 2,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})},
		})
	}
	return s
}

func TestAListTooLongForAScreenIsCut(t *testing.T) {
	for _, windows := range []bool{false, true} {
		m := Draw(&Input{Status: many(5000), Windows: windows})
		sound(t, m)
		find := func(key string) Item {
			i := slices.IndexFunc(m.Items, func(i Item) bool { return i.Key == key })
			if i < 0 {
				t.Fatalf("there is no %s", key)
			}
			return m.Items[i]
		}
		if head := find("machines").Label; head != "Machines (1,666 of 5,000 online)" {
			t.Error(head)
		}
		if first := find("machine-3").Label; first != "machine-00002 · idle" {
			t.Errorf("the first is %s, which is not there", first)
		}
		list := find("machines-rest")
		if list.Label != "4,995 more machines" || len(list.Items) != maxMachines+1 {
			t.Fatalf("%s: %d items", list.Label, len(list.Items))
		}
		last := list.Items[maxMachines]
		want := Item{Key: "machines-more", Label: "… 4,965 more: warren status", Disabled: true}
		if windows {
			want = Item{Key: "machines-more", Label: "… all in the window (4,965 more)", Do: Intent{OpOpen, "machines"}}
		}
		if diff := cmp.Diff(want, last); diff != "" {
			t.Error(diff)
		}
		visible := 0
		for _, i := range m.Items {
			if !i.Hidden {
				visible++
			}
		}
		if visible > 24 {
			t.Errorf("the menu has %d lines: a small screen has no place for them", visible)
		}
	}
}

func TestFewMachinesWithoutAnOnlineOneAreAllShown(t *testing.T) {
	s := many(3)
	m := Draw(&Input{Status: s})
	var got []string
	walk(m.Items, 1, func(i Item, level int) {
		if level == 1 && strings.HasPrefix(i.Key, "machine-") {
			got = append(got, i.Key)
		}
	})
	if want := []string{"machine-3", "machine-1", "machine-2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What changes by the second must not change the menu: it would move under the pointer.
func TestLatencyAndTrafficDoNotChangeTheMenu(t *testing.T) {
	before := Draw(&Input{Status: running()})
	s := running()
	for i := range s.Peers {
		p := &s.Peers[i]
		p.RxBytes += 1000
		p.Path.Latency++
		p.LastSeen, p.LastHandshake = p.LastSeen.Add(time.Second), time.Unix(1, 0)
	}
	s.Time = s.Time.Add(time.Hour)
	if diff := cmp.Diff(before, Draw(&Input{Status: s})); diff != "" {
		t.Error(diff)
	}
}

var hole = regexp.MustCompile(`\{\d\}`)

func TestEveryLanguageSaysEverything(t *testing.T) {
	for _, l := range Languages {
		for i, words := range l.texts() {
			if words == "" {
				t.Errorf("%s does not say what is in English %q", l, english[i])
			}
			want, got := hole.FindAllString(english[i], -1), hole.FindAllString(words, -1)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(want, got) {
				t.Errorf("%s: %q has %v, English %v", l, words, got, want)
			}
			if l != English && words == english[i] && len(hole.ReplaceAllString(words, "")) > 20 {
				t.Errorf("%s is not translated: %q", l, words)
			}
		}
	}
}

// The daemon speaks English; what it has a code for, people read in their own language, and what to do about it too.
func TestEveryProblemIsToldInThePersonsLanguage(t *testing.T) {
	const text, fix = "Something is wrong with 192.0.2.7.", "Run this: sudo true"
	if len(translations) != len(ipc.ProblemCodes) {
		t.Errorf("%d problems are translated, and there are %d", len(translations), len(ipc.ProblemCodes))
	}
	for _, code := range ipc.ProblemCodes {
		has, ok := translations[code]
		if !ok {
			t.Errorf("%s is told in English alone", code)
		}
		for _, l := range []Language{German, Chinese} {
			s := fake.Running()
			s.Exit = &ipc.Exit{Wanted: []string{"nas"}, Name: "nas"}
			s.Problems = []ipc.Problem{{Code: code, Text: text, Fix: fix}}
			w := DrawWindow(&Input{Status: &s, Language: l})
			got := w.Problems[0]
			if got.Text == "" || strings.Contains(got.Text, text) || strings.Contains(got.Fix, fix) || hole.MatchString(got.Text+got.Fix) {
				t.Errorf("%s, %s: %+v", l, code, got)
			}
			if strings.Contains(got.Fix, text) != has.details {
				t.Errorf("%s, %s: which one is said: %v, in %q", l, code, !has.details, got.Fix)
			}
		}
	}
}

func TestTheLanguageOfALocale(t *testing.T) {
	for locale, want := range map[string]Language{
		"": English, "C": English, "POSIX": English, "C.UTF-8": English, "en_GB.UTF-8": English, "de_AT.UTF-8": German, "de": German, "DE": German,
		"de@euro": German, "zh_CN.UTF-8": Chinese, "zh-Hans-CN": Chinese, "fr_FR": English, "de:en": German, "deutsch": English, "_": English,
	} {
		if got := Speak(locale); got != want {
			t.Errorf("%q: got %s, want %s", locale, got, want)
		}
	}
}

// BenchmarkFiveThousand measures how long a change of a big network takes to be in the menu's and the window's words.
func BenchmarkFiveThousand(b *testing.B) {
	hostile := many(5000)
	for i := range hostile.Peers {
		p := &hostile.Peers[i]
		p.Name = strings.Repeat("\u202Ex", 10_000)
		p.DNSName, p.User, p.OS = p.Name, p.Name, p.Name
	}
	for name, s := range map[string]*ipc.Status{"usual": many(5000), "hostile": hostile} {
		in := &Input{Status: s}
		b.Run(name+"/menu", func(b *testing.B) {
			for b.Loop() {
				Draw(in)
			}
		})
		b.Run(name+"/window", func(b *testing.B) {
			for b.Loop() {
				DrawWindow(in)
			}
		})
	}
}
