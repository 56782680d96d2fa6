package view

import (
	"strings"
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

// What the daemon advises, people read in their own language and without commands, whatever it is about.
func TestEveryAdviceIsToldInThePersonsLanguage(t *testing.T) {
	for code, words := range ipc.Advices {
		a := ipc.Advice{Code: code, About: []string{"17", "203.0.113.7"}[:words], Text: "said in English"}
		for _, l := range Languages {
			in := &Input{Status: running(), Language: l, Netcheck: advised(a), Whys: map[int64]*ipc.Why{4: {Advised: []ipc.Advice{a}, Advice: []string{a.Text}}}}
			in.Status.Peers[1].Online, in.Status.Peers[1].Path = true, ipc.Path{Kind: ipc.PathRelay, Relay: "fra"}
			for _, got := range [][]string{in.Detail(4).Advice, DrawWindow(in).Network.Advice} {
				if len(got) != 1 || strings.ContainsAny(got[0], "{}") || strings.Contains(got[0], "warren ") || strings.Contains(got[0], "English") {
					t.Errorf("%s, %s: %q", l, code, got)
					continue
				}
				for _, about := range a.About {
					if code != ipc.AdvicePortal && !strings.Contains(got[0], about) { // where to sign in stands in a tile
						t.Errorf("%s, %s: %q says not what it is about", l, code, got)
					}
				}
			}
		}
	}
}

// Why a path was taken, too.
func TestEveryReasonForAPathIsToldInThePersonsLanguage(t *testing.T) {
	for code := range ipc.PathReasons {
		for _, l := range Languages {
			in := &Input{Status: running(), Language: l}
			p := &in.Status.Peers[0]
			p.Path.Code, p.Path.Reason = code, "said in English"
			p.History = []ipc.PathChange{{Kind: ipc.PathDirect, Code: code, Reason: "said in English"}}
			v := in.Detail(p.ID)
			if words := l.texts()[reasons[code]]; reasons[code] == 0 || !strings.Contains(v.Way[0].Text, words) || strings.Contains(v.Why+v.Way[0].Text, "English") {
				t.Errorf("%s, %s: %q, %q", l, code, v.Why, v.Way[0].Text)
			}
		}
	}
}

// A daemon of another version is understood as far as it says English.
func TestAdviceOfAnotherVersionIsSaidAsTheDaemonDoes(t *testing.T) {
	later := []ipc.Advice{{Code: "of-tomorrow", Text: "of tomorrow"}, {Code: ipc.AdviceSearched, Text: "of tomorrow"}}
	for want, c := range map[string]*ipc.Netcheck{"of tomorrow": advised(later...), "of yesterday": {Advice: []string{"of yesterday", "of yesterday"}}} {
		got := DrawWindow(&Input{Status: running(), Language: German, Netcheck: c}).Network.Advice
		if len(got) != 2 || got[0] != want || got[1] != want {
			t.Errorf("%q, want %q", got, want)
		}
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

// advised is what a check has found that gives some advice.
func advised(all ...ipc.Advice) *ipc.Netcheck {
	c := *found()
	c.Advised, c.Advice = all, ipc.Texts(all)
	return &c
}
