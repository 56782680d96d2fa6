package disco

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/warren-mesh/warren/coord/key"
)

func messages() []Message {
	v4, v6 := netip.MustParseAddrPort("203.0.113.7:41641"), netip.MustParseAddrPort("[2001:db8::7]:9")
	many := make([]netip.AddrPort, MaxEndpoints)
	for i := range many {
		many[i] = netip.AddrPortFrom(v4.Addr(), uint16(i+1))
	}
	return []Message{
		Ping{Seq: 1, Node: key.NodePublic{1, 2, 3}},
		Ping{Seq: 1 << 60, Node: key.NodePublic{9}, Padding: 1200},
		Pong{Seq: 2, Echo: 1, Observed: v4},
		Pong{Seq: 3, Echo: 7, Observed: v6},
		Pong{Seq: 4, Echo: 7},
		CallMe{Seq: 5, Endpoints: []netip.AddrPort{v4, v6}},
		CallMe{Seq: 6, Endpoints: []netip.AddrPort{}},
		CallMe{Seq: 7, Endpoints: many},
		Meet{Seq: 8, Relays: []MeetRelay{}},
		Meet{Seq: 9, Stream: true, Relays: []MeetRelay{{Node: 7, Latency: 1234 * time.Microsecond}, {Node: 1 << 62}}},
	}
}

func pair(t testing.TB) (a, b key.Disco, ab, ba key.Shared) {
	t.Helper()
	a, b = key.NewDisco(), key.NewDisco()
	ab, err := a.Shared(b.Public())
	if err != nil {
		t.Fatal(err)
	}
	ba, err = b.Shared(a.Public())
	if err != nil {
		t.Fatal(err)
	}
	return a, b, ab, ba
}

func TestMessagesArriveAsTheyWereSent(t *testing.T) {
	a, _, ab, ba := pair(t)
	for _, m := range messages() {
		d := Seal(nil, a.Public(), ab, m)
		if from, ok := Sender(d); !ok || from != a.Public() {
			t.Errorf("%v: sender %v, %v", m, from, ok)
		}
		got, err := Open(ba, d)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%#v arrived as %#v, %v", m, got, err)
		}
	}
}

func TestADatagramIsNeitherWireGuardNorSTUN(t *testing.T) {
	a, _, ab, _ := pair(t)
	d := Seal(nil, a.Public(), ab, Ping{Seq: 1})
	if d[0] <= 4 || d[0]>>6 == 0 {
		t.Errorf("it begins with %#x", d[0])
	}
}

func TestAnAnswerIsNeverLongerThanItsQuestion(t *testing.T) {
	a, _, ab, _ := pair(t)
	ping, pong := Seal(nil, a.Public(), ab, Ping{Seq: 1}), Seal(nil, a.Public(), ab, Pong{Seq: 1})
	if len(pong) > len(ping) {
		t.Errorf("a Pong has %d bytes, a Ping %d", len(pong), len(ping))
	}
}

func TestWhatWasChangedOrMeantForAnotherDoesNotOpen(t *testing.T) {
	a, _, ab, ba := pair(t)
	_, _, other, _ := pair(t)
	d := Seal(nil, a.Public(), ab, Ping{Seq: 1})
	if _, err := Open(other, d); err == nil {
		t.Error("a stranger opened it")
	}
	for i := range d {
		d[i] ^= 1
		if _, err := Open(ba, d); err == nil {
			t.Errorf("it opened with byte %d changed", i)
		}
		d[i] ^= 1
	}
	for i := range d {
		if _, err := Open(ba, d[:i]); err == nil {
			t.Errorf("it opened cut to %d bytes", i)
		}
	}
}

func TestANumberIsAcceptedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Window
		seen := map[uint64]bool{}
		top := uint64(1000)
		for _, back := range rapid.SliceOfN(rapid.IntRange(-40, 60), 1, 300).Draw(t, "moves") {
			seq := uint64(int64(top) + int64(back))
			if w.Accept(seq) && seen[seq] {
				t.Fatalf("%d was accepted twice", seq)
			}
			seen[seq], top = true, max(top, seq)
			if len(w.seen) > windowSize {
				t.Fatalf("the window holds %d", len(w.seen))
			}
		}
		for seq := top + 1; seq < top+windowSize; seq++ { // overtaking within the window loses nothing
			other := top + windowSize + (top + windowSize - seq)
			if !w.Accept(other) {
				t.Fatalf("%d was refused, though new and within the window", other)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, m := range messages() {
		f.Add(m.appendTo(nil))
	}
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\x03", callMeSize+addrSize)))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Parse(body)
		if err != nil {
			return
		}
		back, err := Parse(m.appendTo(nil))
		if err != nil || !reflect.DeepEqual(m, back) {
			t.Errorf("%#v read back as %#v, %v", m, back, err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	a, _, ab, ba := pair(f)
	for _, m := range messages() {
		f.Add(Seal(nil, a.Public(), ab, m))
	}
	f.Fuzz(func(t *testing.T, d []byte) {
		Sender(d)
		if m, err := Open(ba, d); err == nil && m == nil {
			t.Error("neither message nor error")
		}
	})
}
