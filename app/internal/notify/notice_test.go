package notify

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

var now = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// in is a status of a state, with problems of these codes.
func in(state ipc.State, problems ...ipc.Problem) *ipc.Status {
	return &ipc.Status{
		State: state, Server: "https://warren.example.org", Network: ipc.Network{Name: "demo"}, Time: now, Problems: problems,
		Self: ipc.Self{Name: "laptop", Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.2")}, Expires: now.Add(50 * time.Hour)},
		Exit: &ipc.Exit{Wanted: []string{"home"}, Name: "home"},
	}
}

func key(l ipc.ProblemLevel) ipc.Problem { return ipc.Problem{Code: ipc.ProblemKeySoon, Level: l} }

var gone = ipc.Problem{Code: ipc.ProblemExitDown, Level: ipc.ProblemUrgent}

// What a day tells: each line is a status, and what is said (or taken back, with "-") because of it.
func TestADayIsToldInAFewWords(t *testing.T) {
	const connected, login, soon, exit = "Connected to demo", "Log in to demo", "This machine's login ends in 2 days", "The exit node home is gone"
	for what, day := range map[string][]struct {
		s    *ipc.Status
		want string
	}{
		"the desktop starts, and all is well": {{in(ipc.StateRunning), "-connection"}, {in(ipc.StateRunning), ""}},
		"a person connects, and disconnects": {
			{in(ipc.StateDown), "-connection"},
			{in(ipc.StateStarting), "-connection"},
			{in(ipc.StateRunning), connected},
			{in(ipc.StateRunning), ""},
			{in(ipc.StateDown), "-connection"},
		},
		"the network goes for a moment": {{in(ipc.StateRunning), "-connection"}, {in(ipc.StateStarting), "-connection"}, {in(ipc.StateRunning), "-connection"}},
		"a login ends": {
			{in(ipc.StateRunning), "-connection"},
			{in(ipc.StateNeedsLogin), login},
			{in(ipc.StateNeedsLogin), ""},
			{in(ipc.StateStarting), "-connection"},
			{in(ipc.StateRunning), connected},
		},
		"the desktop starts without a login": {{in(ipc.StateNeedsLogin), login}},
		"an approval comes":                  {{in(ipc.StatePending), "-connection"}, {in(ipc.StateRunning), connected}},
		"a key goes to its end": {
			{in(ipc.StateRunning, key(ipc.ProblemNotice)), "-connection"},
			{in(ipc.StateRunning, key("")), soon},
			{in(ipc.StateRunning, key("")), ""},
			{in(ipc.StateRunning, key(ipc.ProblemUrgent)), soon},
			{in(ipc.StateRunning), "-key"},
			{in(ipc.StateRunning), ""},
		},
		"an exit node goes, and comes back": {
			{in(ipc.StateRunning), "-connection"}, {in(ipc.StateRunning, gone), exit}, {in(ipc.StateRunning, gone), ""}, {in(ipc.StateRunning), "-exit"},
		},
		"the daemon restarts without it": {
			{in(ipc.StateRunning, gone), "-connection " + exit}, {nil, "-connection -exit"}, {in(ipc.StateRunning, gone), "-connection " + exit},
		},
	} {
		k := Known{}
		for i, c := range day {
			var tell []Notice
			var over []Topic
			k, tell, over = Next(view.English, k, c.s)
			var got []string
			for _, o := range over {
				got = append(got, "-"+string(o))
			}
			for _, n := range tell {
				got = append(got, n.Title)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s, step %d: %q, want %q", what, i, got, c.want)
			}
		}
	}
}

func TestNoticesHaveTheButtonsThatHelp(t *testing.T) {
	s := in(ipc.StateRunning, gone, key(ipc.ProblemUrgent))
	_, tell, _ := Next(view.English, Known{}, s)
	if len(tell) != 2 {
		t.Fatalf("%+v", tell)
	}
	if n := tell[0]; n.Topic != TopicKey || n.Button != "Extend" || n.Do != (view.Intent{Op: view.OpLogin}) || !n.Urgent {
		t.Errorf("%+v", n)
	}
	if n := tell[1]; n.Topic != TopicExit || n.Button != "Turn off" || n.Do != (view.Intent{Op: view.OpExit}) || !n.Urgent {
		t.Errorf("%+v", n)
	}
	_, tell, _ = Next(view.English, Known{}, in(ipc.StateNeedsLogin))
	if n := tell[0]; n.Button != "Log in" || n.Do != (view.Intent{Op: view.OpLogin}) || n.Urgent {
		t.Errorf("%+v", n)
	}
}

func TestHostileNamesAreToldPlain(t *testing.T) {
	s := in(ipc.StateRunning, gone)
	evil := "a\x1b[2J\u202Eb\n" + strings.Repeat("x", 10_000)
	s.Network.Name, s.Self.Name, s.Exit.Name = evil, evil, evil
	_, tell, _ := Next(view.English, Known{away: true}, s)
	if len(tell) != 2 {
		t.Fatal(len(tell))
	}
	for _, n := range tell {
		for _, text := range []string{n.Title, n.Text} {
			if len(text) > 300 || strings.ContainsFunc(text, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf) }) {
				t.Errorf("%q", text)
			}
		}
	}
}

func TestEveryLanguageSaysEverything(t *testing.T) {
	all := func(w *words) []string {
		return []string{
			w.connected, w.connectedText, w.login, w.loginText, w.loginButton, w.key, w.keyText, w.keyButton, w.exit, w.exitText, w.exitButton,
			w.days, w.hours, w.soon,
		}
	}
	english := all(speak(view.English))
	for _, l := range view.Languages {
		for i, text := range all(speak(l)) {
			if text == "" || strings.Count(text, "{") != strings.Count(english[i], "{") || l != view.English && text == english[i] {
				t.Errorf("%s: %q for %q", l, text, english[i])
			}
		}
	}
	if got := speak("xx"); got != speak(view.English) {
		t.Error("an unknown language is not English")
	}
	w := speak(view.German)
	spans := []string{w.span(-time.Hour), w.span(time.Hour), w.span(5 * time.Hour), w.span(47 * time.Hour), w.span(49 * time.Hour)}
	if want := []string{w.soon, w.soon, "in 5 Stunden", "in 47 Stunden", "in 2 Tagen"}; !slices.Equal(spans, want) {
		t.Errorf("%q", spans)
	}
}
