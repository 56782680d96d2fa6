package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

// Advice is cut nowhere, and where nobody is, no way is shown that there was.
func TestWhyIsSaidWholly(t *testing.T) {
	long := strings.Repeat("Switch it on. ", 50)
	w := &ipc.Why{Name: "bob", Online: true, Path: ipc.Path{Kind: ipc.PathRelay, Relay: "fra", Latency: 1.2, MTU: 1280}, Advice: []string{long}}
	if got := whyLines(w); got[1] != "! "+long {
		t.Errorf("%q", got[1])
	}
	for _, c := range []struct {
		kind   ipc.PathKind
		online bool
		want   string
	}{{ipc.PathRelay, false, "relay fra; " + textWhyOffline}, {ipc.PathNone, false, textWhyOffline}, {ipc.PathNone, true, textWhyIdle}} {
		w.Path.Kind, w.Online = c.kind, c.online
		if got := whyLines(w)[0]; got != "Way to bob: "+c.want {
			t.Errorf("%s, online %t: %q", c.kind, c.online, got)
		}
	}
}

// A machine that the server takes for online yet, and that does not answer, is not "idle", nor well behind its relay.
func TestAMachineThatDoesNotAnswerIsSaidNotTo(t *testing.T) {
	w := &ipc.Why{Name: "bob", Online: true, Path: ipc.Path{Kind: ipc.PathRelay, Relay: "fra", Latency: 1.2}}
	for _, code := range []string{ipc.AdviceNoAnswer, ipc.AdviceNeverAnswered} {
		w.Advised = []ipc.Advice{{Code: code}}
		for kind, want := range map[ipc.PathKind]string{ipc.PathRelay: "relay fra; " + textWhySilent, ipc.PathNone: textWhySilent} {
			w.Path.Kind = kind
			if got := whyLines(w)[0]; got != "Way to bob: "+want {
				t.Errorf("%s, %s: %q", code, kind, got)
			}
		}
	}
}

func TestWhatWasTriedAndWhatCouldBeChangedIsSaid(t *testing.T) {
	w := &ipc.Why{
		Name: "bob", Online: true, Path: ipc.Path{Kind: ipc.PathRelay, Relay: "fra"},
		Tried: []ipc.PathTry{
			{Addr: netip.MustParseAddrPort("192.168.1.3:7"), Tried: true, Answers: true, Latency: 1.2},
			{Addr: netip.MustParseAddrPort("203.0.113.9:7"), Tried: true},
			{Addr: netip.MustParseAddrPort("[2001:db8::9]:7")},
		},
		Advice: []string{"Let UDP\x1b[2J out."},
	}
	want := "Way to bob: relay fra\n  192.168.1.3:7  answers in 1.2 ms\n  203.0.113.9:7  does not answer\n  [2001:db8::9]:7  not tried yet\n! Let UDP[2J out.\n"
	if got := strings.Join(whyLines(w), "\n"); !strings.HasPrefix(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
