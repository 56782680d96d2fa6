package view

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

// What a check of the network advises, people read in their own language: each sentence that the daemon has is known here.
func TestEveryAdviceOfACheckIsToldInThePersonsLanguage(t *testing.T) {
	found := 0
	for name, words := range daemonSays(t, "advice") {
		if name == "adviceEither" { // that is a part of others
			continue
		}
		found++
		known := 0
		for _, a := range advices {
			if strings.Contains(words, a.words) {
				known++
			}
		}
		if known != 1 {
			t.Errorf("%s is %d kinds of advice: %q", name, known, words)
		}
		for _, l := range []Language{German, Chinese} {
			c := advised(words)
			w := DrawWindow(&Input{Status: running(), Language: l, Netcheck: c})
			if got := w.Network.Advice; len(got) != 1 || got[0] == "" || strings.Contains(words, got[0]) {
				t.Errorf("%s: %q", l, got)
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d sentences were found", found)
	}
	if got := DrawWindow(&Input{Status: running(), Language: German, Netcheck: advised("of tomorrow")}).Network.Advice[0]; got != "of tomorrow" {
		t.Errorf("what is not known is %q", got)
	}
}

// What keeps two machines from a direct path, people read on the machine's page, in their own language and without commands.
func TestEveryObstacleIsToldOnTheMachinesPage(t *testing.T) {
	found := 0
	for name, words := range daemonSays(t, "obstacle") {
		found++
		words = strings.NewReplacer("%d", "17", "%s", "203.0.113.7").Replace(words)
		known := 0
		for _, o := range obstacles {
			if strings.Contains(words, o.words) {
				known++
			}
		}
		if known != 1 {
			t.Errorf("%s is %d kinds of obstacle: %q", name, known, words)
		}
		for _, l := range Languages {
			in := &Input{Status: running(), Language: l, Whys: map[int64]*ipc.Why{4: {Advice: []string{words}}}}
			in.Status.Peers[1].Online, in.Status.Peers[1].Path = true, ipc.Path{Kind: ipc.PathRelay, Relay: "fra"}
			got := in.Detail(in.Status.Peers[1].ID).Advice
			if len(got) != 1 || strings.ContainsAny(got[0], "{}") || strings.Contains(got[0], "warren ") || l != English && strings.Contains(words, got[0]) {
				t.Errorf("%s, %s: %q", l, name, got)
				continue
			}
			for _, about := range []string{"17", "203.0.113.7"} {
				if strings.Contains(words, about) != strings.Contains(got[0], about) {
					t.Errorf("%s, %s: %q says not what %q is about", l, name, got, words)
				}
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d sentences were found", found)
	}
}

// A direct path needs no advice, and to a machine that is away none helps.
func TestAdviceIsGivenWhereItHelps(t *testing.T) {
	in := &Input{Status: running(), Whys: map[int64]*ipc.Why{3: {Advice: []string{"of tomorrow"}}}}
	p := &in.Status.Peers[0]
	for _, c := range []struct {
		kind   ipc.PathKind
		online bool
		want   int
	}{{ipc.PathDirect, true, 0}, {ipc.PathRelay, true, 1}, {ipc.PathNone, true, 1}, {ipc.PathNone, false, 0}} {
		p.Path.Kind, p.Online = c.kind, c.online
		if got := in.Detail(p.ID).Advice; len(got) != c.want {
			t.Errorf("%s, online %t: %q", c.kind, c.online, got)
		}
	}
	p.Path.Kind, in.Status.Problems = ipc.PathRelay, []ipc.Problem{{Code: ipc.ProblemUDPBlocked}}
	if v := in.Detail(p.ID); len(v.Advice) != 0 || v.Why != in.Language.texts()[textWhyBlocked] {
		t.Errorf("where UDP is blocked: %q, %q", v.Why, v.Advice)
	}
}

// What a check says of a network follows from what it has found, in every language.
func TestTheVerdictOfACheck(t *testing.T) {
	for _, c := range []struct {
		edit func(*ipc.Netcheck)
		want text
		mood Mood
	}{
		{func(*ipc.Netcheck) {}, textVerdictEasy, MoodGood},
		{func(c *ipc.Netcheck) { c.Portal.Found = ipc.Yes }, textVerdictPortal, MoodBad},
		{func(c *ipc.Netcheck) { c.UDP, c.Relays = ipc.No, []ipc.NetcheckRelay{{Name: "fra", TCP: 1}} }, textVerdictBlocked, MoodMiddle},
		{func(c *ipc.Netcheck) { c.UDP, c.Relays = ipc.No, []ipc.NetcheckRelay{{Name: "fra"}} }, textVerdictOffline, MoodBad},
		{func(c *ipc.Netcheck) { c.UDP, c.Relays = ipc.Unknown, nil }, textVerdictUnasked, MoodUnknown},
		{func(c *ipc.Netcheck) { c.IPv4.NAT, c.IPv4.Filtering = ipc.No, ipc.NoTranslation }, textVerdictOpen, MoodGood},
		{func(c *ipc.Netcheck) { c.IPv4.NAT, c.IPv4.Filtering = ipc.No, ipc.PortDependent }, textVerdictFirewall, MoodGood},
		{func(c *ipc.Netcheck) { c.IPv4.Mapping = ipc.PortDependent }, textVerdictHard, MoodMiddle},
		{func(c *ipc.Netcheck) { c.IPv4.Mapping = ipc.BehaviorUnknown }, textVerdictSome, MoodUnknown},
	} {
		found := *found()
		c.edit(&found)
		for _, l := range Languages {
			n := DrawWindow(&Input{Status: running(), Language: l, Netcheck: &found}).Network
			if want := l.texts()[c.want]; n.Verdict != want || n.Mood != c.mood {
				t.Errorf("%s: %q (%s), want %q (%s)", l, n.Verdict, n.Mood, want, c.mood)
			}
		}
	}
}

// The words of RFC 4787 are told in the person's own language, too.
func TestEveryBehaviorOfANATHasAWord(t *testing.T) {
	for _, b := range []ipc.Behavior{ipc.NoTranslation, ipc.Independent, ipc.AddressDependent, ipc.PortDependent, ipc.AddressOrLess, ipc.AddressOrMore} {
		for _, l := range []Language{German, Chinese} {
			c := *found()
			c.IPv4.Mapping, c.IPv4.Filtering = b, b
			for _, f := range DrawWindow(&Input{Status: running(), Language: l, Netcheck: &c}).Network.Facts {
				if strings.Contains(f.Value, "depend") || f.Value == "none" {
					t.Errorf("%s: %s is %q", l, b, f.Value)
				}
			}
		}
	}
}

// What a problem is about goes with the person's own words, and the daemon's English only where it says more.
func TestProblemsNameWhatTheyAreAbout(t *testing.T) {
	for code, with := range translations {
		if !with.details {
			continue
		}
		in := &Input{Status: running(), Language: German}
		in.Status.Problems = []ipc.Problem{{Code: code, Text: "said in English", Fix: "do this", About: "10.9.0.0/16 → eth7"}, {Code: code, Text: "said in English"}}
		p := DrawWindow(in).Problems
		if first := p[0].Text + p[0].Fix; !strings.Contains(p[0].Fix, "10.9.0.0/16 → eth7") || strings.Contains(first, "English") {
			t.Errorf("%s: %q", code, first)
		}
		if !strings.Contains(p[1].Fix, "said in English") {
			t.Errorf("%s: %q", code, p[1].Fix)
		}
	}
}

// Whoever has a button for it is not sent to a terminal.
func TestAProblemWithAButtonNeedsNoCommand(t *testing.T) {
	for code, with := range translations {
		for _, l := range Languages {
			in := &Input{Status: running(), Language: l}
			in.Status.Problems = []ipc.Problem{{Code: code, Text: "what is wrong", Fix: "sudo warren mend"}}
			p := DrawWindow(in).Problems[0]
			if p.Button.does() && with.fix != textTooltip && code != ipc.ProblemPortTaken && strings.Contains(p.Fix, "warren ") {
				t.Errorf("%s, %s: with the button %q, it says %q", l, code, p.Button.Label, p.Fix)
			}
		}
	}
}

func TestOneExitNodeIsNeitherNearNorFar(t *testing.T) {
	in := &Input{Status: running()}
	for n := range in.Status.Peers {
		p := &in.Status.Peers[n]
		p.ExitOption, p.Online, p.Path = true, true, ipc.Path{Kind: ipc.PathDirect, Latency: ipc.Milliseconds(10 * (n + 1))}
		bars := 0
		for _, r := range DrawWindow(in).Exits.Rows {
			if r.Far > 0 {
				bars++
			}
		}
		if want := n + 1; n > 0 && bars != want || n == 0 && bars != 0 {
			t.Errorf("of %d exit nodes, %d have a bar", n+1, bars)
		}
	}
}

// advised is what a check has found that gives one advice.
func advised(advice string) *ipc.Netcheck {
	c := *found()
	c.Advice = []string{advice}
	return &c
}

// daemonSays are the daemon's sentences on networks, by the names of their constants, which begin with a word.
func daemonSays(t *testing.T, word string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../../daemon/internal/netcheck/text.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, word) {
			all[v.Names[0].Name] = sentence(v.Values[0])
		}
		return true
	})
	return all
}

// sentence is a text constant's value.
func sentence(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		words, _ := strconv.Unquote(x.Value)
		return words
	case *ast.BinaryExpr:
		return sentence(x.X) + sentence(x.Y)
	}
	return ""
}
