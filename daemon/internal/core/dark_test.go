package core

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/ipc"
)

// sites is a network in which bob (2) and carl (3) lead to one subnet, and bob alone to another.
func sites() *coord.Netmap {
	m := exitNetmap()
	m.Peers = m.Peers[:2]
	m.Peers[0].Routes, m.Peers[1].Routes = []netip.Prefix{site, other}, []netip.Prefix{site}
	m.Peers[0].Online, m.Peers[1].Online = true, true
	return m
}

// told is the texts of a status's problems of dark subnets.
func told(m *coord.Netmap, l *Leads) (texts []string) {
	f := running()
	f.Netmap, f.Leads, f.Wants.Accept = m, l, true
	for _, p := range f.Status(now).Problems {
		if p.Code == ipc.ProblemRouteDown {
			texts = append(texts, p.Text+" "+p.Fix)
		}
	}
	return texts
}

func TestASubnetToWhichNobodyLeadsIsSaidUntilOneOfItsRoutersAnswers(t *testing.T) {
	m, w, at := sites(), &Wants{Accept: true}, now
	l := new(Leads).Decide(m, w, at)
	dark := func(what string, want ...netip.Prefix) {
		t.Helper()
		if l = l.Decide(m, w, at); !slices.Equal(l.Dark, want) {
			t.Errorf("%s: dark are %v, want %v", what, l.Dark, want)
		}
	}
	misses := func(id coord.NodeID) {
		for range ExitPatience {
			l.Answered(id, false, at)
			l = l.Decide(m, w, at)
		}
	}
	dark("at first")
	if l.Every(m, w) != ExitAsk || !slices.Equal(l.Used(), []coord.NodeID{2}) || l.Unsure(2) {
		t.Errorf("asked every %v: %v", l.Every(m, w), l.Used())
	}
	misses(2)
	dark("the other one leads to one of the two", other)
	misses(3)
	dark("neither answers", site, other)
	if !l.Unsure(2) || !l.Unsure(3) {
		t.Error("those that may be back are not asked")
	}
	got := told(m, l)
	want := []string{
		"Nobody leads to 10.0.0.0/24 now: zoe does not answer, bob does not answer. See whether that machine runs and is on its network: warren ping zoe",
		"Nobody leads to 10.9.0.0/16 now: zoe does not answer. See whether that machine runs and is on its network: warren ping zoe",
	}
	if !slices.Equal(got, want) {
		t.Errorf("said:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	at = at.Add(time.Hour)
	dark("that nobody answered for long is no answer", site, other)
	l.Answered(3, true, at)
	dark("one is back", other)
	l.Answered(2, true, at)
	dark("both are")
	if l.Unsure(2) || l.Unsure(3) {
		t.Error("those that answer are asked in any case")
	}
	m.Peers[0].Online = false
	dark("the server has lost one that answers") // it may have lost the server only
	if !l.Unsure(2) {
		t.Error("whether it does is not asked")
	}
	misses(2)
	dark("it does not", other)
	if l.Unsure(2) {
		t.Error("one that is offline is asked for ever")
	}
	if got := told(m, l); len(got) != 1 || !strings.Contains(got[0], "zoe is offline") {
		t.Errorf("said: %q", got)
	}
	w.Accept = false
	dark("they are not used")
	if l.Every(m, w) != 0 {
		t.Error("somebody is asked")
	}
}

func TestARouterThatDoesNotReachItsSubnetIsUsedOnlyWhereNobodyElseIs(t *testing.T) {
	m, w := sites(), &Wants{Accept: true}
	l := new(Leads).Decide(m, w, now)
	uses := func(what string, want coord.NodeID, dark ...netip.Prefix) {
		t.Helper()
		if l = l.Decide(m, w, now); l.Routers[site] != want || !slices.Equal(l.Dark, dark) {
			t.Errorf("%s: %d leads to %s, want %d; dark %v, want %v", what, l.Routers[site], site, want, l.Dark, dark)
		}
	}
	uses("at first", 2)
	m = sites()
	m.Peers[0].Cut = []netip.Prefix{site, other}
	uses("the first is cut off", 3, other)
	if got := told(m, l); len(got) != 1 || !strings.Contains(got[0], "zoe does not reach it itself") {
		t.Errorf("said: %q", got)
	}
	m.Peers[1].Cut = []netip.Prefix{site}
	uses("both are", 3, site, other)
	if l.Routers[other] != 2 {
		t.Error("packets to a subnet without a router go around the tunnel")
	}
	m = sites()
	uses("both are back", 3, site, other) // until they have answered
	l.Answered(2, true, now)
	l.Answered(3, true, now)
	uses("and what works stays", 3)
}

func TestManyDarkSubnetsAreSaidInFewWords(t *testing.T) {
	m := sites()
	m.Peers = nil
	for i := range 600 {
		n := coord.Node{ID: coord.NodeID(10 + i), Name: fmt.Sprintf("gate-%03d", i), Routes: []netip.Prefix{other}}
		for s := range 20 {
			n.Routes = append(n.Routes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100 + byte(i/200), byte(i % 200), byte(s * 8)}), 29))
		}
		m.Peers = append(m.Peers, n)
	}
	l := new(Leads).Decide(m, &Wants{Accept: true}, now)
	if len(l.Dark) != 600*20+1 { // they are all offline
		t.Fatalf("%d are dark", len(l.Dark))
	}
	got := told(m, l)
	if len(got) != ipc.MaxListed+1 || !strings.Contains(got[0], "and 592 more do not either") || !strings.Contains(got[1], "and 12 more") || !strings.Contains(got[ipc.MaxListed], "593 other groups") {
		t.Errorf("%d are said:\n%s", len(got), strings.Join(got, "\n"))
	}
	for _, text := range got {
		if len(text) > 500 {
			t.Errorf("%d bytes: %s", len(text), text)
		}
	}
}
