package view

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

// A click on a switch asks for what the daemon understands, and for the other position than the one that is shown.
func TestEverySwitchIsUnderstood(t *testing.T) {
	for _, p := range []ipc.Prefs{{}, {IgnoreDNS: true, AcceptRoutes: true, NoSNAT: true, ExitNodeAllowLAN: true, AdvertiseExitNode: true, Relay: true, Lockdown: true, ShieldsUp: true}} {
		p.AdvertiseRoutes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		in := Input{Status: running(), Prefs: p}
		w, seen := DrawWindow(&in), 0
		for _, s := range slices.Concat(w.Settings, w.Exits.Settings) {
			e, err := English.Edit(s.Do.Arg)
			if err != nil {
				t.Errorf("%s: %v", s.Do.Arg, err)
				continue
			}
			for _, is := range []*bool{e.AcceptDNS, e.AcceptRoutes, e.SNATSubnetRoutes, e.ExitNodeAllowLAN, e.AdvertiseExitNode, e.Relay, e.Lockdown, e.ShieldsUp} {
				if is == nil {
					continue
				}
				if seen++; *is == s.On {
					t.Errorf("%s does not change anything", s.Label)
				}
			}
		}
		if seen != 8 {
			t.Errorf("%d switches change anything", seen)
		}
	}
}

func TestWhatIsTypedIsUnderstoodOrRefusedInWords(t *testing.T) {
	for arg, want := range map[string]string{
		"hostname=den": "", "hostname=": "", "port=": "", "port=41641": "", "port=0": "", "advertise-routes=": "", "advertise-routes=10.1.2.3/8, fd00::/8": "",
		"relay-rate=": "", "relay-rate=0": "", "relay-rate=0,5": "", "relay-rate=1e9": "1e9", "relay-rate=-3": "-3", "relay-rate=0.01": "0.01", "relay-rate=x": "x",
		"relay-rate=NaN": "NaN", "port=70000": "70000", "port=-1": "-1", "port=x": "x", "advertise-routes=10.0.0.0/8,home": "home", "advertise-routes=10.0.0.1": "10.0.0.1",
		"nothing=on": "nothing", "": "", "lockdown=maybe": "lockdown=maybe",
	} {
		e, err := English.Edit(arg)
		switch {
		case arg != "" && (err == nil) != (want == ""), err != nil && !strings.Contains(err.Message, want):
			t.Errorf("%q: %v, %v", arg, e, err)
		case arg == "" && err == nil:
			t.Error("nothing is understood as something")
		}
	}
	e, _ := English.Edit("advertise-routes=10.1.2.3/8, fd00::/8")
	if got := fmt.Sprint(*e.AdvertiseRoutes); got != "[10.0.0.0/8 fd00::/8]" {
		t.Errorf("routes are %s", got)
	}
}

func TestALatencyThatTremblesStandsStill(t *testing.T) {
	for m, want := range map[ipc.Milliseconds]string{0.2: "1 ms", 1: "1 ms", 1.6: "2 ms", 11: "10 ms", 12.4: "10 ms", 19: "20 ms", 31: "20 ms", 40: "50 ms", 99: "100 ms", 180: "200 ms", 9_999: "10 s", 1e9: "10 s"} {
		if got := coarse(m); got != want {
			t.Errorf("%v is %s, want %s", m, got, want)
		}
	}
}

func TestTheCommandOfASentence(t *testing.T) {
	for fix, want := range map[string]string{
		"Start it: sudo systemctl start warrend": "sudo systemctl start warrend", "warren login (no connection breaks)": "warren login", "Ask its admin.": "",
		"Stop that program, then: warren down, warren up. Or else": "warren down", "": "", "See which: warren dns status": "warren dns status",
	} {
		if got := command(fix); got != want {
			t.Errorf("%q: got %q, want %q", fix, got, want)
		}
	}
}

func TestPagesAreFoundByTheirNames(t *testing.T) {
	for _, p := range append(slices.Clone(Pages), PageOf(7)) {
		if _, _, ok := p.Split(); !ok {
			t.Errorf("%s is no page", p)
		}
	}
	if page, id, ok := PageOf(7).Split(); page != PageMachines || id != 7 || !ok {
		t.Errorf("%s %d %t", page, id, ok)
	}
	for _, p := range []Page{"", "x", "machines/", "machines/x", "machines/0", "machines/-1", "exits/7", "machines/99999999999999999999"} {
		if _, _, ok := p.Split(); ok {
			t.Errorf("%q is a page", p)
		}
	}
}
