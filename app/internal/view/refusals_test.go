package view

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/app/internal/fake"
	"github.com/warren-mesh/warren/ipc"
)

var anyHole = regexp.MustCompile(`\{[^}]*\}`)

// What the daemon and the server refuse, people read in their own language, by its reason or at least by its code.
func TestEveryRefusalIsToldInThePersonsLanguage(t *testing.T) {
	for _, l := range Languages {
		all := l.refusals()
		if want := len(ipc.Codes) + len(ipc.Reasons); len(all) != want {
			t.Errorf("%s has words for %d refusals, and there are %d", l, len(all), want)
		}
		for _, code := range ipc.Codes {
			r, has := all[code]
			if words := anyHole.ReplaceAllString(r.text, ""); !has || r.text == "" || l != English && len(words) < 5 {
				t.Errorf("%s does not tell the code %s: %+v", l, code, r)
			}
			checkHoles(t, l, code, r, 0)
		}
		for reason, about := range ipc.Reasons {
			r, has := all[reason]
			if !has || r.text == "" {
				t.Errorf("%s does not tell the reason %s", l, reason)
			}
			if en := englishRefusals[reason]; l != English && (r.text == en.text || r.fix == en.fix && en.fix != "") || (r.fix == "") != (en.fix == "") {
				t.Errorf("%s: %s is not translated: %+v", l, reason, r)
			}
			checkHoles(t, l, reason, r, about)
		}
	}
}

// checkHoles wants all that a refusal is about said once, and nothing that it does not have.
func checkHoles(t *testing.T, l Language, name string, r refusal, about int) {
	t.Helper()
	holes := anyHole.FindAllString(r.text+r.fix, -1)
	for i := range about {
		if hole := "{" + strconv.Itoa(i) + "}"; !slices.Contains(holes, hole) {
			t.Errorf("%s, %s: %s is not said", l, name, hole)
		}
	}
	for i, hole := range holes {
		n, err := strconv.Atoi(strings.Trim(hole, "{}"))
		if hole != holeMessage && hole != holeFix && (err != nil || n >= about) || slices.Contains(holes[:i], hole) {
			t.Errorf("%s, %s: %s is one too many", l, name, hole)
		}
	}
}

// What has no words here is shown as the daemon wrote it, below what a person had asked for.
func TestARefusalThatIsNotKnownSaysWhatWasTried(t *testing.T) {
	for language, want := range map[Language]string{
		English: "Could not connect: the cat sleeps\nWake it.",
		German:  "Verbinden ging nicht: the cat sleeps\nWake it.",
		Chinese: "无法连接：the cat sleeps\nWake it.",
	} {
		e := &ipc.Error{Code: "of-tomorrow", Reason: "of-tomorrow", Message: "the cat sleeps", Fix: "Wake it."}
		if got := language.Failure(e, OpConnect); got != want {
			t.Errorf("%s: %q", language, got)
		}
		if got := language.Failure(e, OpNone); got != "the cat sleeps\nWake it." {
			t.Errorf("%s, of nothing: %q", language, got)
		}
	}
	got := German.Failure(&ipc.Error{Code: ipc.CodeCoord, Message: "the cat {fix}"}, OpSwitch)
	if want := "Das Konto zu wechseln ging nicht: Der Server lehnt es ab oder ist nicht erreichbar.\nthe cat {fix}"; got != want {
		t.Errorf("by code: %q", got)
	}
	short := &ipc.Error{Code: ipc.CodeTimeout, Reason: ipc.ReasonSilent, About: []string{"bob"}, Message: "bob said nothing"}
	if got := English.Failure(short, OpNone); got != "bob said nothing" {
		t.Errorf("a reason without what it is about: %q", got)
	}
}

// Every order that can fail says what it was.
func TestEveryOrderHasAWordForItsFailure(t *testing.T) {
	for _, op := range []Op{
		OpConnect, OpDisconnect, OpLogin, OpJoin, OpAdd, OpLogout, OpSwitch, OpSet, OpExit, OpNearest, OpPortal, OpAutostart, OpNetcheck, OpOpen,
	} {
		if got := English.Failure(&ipc.Error{Message: "why"}, op); !strings.HasPrefix(got, "Could not ") {
			t.Errorf("%s: %q", op, got)
		}
	}
}

// Whoever sits before a tray has no terminal: what a person may not do is never said to need a command.
func TestWhoMayNotIsNotSentToATerminal(t *testing.T) {
	for _, l := range Languages {
		for _, e := range []*ipc.Error{
			{Code: ipc.CodeDenied, Message: "no", Fix: "Run: sudo warren up"},
			{Code: ipc.CodeDenied, Reason: ipc.ReasonOperate, Message: "no", Fix: "Run: sudo warren up\nOr: sudo usermod"},
			{Code: ipc.CodeDenied, Reason: ipc.ReasonAdmin, Message: "no", Fix: "Run: sudo warren up"},
			{Code: ipc.CodeDenied, Reason: ipc.ReasonSocket, About: []string{ipc.DefaultSocket}, Message: "no", Fix: "Run it with sudo"},
		} {
			s := fake.Running()
			for name, in := range map[string]*Input{"failed": {Language: l, Status: &s, Failed: e, Tried: OpConnect}, "missing": {Language: l, Missing: e}} {
				w := DrawWindow(in)
				text := w.Failed + w.State + w.Below
				for _, i := range Draw(in).Items {
					text += i.Label
				}
				if strings.Contains(text, "sudo") || strings.Contains(text, "terminal") {
					t.Errorf("%s, %s, %s: %q", l, name, e.Reason, text)
				}
			}
		}
	}
}
