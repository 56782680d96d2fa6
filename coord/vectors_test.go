package coord

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/packaging/manual/documents"
)

// TestTheProtocolsVectorsAreOurs holds the test vectors of protocol.md to what this package makes and takes.
func TestTheProtocolsVectorsAreOurs(t *testing.T) {
	text, err := os.ReadFile("protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	v := documents.Page{Text: string(text)}.Vectors()
	is := func(name, got string) {
		t.Helper()
		if v[name] != got {
			t.Errorf("%s: the page has %q, and it is %s", name, v[name], got)
		}
	}
	of := func(c byte) []byte { return bytes.Repeat([]byte{c}, 32) }
	server, err1 := key.ParseServer("server-private:" + hex.EncodeToString(of(1)))
	machine, err2 := key.ParseMachine("machine-private:" + hex.EncodeToString(of(2)))
	node, err3 := key.ParseNode("node-private:" + hex.EncodeToString(of(3)))
	other, err4 := key.ParseNode("node-private:" + hex.EncodeToString(of(4)))
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		t.Fatal(err1, err2, err3, err4)
	}
	is("server", server.Public().String())
	is("fingerprint", server.Public().Short())
	is("machine", machine.Public().String())
	is("node", node.Public().String())
	challenge := key.ChallengePublic(other.Public())
	is("challenge", challenge.String())
	is("message", hex.EncodeToString(key.Message("warren test v1", []byte("ab"), []byte("c"))))

	hello := Hello{Nonce: of(6), Cert: of(7), Challenge: challenge}
	hello.Sign(server, of(5))
	is("hello sig", hex.EncodeToString(hello.Sig))
	session := SessionRequest{Nonce: of(6), ClientNonce: of(5)}
	session.Sign(machine, server.Public())
	is("session sig", hex.EncodeToString(session.Sig))
	stream := Stream{Machine: machine.Public(), Nonce: of(6)}
	var register RegisterRequest
	if err := register.Prove(node, challenge, stream); err != nil {
		t.Fatal(err)
	}
	is("register proof", hex.EncodeToString(register.Proof))
	line := Line{Seq: 1767225600001, Prev: 1767225600000, Body: []byte(`{"changes":[{"remove":7}]}`)}
	is("line", strings.TrimSuffix(string(line.Append(nil, server, stream)), "\n"))
	if l, err := ParseLine([]byte(v["line"]), server.Public(), stream); err != nil || l.Seq != line.Seq {
		t.Errorf("the line is not taken: %v", err)
	}
	is("invite", FormatInvite("https://coord.example.org", server.Public()))
}

func TestTheProtocolsNetmapIsOne(t *testing.T) {
	text, err := os.ReadFile("protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range (documents.Page{Text: string(text)}).Fences() {
		if f.Info != "json" {
			continue
		}
		found++
		var m Netmap
		d := json.NewDecoder(strings.NewReader(f.Text))
		d.DisallowUnknownFields()
		if err := d.Decode(&m); err != nil {
			t.Error(err)
		} else if err := m.Validate(); err != nil {
			t.Error(err)
		}
	}
	if found != 1 {
		t.Errorf("the page has %d of them", found)
	}
}
