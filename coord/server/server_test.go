package server

import (
	"testing"

	"github.com/warren-mesh/warren/coord"
)

func TestTwoMachinesFindEachOther(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{Reusable: true})
	a, b := r.device(), r.device()
	a.join("alpha", k)
	mapsA, _ := a.follow(nil)
	m := until(t, mapsA, "the first netmap", func(m *coord.Netmap) bool { return m.Self.Online })
	if m.Self.Name != "alpha" || len(m.Self.Addrs) != 2 || m.Self.Addrs[0].String() != "100.64.0.1" || len(m.Ticket) == 0 {
		t.Fatalf("alpha sees itself as %+v", m.Self)
	}
	b.join("Beta.example.org", k)
	until(t, mapsA, "beta registered", func(m *coord.Netmap) bool { return peerNamed(m, "beta") != nil })
	mapsB, stopB := b.follow(nil)
	until(t, mapsB, "alpha", func(m *coord.Netmap) bool { p := peerNamed(m, "alpha"); return p != nil && p.Online })
	if err := b.Update(t.Context(), update(1000)); err != nil {
		t.Fatal(err)
	}
	until(t, mapsA, "beta's endpoint", func(m *coord.Netmap) bool {
		p := peerNamed(m, "beta")
		return p != nil && p.Online && len(p.Endpoints) == 1 && p.Endpoints[0].Addr.Port() == 1000
	})
	_ = stopB()
	until(t, mapsA, "beta offline", func(m *coord.Netmap) bool {
		p := peerNamed(m, "beta")
		return p != nil && !p.Online && !p.LastSeen.IsZero()
	})
	if err := b.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, mapsA, "beta gone", func(m *coord.Netmap) bool { return len(m.Peers) == 0 })
	wantCode(t, b.Update(t.Context(), update(1)), coord.CodeNotRegistered)
	wantCode(t, b.Netmap(t.Context(), nil, nil), coord.CodeNotRegistered)
}
