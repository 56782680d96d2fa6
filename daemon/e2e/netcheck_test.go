package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// netcheck is what warren netcheck --json says on a machine.
func netcheck(t *testing.T, n *mesh.Node) (r ipc.Netcheck) {
	t.Helper()
	if err := json.Unmarshal([]byte(n.MustWarren("netcheck", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNetcheckTellsEveryKindOfNetwork(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	for _, c := range []struct {
		name      string
		nat       lab.NAT
		options   []lab.RouterOption
		mapping   ipc.Behavior
		filtering ipc.Behavior
		is        ipc.Known // there is a NAT
		hairpin   ipc.Known // "": not looked at, see lab's own test
		kind      string
	}{
		{"open", lab.NoNAT, nil, ipc.NoTranslation, ipc.AddressOrLess, ipc.No, ipc.Unknown, "no NAT"},
		{"firewall", lab.Firewall, nil, ipc.NoTranslation, ipc.PortDependent, ipc.No, ipc.Unknown, "firewall"},
		{"easy", lab.EasyNAT, []lab.RouterOption{lab.WithIPv6()}, ipc.AddressOrLess, ipc.PortDependent, ipc.Yes, ipc.No, "easy NAT"},
		{"cone", lab.FullCone, []lab.RouterOption{lab.Hairpin()}, ipc.AddressOrLess, ipc.AddressOrLess, ipc.Yes, "", "open NAT"},
		{"restricted", lab.Restricted, nil, ipc.AddressOrLess, ipc.AddressOrLess, ipc.Yes, ipc.No, "open NAT"},
		{"hard", lab.HardNAT, nil, ipc.PortDependent, ipc.PortDependent, ipc.Yes, ipc.No, "hard NAT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := n.Internet().Router("r-"+c.name, c.nat, c.options...)
			alice := m.Node(home.Host("a-" + c.name[:4]))
			alice.Up(m.Coord.Key())
			r := netcheck(t, alice)
			f := r.IPv4
			if r.UDP != ipc.Yes || f.Mapping != c.mapping || f.Filtering != c.filtering || f.NAT != c.is || (c.hairpin != "" && f.Hairpin != c.hairpin) || !strings.Contains(r.Kind, c.kind) {
				t.Errorf("%+v\n%s", f, r.Kind)
			}
			if c.is == ipc.Yes && f.Public != home.Machine.Addr() || f.PathMTU != 1500 {
				t.Errorf("seen at %v with packets of %d", f.Public, f.PathMTU)
			}
			if len(r.Relays) != 1 || !r.Relays[0].Home || r.Relays[0].IPv4 == 0 || r.Relays[0].TCP == 0 {
				t.Errorf("relays %+v", r.Relays)
			}
			if r.Portal.Found == ipc.Yes || len(r.Mapping) != 3 || r.Mapping[0].Answers != ipc.No {
				t.Errorf("%+v %+v", r.Portal, r.Mapping)
			}
			if r.IPv6.Local != alice.Addr6() || r.IPv6.UDP != ipc.Unknown {
				t.Errorf("where no relay has IPv6: %+v", r.IPv6)
			}
			if c.name == "easy" {
				t.Log(alice.MustWarren("netcheck"))
				home.DropUDP()
				if r := netcheck(t, alice); r.UDP != ipc.No || r.Relays[0].TCP == 0 || len(r.Advice) != 1 {
					t.Errorf("without UDP: %+v", r)
				}
			}
		})
	}
}
