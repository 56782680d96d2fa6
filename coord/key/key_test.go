package key

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestPrivateKeysNeverPrint(t *testing.T) {
	n, m := NewNode(), NewMachine()
	hexOf := func(s string) string { return s[strings.IndexByte(s, ':')+1:] }
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("keys", "n", n, "m", m, "in", struct{ N Node }{n})
	j, err := json.Marshal(map[string]any{"n": n, "m": m})
	if err != nil {
		t.Fatal(err)
	}
	out := log.String() + string(j) + fmt.Sprintf("%v %s %q %x %+v %#v %d", n, n, n, n, n, m, m) +
		fmt.Sprintf("%v %+v %#v", struct{ N Node }{n}, &struct{ M Machine }{m}, []Node{n})
	for _, secret := range []string{hexOf(n.Reveal()), hexOf(m.Reveal())} {
		if strings.Contains(out, secret) || strings.Contains(out, secret[:16]) {
			t.Errorf("a private key was printed: %s", out)
		}
	}
	if !strings.Contains(out, redacted) {
		t.Errorf("nothing printed at all: %s", out)
	}
}

func TestTextRoundTrips(t *testing.T) {
	n := NewNode()
	back, err := ParseNode(n.Reveal())
	if err != nil || back.Public() != n.Public() {
		t.Fatalf("ParseNode(Reveal) = %v, %v", back.Public(), err)
	}
	p := struct {
		A NodePublic
		B ServerPublic
		C DiscoPublic
	}{A: n.Public(), B: NewServer().Public()}
	j, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	q := p
	q.A, q.B = NodePublic{}, ServerPublic{}
	if err := json.Unmarshal(j, &q); err != nil || q != p {
		t.Fatalf("%s read back as %v, %v", j, q, err)
	}
	if _, err := ParseServerPublic(n.Public().String()); !errors.Is(err, ErrInvalid) {
		t.Errorf("a node key was read as a server key: %v", err)
	}
}

func TestSealedMessagesOpenOnlyWithTheOtherHalf(t *testing.T) {
	a, b, c := NewDisco(), NewDisco(), NewDisco()
	ab, _ := a.Shared(b.Public())
	ba, _ := b.Shared(a.Public())
	ca, _ := c.Shared(a.Public())
	sealed := ab.Seal(nil, []byte("probe"), []byte("header"))
	if got, ok := ba.Open(nil, sealed, []byte("header")); !ok || string(got) != "probe" {
		t.Fatalf("Open = %q, %v", got, ok)
	}
	if len(sealed) != len("probe")+Overhead {
		t.Errorf("Seal added %d bytes, not %d", len(sealed)-len("probe"), Overhead)
	}
	if _, ok := ca.Open(nil, sealed, []byte("header")); ok {
		t.Error("a stranger opened it")
	}
	if _, ok := ba.Open(nil, sealed, []byte("another")); ok {
		t.Error("it opened under another header")
	}
	for i := range sealed {
		sealed[i] ^= 1
		if _, ok := ba.Open(nil, sealed, []byte("header")); ok {
			t.Errorf("it opened with byte %d changed", i)
		}
		sealed[i] ^= 1
	}
	if _, err := a.Shared(DiscoPublic{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a public key of low order was taken: %v", err)
	}
}

func TestSignaturesHoldTheirContextAndBorders(t *testing.T) {
	m := NewMachine()
	sig := m.Sign("one", []byte("ab"), []byte("c"))
	switch {
	case !m.Public().Verify(sig, "one", []byte("ab"), []byte("c")):
		t.Error("a good signature was refused")
	case m.Public().Verify(sig, "two", []byte("ab"), []byte("c")):
		t.Error("it served another context")
	case m.Public().Verify(sig, "one", []byte("a"), []byte("bc")):
		t.Error("the border between parts moved")
	case m.Public().Verify(sig[:10], "one", []byte("ab"), []byte("c")), m.Public().Verify(nil, "one"):
		t.Error("a short signature was taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(NewNode().Public().String())
	f.Add(NewServer().Public().String())
	f.Add("node:zz")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ParseNodePublic(text); err == nil && !strings.EqualFold(p.String(), text) {
			t.Errorf("%q read as %q", text, p)
		}
		if _, err := ParseServerPublic(text); err != nil && len(text) > 20 && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats the text: %v", err)
		}
	})
}

func TestWhatIsDerivedServesOnePurpose(t *testing.T) {
	s := NewServer()
	back, err := ParseServer(s.Reveal())
	if err != nil || s.Derive("a") != back.Derive("a") {
		t.Errorf("after a restart it is another (%v)", err)
	}
	a := s.Derive("a")
	if a == s.Derive("b") || a == NewServer().Derive("a") || a == s.k || a == [Size]byte{} || bytes.Equal(a[:], s.Sign("a")[:Size]) {
		t.Error("what is derived serves more than one purpose, or is the key")
	}
}

func TestCommonKeysDiffer(t *testing.T) {
	s := NewServer()
	a, b := s.Common("one"), s.Common("two")
	other := NewServer().Common("one")
	sealed := a.Seal(nil, []byte("text"), nil)
	again, _ := ParseServer(s.Reveal())
	if text, ok := again.Common("one").Open(nil, sealed, nil); !ok || string(text) != "text" {
		t.Error("the same identity does not open it")
	}
	for name, k := range map[string]Shared{"another context": b, "another identity": other} {
		if _, ok := k.Open(nil, sealed, nil); ok {
			t.Errorf("%s opens it", name)
		}
	}
	if a.Tag("x", []byte("ab"), []byte("c")) == a.Tag("x", []byte("a"), []byte("bc")) || a.Tag("x") == a.Tag("y") {
		t.Error("tags of different things are one")
	}
	c := a.Challenge("x", []byte("1"))
	if c.Public() != a.Challenge("x", []byte("1")).Public() || c.Public() == a.Challenge("x", []byte("2")).Public() {
		t.Error("a challenge does not follow from its parts")
	}
	n := NewNode()
	proof, err := n.Prove(c.Public(), "p")
	if err != nil || !c.Check(n.Public(), proof, "p") {
		t.Errorf("a derived challenge proves nothing: %v", err)
	}
}

// BenchmarkServerSign is what each line of a netmap stream costs at the least.
func BenchmarkServerSign(b *testing.B) {
	s, body := NewServer(), make([]byte, 600)
	for b.Loop() {
		s.Sign("bench", body)
	}
}
