package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/warren-mesh/warren/coord"
)

// What the oracle says of random networks, for who sends the packets for real: one file for each, the network in the
// form that 'warren-coord policy compile' reads.
type wireWorld struct {
	Policy  string        `json:"policy"`
	Network wireNetwork   `json:"network"`
	Packets []wireVerdict `json:"packets"`
}

type wireNetwork struct {
	IPv4     netip.Prefix  `json:"ipv4"`
	IPv6     netip.Prefix  `json:"ipv6"`
	Users    []wireUser    `json:"users"`
	Machines []wireMachine `json:"machines"`
}

type wireUser struct {
	Login string `json:"login"`
	Role  string `json:"role"`
}

type wireMachine struct {
	Name   string         `json:"name"`
	User   string         `json:"user,omitempty"`
	Tags   []string       `json:"tags,omitempty"`
	Addrs  []netip.Addr   `json:"addrs"`
	Routes []netip.Prefix `json:"routes,omitempty"`
}

// wireVerdict is a packet that comes to a machine, and whether it may come in.
type wireVerdict struct {
	To     string       `json:"to"`
	Packet coord.Packet `json:"packet"`
	Let    bool         `json:"let"`
}

// TestTheOracleSpeaksOfPacketsOnTheWire writes worlds into WARREN_TEST_WORLDS; daemon/internal/firewall sends the packets.
func TestTheOracleSpeaksOfPacketsOnTheWire(t *testing.T) {
	dir, count := os.Getenv("WARREN_TEST_WORLDS"), 20
	if dir == "" {
		dir = t.TempDir()
	}
	if n, err := strconv.Atoi(os.Getenv("WARREN_TEST_FILTERS")); err == nil {
		count = n
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	let, all := 0, 0
	for i := range count {
		w := wireWorldOf(r)
		text, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("world%d.json", i)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		all += len(w.Packets)
		for _, p := range w.Packets {
			if p.Let {
				let++
			}
		}
	}
	if let < all/50 || let > all*9/10 {
		t.Errorf("seed %d: %d of %d packets may come in: that proves little", seed, let, all)
	}
}

func wireWorldOf(r *rand.Rand) (out wireWorld) {
	w := drawWorld(r)
	logins := map[int64]string{}
	out.Network.IPv4, out.Network.IPv6 = w.IPv4, w.IPv6
	for _, u := range w.Users {
		logins[u.ID] = u.Login
		out.Network.Users = append(out.Network.Users, wireUser{u.Login, u.Role})
	}
	for i := range w.Machines {
		m := &w.Machines[i]
		if logins[m.User] == "" || len(m.Tags) > 0 {
			m.User = 0 // a description has no users who are gone
		}
		slices.SortFunc(m.Routes, netip.Prefix.Compare)
		out.Network.Machines = append(out.Network.Machines, wireMachine{wireName(m), logins[m.User], m.Tags, m.Addrs, m.Routes})
	}
	out.Policy = w.text()
	for i := range w.Machines {
		out.Packets = append(out.Packets, w.wirePackets(r, &w.Machines[i])...)
	}
	return out
}

func wireName(m *Machine) string { return fmt.Sprint("m", m.ID) }

// wirePackets draws packets for a machine, most of them to what it leads to: all that may come in, and some that may not.
func (w *world) wirePackets(r *rand.Rand, to *Machine) (out []wireVerdict) {
	leads := slices.DeleteFunc(slices.Clone(universe), func(a netip.Addr) bool { return len(w.ways(to, a)) == 0 })
	denied := 0
	for range 1500 {
		p := coord.Packet{From: one(r, universe), To: one(r, leads)}
		if r.IntN(10) == 0 {
			p.To = one(r, universe)
		}
		if r.IntN(4) > 0 {
			p.From = one(r, one(r, w.Machines).Addrs)
		}
		probe := one(r, probes)
		p.Proto, p.Port = probe.proto, probe.port
		if p.From.Is4() != p.To.Is4() || p.Proto == coord.ProtoICMP && p.To.Is6() || p.Proto == coord.ProtoICMPv6 && p.To.Is4() {
			continue // there is no such packet
		}
		comes, let := w.fromSomebody(to, p)
		if !comes || len(w.ways(to, p.From)) > 0 {
			continue // the tunnel lets none come from there; or it claims to come from where it goes
		}
		if !let {
			denied++
		}
		if let || denied < 150 {
			out = append(out, wireVerdict{wireName(to), p, let})
		}
	}
	return out
}

// fromSomebody reports whether the packet can come from another machine, or from behind it, and whether from any that may
// send it. The internet begins nothing.
func (w *world) fromSomebody(to *Machine, p coord.Packet) (comes, may bool) {
	for i := range w.Machines {
		from := &w.Machines[i]
		if from.ID != to.ID && slices.ContainsFunc(w.ways(from, p.From), func(way *netip.Prefix) bool { return way == nil || way.Bits() > 0 }) {
			comes, may = true, may || w.allowed(from, to, p) >= 0
		}
	}
	return comes, may
}
