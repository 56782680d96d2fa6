package disco

import (
	"encoding/hex"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/packaging/manual/documents"
)

// TestTheProtocolsBodiesAreOurs holds the bodies in protocol.md to what this package makes and reads. That they are sealed as
// the page says is tested beside the keys.
func TestTheProtocolsBodiesAreOurs(t *testing.T) {
	text, err := os.ReadFile("protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	v := documents.Page{Text: string(text)}.Vectors()
	node := key.NodePublic{}
	for i := range node {
		node[i] = 3
	}
	v4, v6 := netip.MustParseAddrPort("203.0.113.7:41641"), netip.MustParseAddrPort("[2001:db8::7]:9")
	for name, m := range map[string]Message{
		"Ping":           Ping{Seq: 1, Node: node},
		"Pong":           Pong{Seq: 2, Echo: 1, Observed: v4},
		"Pong, by relay": Pong{Seq: 3, Echo: 1},
		"Meet":           Meet{Seq: 5, Stream: true, Relays: []MeetRelay{{Node: 7, Latency: 1500 * time.Microsecond}}},
		"CallMe":         CallMe{Seq: 4, Endpoints: []netip.AddrPort{v4, v6}},
	} {
		if want := hex.EncodeToString(m.appendTo(nil)); v[name] != want {
			t.Errorf("%s: the page has %q, and it is %s", name, v[name], want)
		}
		body, _ := hex.DecodeString(v[name])
		if got, err := Parse(body); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s reads as %#v, %v", name, got, err)
		}
	}
}
