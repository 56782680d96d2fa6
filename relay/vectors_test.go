package relay

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/packaging/manual/documents"
)

// TestTheProtocolsVectorsAreOurs holds the test vectors of protocol.md to what this package makes and takes. What is sealed
// has a random nonce: it is opened.
func TestTheProtocolsVectorsAreOurs(t *testing.T) {
	text, err := os.ReadFile("protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	v := documents.Page{Text: string(text)}.Vectors()
	is := func(name string, got []byte) {
		t.Helper()
		if v[name] != hex.EncodeToString(got) {
			t.Errorf("%s: the page has %q, and it is %x", name, v[name], got)
		}
	}
	of := func(c byte) []byte { return bytes.Repeat([]byte{c}, 32) }
	server, err1 := key.ParseServer("server-private:" + hex.EncodeToString(of(1)))
	node, err2 := key.ParseNode("node-private:" + hex.EncodeToString(of(3)))
	own, err3 := key.ParseRelay("relay-private:" + hex.EncodeToString(of(8)))
	client, err4 := node.Shared(own.Public())
	serve, err5 := own.Shared(node.Public())
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || err5 != nil {
		t.Fatal(err1, err2, err3, err4, err5)
	}
	nodeKey, relayKey := node.Public(), own.Public()
	is("node public", nodeKey[:])
	is("relay public", relayKey[:])
	is("node as relay, public", relayByHand(t, of(3)))
	if as := node.Relay().Public(); !bytes.Equal(as[:], relayByHand(t, of(3))) {
		t.Errorf("the node is the relay %x", as)
	}
	is("shared", sharedByHand(t, of(3), relayKey[:], "warren relay v1"))

	nonce, cookie, tag := Nonce(of(9)), Cookie(of(10)), Tag(of(11))
	ticket := Ticket{Node: nodeKey, NotAfter: time.Unix(1767225600, 0)}.Sign(server)
	is("ticket", ticket)
	is("Data", AppendTrailer([]byte("packet"), AddressOf(nodeKey), tag))
	filled := func(name string, frame []byte, said int) {
		t.Helper()
		zeros, last := frame[said:len(frame)-1], frame[len(frame)-1]
		if len(frame) != 1329 || len(bytes.Trim(zeros, "\x00")) > 0 {
			t.Errorf("%s: %x", name, frame)
		}
		is(name, append(frame[:said:said], last))
	}
	filled("Hello", AppendHello(nil, relayKey, nonce), 1+8+16)
	filled("Challenge", AppendChallenge(nil, nonce, cookie), 8+24)

	from := func(name string, fresh []byte) []byte {
		t.Helper()
		b, err := hex.DecodeString(v[name])
		if err != nil || len(b) != len(fresh) {
			t.Errorf("%s: %v, or it has another length; a right one is %x", name, err, fresh)
			return nil
		}
		return b
	}
	if j, ok := ParseJoin(from("Join", AppendJoin(nil, client, cookie, ticket))); !ok || j.Cookie != cookie || !bytes.Equal(j.Ticket, ticket) || !j.Open(serve) {
		t.Error("the Join is not taken")
	}
	want := Welcome{Tag: tag, Observed: netip.MustParseAddrPort("203.0.113.7:41641"), Idle: time.Minute}
	if w, ok := OpenWelcome(from("Welcome", AppendWelcome(nil, serve, cookie, want)), client, cookie); !ok || w != want {
		t.Errorf("the Welcome is not taken: %+v", w)
	}
	if p, ok := OpenPing(from("Ping", AppendPing(nil, client, tag, Ping{Counter: 1})), serve); !ok || p.Counter != 1 {
		t.Error("the Ping is not taken")
	}
	if p, ok := OpenPong(from("Pong", AppendPong(nil, serve, tag, Pong{Counter: 1, Observed: want.Observed})), client); !ok || p.Counter != 1 || p.Observed != want.Observed {
		t.Errorf("the Pong is not taken: %+v", p)
	}
	if n, ok := OpenLeave(from("Leave", AppendLeave(nil, client, tag, 2)), serve); !ok || n != 2 {
		t.Error("the Leave is not taken")
	}
	if why, ok := OpenBye(from("Bye", AppendBye(nil, serve, tag, ReasonReplaced)), client); !ok || why != ReasonReplaced {
		t.Error("the Bye is not taken")
	}
	if left, ok := OpenDrain(from("Drain", AppendDrain(nil, serve, tag, 30*time.Second)), client); !ok || left != 30*time.Second {
		t.Error("the Drain is not taken")
	}
	if why, ok := OpenRefused(from("Refused", AppendRefused(nil, serve, cookie, ReasonFull)), client, cookie); !ok || why != ReasonFull {
		t.Error("the Refused is not taken")
	}
	data, absent := AppendTrailer([]byte("packet"), AddressOf(nodeKey), tag), AppendAbsent(nil, AddressOf(nodeKey), tag)
	is("Absent", absent)
	is("message", append(append(appendUint16(nil, len(data)), data...), append(appendUint16(nil, len(absent)), absent...)...))
}

// relayByHand works out which relay a node is, with nothing of ours.
func relayByHand(t *testing.T, private []byte) []byte {
	t.Helper()
	mac := hmac.New(sha256.New, private)
	mac.Write([]byte("warren node relay v1"))
	k, err := ecdh.X25519().NewPrivateKey(mac.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	return k.PublicKey().Bytes()
}

// sharedByHand works the key in common out with nothing of ours.
func sharedByHand(t *testing.T, private, public []byte, context string) []byte {
	t.Helper()
	ours, err1 := ecdh.X25519().NewPrivateKey(private)
	theirs, err2 := ecdh.X25519().NewPublicKey(public)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	dh, err := ours.ECDH(theirs)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, dh)
	mac.Write([]byte(context))
	return mac.Sum(nil)
}
