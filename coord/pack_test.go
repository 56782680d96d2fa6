package coord

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"testing/iotest"

	"github.com/warren-mesh/warren/coord/key"
)

// bigUpdate is a whole netmap of n machines.
func bigUpdate(n int) []byte {
	m := Netmap{Network: testNetwork}
	for i := range n {
		node := Node{ID: NodeID(i + 1), Name: fmt.Sprint("m", i), Key: key.NewNode().Public(), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})}}
		if i == 0 {
			m.Self = node
		} else {
			m.Peers = append(m.Peers, node)
		}
	}
	text, _ := json.Marshal(Update{Full: &m})
	return text
}

// TestPackedLinesAreReadAsOthers sends packed and plain lines, and heartbeats between, in pieces of all sizes.
func TestPackedLinesAreReadAsOthers(t *testing.T) {
	server, me := key.NewServer(), Stream{Machine: key.NewMachine().Public(), Nonce: []byte("n")}
	var stream []byte
	var bodies [][]byte
	for i, n := range []int{100, 1, 50, 2000, 1} {
		body := bigUpdate(n)
		bodies = append(bodies, body)
		stream = (&Line{Seq: uint64(i + 1), Body: Pack(body)}).Append(stream, server, me)
		stream = append(stream, '\n')
	}
	if size := len(bigUpdate(2000)); len(stream) > size {
		t.Errorf("they are %d bytes, more than the largest was (%d)", len(stream), size)
	}
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream)), "halves": iotest.HalfReader(bytes.NewReader(stream)),
	} {
		lines := &lineReader{r: bufio.NewReaderSize(r, 16<<10), beat: func() {}}
		for i, body := range bodies {
			text, err := lines.next()
			if err != nil {
				t.Fatal(name, err)
			}
			l, err := ParseLine(text, server.Public(), me)
			if err != nil {
				t.Fatal(name, err)
			}
			if got, err := l.Text(); err != nil || !bytes.Equal(got, body) || l.Seq != uint64(i+1) {
				t.Fatalf("%s: line %d has %d bytes, not %d (%v)", name, l.Seq, len(got), len(body), err)
			}
			if m, err := l.Advance(nil); err != nil || m.Seq != l.Seq {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := lines.next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the last line: %v", name, err)
		}
	}
}

func TestPackedLinesAreHeldToTheirBounds(t *testing.T) {
	server, me := key.NewServer(), Stream{Nonce: []byte("n")}
	good := (&Line{Seq: 1, Body: Pack(bigUpdate(100))}).Append(nil, server, me)
	if _, err := ParseLine(good, server.Public(), me); err != nil {
		t.Fatal(err)
	}
	head, body, _ := bytes.Cut(good, []byte("\n"))
	at := bytes.LastIndexByte(head, '#') + 1
	for name, line := range map[string][]byte{
		"cut short":      good[:len(good)-2],
		"longer":         append(bytes.Clone(good), "x\n"...),
		"another length": append(append(append(bytes.Clone(head[:at]), "7\n"...), body...), '\n'),
		"no length":      append(append(append(bytes.Clone(head[:at]), "x\n"...), body...), '\n'),
		"a huge length":  append(append(append(bytes.Clone(head[:at]), "99999999999\n"...), body...), '\n'),
		"a minus":        append(append(append(bytes.Clone(head[:at]), "-1\n"...), body...), '\n'),
		"no body":        append(bytes.Clone(head), '\n'),
		"JSON behind":    append(append(bytes.Clone(head[:at]), "2\n{}"...), '\n'),
	} {
		if _, err := ParseLine(line, server.Public(), me); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		r := &lineReader{r: bufio.NewReader(bytes.NewReader(line)), beat: func() {}}
		if text, err := r.next(); err == nil {
			if _, err := ParseLine(text, server.Public(), me); err == nil && name != "longer" {
				t.Errorf("%s: the reader takes it", name)
			}
		}
	}
	forged := bytes.Clone(good)
	forged[len(forged)-3] ^= 1
	if _, err := ParseLine(forged, server.Public(), me); !errors.Is(err, ErrForged) {
		t.Errorf("another body: %v", err)
	}

	bomb := packer().EncodeAll(make([]byte, MaxLine+1), nil)
	if _, err := (&Line{Seq: 1, Body: bomb}).Text(); !errors.Is(err, ErrInvalid) {
		t.Errorf("%d bytes that unpack to more than a line may have: %v", len(bomb), err)
	}
	if _, err := (&Line{Seq: 1, Body: append(bytes.Clone(packMagic), "nonsense"...)}).Advance(nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("nonsense: %v", err)
	}
}

func TestSmallBodiesStayAsTheyAre(t *testing.T) {
	small, random := bigUpdate(1), make([]byte, 4*minPack)
	k := key.NewServer()
	for i := 0; i < len(random); i += 64 {
		copy(random[i:], k.Sign("random", []byte{byte(i >> 6)}))
	}
	if !bytes.Equal(Pack(small), small) || !bytes.Equal(Pack(random), random) {
		t.Error("what does not get shorter is packed")
	}
}

// FuzzText unpacks anything: it is refused, or within the bounds.
func FuzzText(f *testing.F) {
	f.Add(Pack(bigUpdate(20)))
	f.Add(packMagic)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if text, err := (&Line{Body: body}).Text(); err == nil && len(text) > MaxLine || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%d bytes, %v", len(text), err)
		}
	})
}
