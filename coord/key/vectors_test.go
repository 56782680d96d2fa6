package key

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"testing"
)

// TestTheProbesVectorOpens opens the sealed probe of daemon/internal/disco/protocol.md: whose key disco has is never written
// anywhere, so that this is tested here.
func TestTheProbesVectorOpens(t *testing.T) {
	text, err := os.ReadFile("../../daemon/internal/disco/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string) []byte {
		m := regexp.MustCompile(`(?m)^` + name + `: *([0-9a-f]+)$`).FindSubmatch(text)
		if m == nil {
			t.Errorf("the page has no %s", name)
			return nil
		}
		b, err := hex.DecodeString(string(m[1]))
		if err != nil {
			t.Error(err)
		}
		return b
	}
	is := func(name string, got []byte) {
		t.Helper()
		if !bytes.Equal(value(name), got) {
			t.Errorf("%s is %x", name, got)
		}
	}
	a, b := Disco{secret{[Size]byte(bytes.Repeat([]byte{12}, Size))}}, Disco{secret{[Size]byte(bytes.Repeat([]byte{13}, Size))}}
	ap, bp := a.Public(), b.Public()
	is("sender public", ap[:])
	is("receiver public", bp[:])
	send, err1 := a.Shared(bp)
	open, err2 := b.Shared(ap)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	is("shared", open.k[:])
	header := append([]byte("Wrn\x01"), ap[:]...)
	datagram := value("datagram")
	if len(datagram) < len(header) || !bytes.Equal(datagram[:len(header)], header) {
		t.Fatalf("the datagram's header is another; a right one is %x", send.Seal(header, value("Ping"), header))
	}
	if body, ok := open.Open(nil, datagram[len(header):], header); !ok || !bytes.Equal(body, value("Ping")) {
		t.Errorf("it opens as %x, %v", body, ok)
	}
}
