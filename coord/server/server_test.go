package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
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

func TestAOneUseKeyLetsOneOfFiftyIn(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{})
	var wg sync.WaitGroup
	var in, used atomic.Int32
	for i := range 50 {
		d := r.device()
		wg.Go(func() {
			_, err := d.Register(context.Background(), d.node, coord.RegisterRequest{Hostname: fmt.Sprint("m", i), AuthKey: k})
			switch {
			case err == nil:
				in.Add(1)
			case errors.Is(err, &coord.Error{Code: coord.CodeKeyUsed}):
				used.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 || used.Load() != 49 {
		t.Errorf("%d came in, %d were told that the key is used", in.Load(), used.Load())
	}
	if n := len(r.Machines()); n != 1 {
		t.Errorf("there are %d machines", n)
	}
}

func TestAMachineThatDidNotHearTheAnswerIsLetInAgain(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{})
	d := r.device()
	d.join("phone", k)
	again := r.deviceOf(d.mach, d.node)
	again.join("phone", k)
	reply, err := again.Register(t.Context(), again.node, coord.RegisterRequest{Hostname: "phone", AuthKey: k, Reauth: true})
	if err != nil || !reply.Registered {
		t.Errorf("with a login asked for: %+v, %v", reply, err)
	}
	if m := r.Machines(); len(m) != 1 || m[0].Name != "phone" {
		t.Errorf("there are %+v", m)
	}
	if err := d.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = d.Register(t.Context(), d.node, coord.RegisterRequest{Hostname: "phone", AuthKey: k})
	wantCode(t, err, coord.CodeKeyUsed)
}

func TestKeysThatDoNotOpen(t *testing.T) {
	clock := atomic.Int64{}
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	r := serveDir(t, dir, "127.0.0.1:0", Options{Now: func() time.Time { return time.Now().Add(time.Duration(clock.Load())) }})
	try := func(k string) error {
		d := r.device()
		_, err := d.Register(t.Context(), d.node, coord.RegisterRequest{Hostname: "m", AuthKey: k})
		return err
	}
	wantCode(t, try("wk_NOSUCHKEY"), coord.CodeKeyUnknown)
	revoked, id, err := r.CreateKey(t.Context(), KeyOptions{Reusable: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.RevokeKey(t.Context(), fmt.Sprint(id)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, try(revoked), coord.CodeKeyUnknown)
	k := r.authKey(KeyOptions{Expires: time.Minute})
	clock.Store(int64(time.Hour))
	wantCode(t, try(k), coord.CodeKeyExpired)
}

func TestWhatWasAcknowledgedIsThereAfterARestart(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	k := r.authKey(KeyOptions{User: "anna", Reusable: true})
	a, b := r.device(), r.device()
	a.join("alpha", k)
	b.join("beta", k)
	maps, stop := a.follow(nil)
	before := until(t, maps, "beta", func(m *coord.Netmap) bool { return peerNamed(m, "beta") != nil })
	if err := b.Update(t.Context(), update(777)); err != nil {
		t.Fatal(err)
	}
	until(t, maps, "beta's endpoint", func(m *coord.Netmap) bool { return len(peerNamed(m, "beta").Endpoints) == 1 })
	r.stop()
	if err := stop(); err == nil {
		t.Error("the stream outlived the server")
	}

	next := serveDir(t, r.dir, r.addr, Options{})
	maps, _ = a.follow(before) // same client, and the session that it has
	m := until(t, maps, "what it missed", func(m *coord.Netmap) bool { return m.Self.Online })
	if p := peerNamed(m, "beta"); p == nil || p.Addrs[0] != peerNamed(before, "beta").Addrs[0] || len(p.Endpoints) != 1 {
		t.Errorf("beta is %+v", p)
	}
	if m.Seq <= before.Seq || m.Self.Addrs[0] != before.Self.Addrs[0] || m.Self.User.Login != "anna" || m.Network != before.Network {
		t.Errorf("it is %+v", m.Self)
	}
	c := next.device()
	c.join("gamma", k)
	until(t, maps, "gamma", func(m *coord.Netmap) bool { return peerNamed(m, "gamma") != nil })
}

func TestAMachineThatComesBackHearsOnlyWhatItMissed(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{Reusable: true})
	a := r.device()
	a.join("alpha", k)
	for i := range 20 {
		r.device().join(fmt.Sprint("m", i), k)
	}
	maps, stop := a.follow(nil)
	have := until(t, maps, "all", func(m *coord.Netmap) bool { return len(m.Peers) == 20 && m.Self.Online })
	if err := stop(); err == nil {
		t.Error("the stream ended without an error")
	}
	if err := r.RemoveMachine(t.Context(), "m3"); err != nil {
		t.Fatal(err)
	}
	b := r.device()
	b.join("m3", k)
	base, body, _ := r.hub.st.Since(have.Self.ID, have.Seq)
	if base != nil || len(body) > 2000 {
		t.Errorf("it would hear %d bytes (whole: %v)", len(body), base)
	}
	maps, _ = a.follow(have)
	m := until(t, maps, "the new m3", func(m *coord.Netmap) bool { p := peerNamed(m, "m3"); return p != nil && p.Key == b.node.Public() })
	if len(m.Peers) != 20 {
		t.Errorf("it sees %d peers", len(m.Peers))
	}
}

func TestASlowReaderIsCutOffAndResyncs(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{Reusable: true})
	a, b := r.deviceWith(key.NewNode(), coord.ClientConfig{Machine: key.NewMachine(), Control: narrow}), r.device()
	a.join("alpha", k)
	b.join("beta", k)
	held, release := make(chan *coord.Netmap, 1), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- a.Netmap(context.Background(), nil, func(m *coord.Netmap) error {
			select {
			case held <- m:
				<-release
			default:
			}
			return nil
		})
	}()
	have := <-held
	var u coord.NodeUpdate
	for i := range uint16(16) {
		u.Endpoints = append(u.Endpoints, update(i+1).Endpoints...)
	}
	// More than all buffers on the way hold.
	for i := 0; len(streamsOf(r)) > 0; i++ {
		if i > 200_000 {
			t.Fatal("it was never cut off")
		}
		u.Relay = coord.RelayID(i%2 + 1)
		r.said(2, u)
	}
	close(release)
	if err := <-done; err == nil {
		t.Error("its stream ended without an error")
	}
	maps, _ := a.follow(have)
	until(t, maps, "the last change", func(m *coord.Netmap) bool { p := peerNamed(m, "beta"); return p != nil && p.Relay == u.Relay })
}

// narrow has the kernel keep for a socket only the little that it must.
func narrow(_, _ string, conn syscall.RawConn) (err error) {
	e := conn.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	return errors.Join(e, err)
}

func streamsOf(r *running) []coord.NodeID {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	var ids []coord.NodeID
	for id, p := range r.hub.here {
		if p.stream != nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// said tells all at once what a machine says of itself: nothing is gathered.
func (r *running) said(id coord.NodeID, u coord.NodeUpdate) {
	r.t.Helper()
	err := r.hub.store.WriteSoft(r.t.Context(), func(tx store.Tx) error {
		_, err := tx.SetSoft(store.Soft{ID: id, Said: &u})
		return err
	})
	if err == nil {
		err = r.hub.catchUp(r.t.Context())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.hub.flush()
}

func TestANodeKeyIsOneMachines(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{Reusable: true})
	a := r.device()
	a.join("alpha", k)
	thief := r.deviceOf(key.NewMachine(), a.node)
	_, err := thief.Register(t.Context(), a.node, coord.RegisterRequest{Hostname: "alpha", AuthKey: k})
	wantCode(t, err, coord.CodeNodeKeyTaken)

	maps, _ := a.follow(nil)
	was := until(t, maps, "itself", func(m *coord.Netmap) bool { return m.Self.Key == a.node.Public() })
	other := key.NewNode()
	if reply, err := a.Register(t.Context(), other, coord.RegisterRequest{Hostname: "alpha"}); err != nil || !reply.Registered {
		t.Fatalf("Register = %+v, %v", reply, err)
	}
	now := until(t, maps, "the new key and its ticket", func(m *coord.Netmap) bool {
		return m.Self.Key == other.Public() && !bytes.Equal(m.Ticket, was.Ticket)
	})
	ticket, err := relay.VerifyTicket(now.Ticket, time.Now(), r.Key())
	if err != nil || ticket.Node != other.Public() || time.Until(ticket.NotAfter) < 6*24*time.Hour {
		t.Errorf("ticket %+v, %v", ticket, err)
	}
	if now.Self.ID != was.Self.ID || now.Self.Addrs[0] != was.Self.Addrs[0] {
		t.Errorf("it became %+v", now.Self)
	}
}

func TestAMachineKeepsItsPlaceOverALogout(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.user("bert", "correct horse")
	annas := r.authKey(KeyOptions{User: "anna", Reusable: true})
	a := r.device()
	a.join("laptop", annas)
	first := r.Machines()[0]
	if err := a.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := r.device()
	b.join("laptop", annas)
	a.join("laptop", annas)
	again, err := r.machineNamed("laptop")
	if err != nil || again.Node.ID != first.ID || again.Node.Addrs[0] != first.Addrs[0] {
		t.Errorf("it came back as %+v", again.Node)
	}
	if _, err := r.machineNamed("laptop-2"); err != nil {
		t.Error("the other one is not laptop-2")
	}
	if err := a.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.join("laptop", r.authKey(KeyOptions{User: "bert"}))
	bert := r.Machines()[1]
	if bert.User.Login != "bert" || bert.ID == first.ID || bert.Addrs[0] == first.Addrs[0] {
		t.Errorf("another person's login gave it %+v", bert)
	}
}

func TestAnExpiredMachineIsGoneForItsPeersAndTold(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{Reusable: true})
	a, b := r.device(), r.device()
	a.join("alpha", k)
	b.join("beta", k)
	mapsA, _ := a.follow(nil)
	_, stopB := b.follow(nil)
	until(t, mapsA, "beta online", func(m *coord.Netmap) bool { p := peerNamed(m, "beta"); return p != nil && p.Online })
	if err := r.ExpireMachine(t.Context(), "beta"); err != nil {
		t.Fatal(err)
	}
	until(t, mapsA, "beta gone", func(m *coord.Netmap) bool { return len(m.Peers) == 0 })
	_ = stopB()
	wantCode(t, b.Update(t.Context(), update(1)), coord.CodeExpired)
	wantCode(t, b.Netmap(t.Context(), nil, nil), coord.CodeExpired)
	if s, err := b.Connect(t.Context()); err != nil || !s.Registered || !s.Expired {
		t.Errorf("its session is %+v, %v", s, err)
	}
	b.join("beta", r.authKey(KeyOptions{}))
	until(t, mapsA, "beta back", func(m *coord.Netmap) bool { return peerNamed(m, "beta") != nil })
}

func TestASmallNetworkFillsUpAndSparesAddresses(t *testing.T) {
	dir := t.TempDir()
	o := InitOptions{URL: "https://127.0.0.1:1", IPv4: netip.MustParsePrefix("100.100.100.96/29")} // .97 to .101, but not .100; .102 is the resolver's
	if err := Init(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	clock := atomic.Int64{}
	r := serveDir(t, dir, "127.0.0.1:0", Options{Now: func() time.Time { return time.Now().Add(time.Duration(clock.Load())) }})
	k := r.authKey(KeyOptions{Reusable: true, Expires: maxKeyLife})
	for range 4 {
		r.device().join("m", k)
	}
	got := []string{}
	for _, m := range r.Machines() {
		got = append(got, m.Addrs[0].String())
	}
	if fmt.Sprint(got) != "[100.100.100.97 100.100.100.98 100.100.100.99 100.100.100.101]" {
		t.Errorf("addresses %v", got)
	}
	full := r.device()
	_, err := full.Register(t.Context(), full.node, coord.RegisterRequest{Hostname: "m", AuthKey: k})
	wantCode(t, err, coord.CodeFull)
	for _, name := range []string{"m-3", "m-2"} { // their addresses rest, until nothing else is left: then the one that rested longest comes back
		if err := r.RemoveMachine(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		clock.Add(int64(time.Minute))
	}
	full.join("m", k)
	if m, err := r.machineNamed("m-2"); err != nil || m.Node.Addrs[0].String() != "100.100.100.99" {
		t.Errorf("of two that rest: %+v, %v", m.Node, err)
	}
	if err := r.RemoveMachine(t.Context(), "m-2"); err != nil {
		t.Fatal(err)
	}
	clock.Add(int64(addressQuiet + time.Hour))
	r.device().join("m", k)
	if m, err := r.machineNamed("m-2"); err != nil || m.Node.Addrs[0].String() != "100.100.100.98" {
		t.Errorf("after the quiet time: %+v, %v", m.Node, err)
	}
}

func TestAMachineThatCallsItselfByAnothersNumberIsNotTakenForIt(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{Reusable: true})
	r.device().join("precious", k) // machine 1
	r.device().join("1", k)        // machine 2
	if err := r.RemoveMachine(t.Context(), "1"); !errors.Is(err, coord.ErrInvalid) {
		t.Errorf("RemoveMachine = %v", err)
	}
	if err := r.RemoveMachine(t.Context(), "#2"); err != nil {
		t.Error(err)
	}
	if all := r.Machines(); len(all) != 1 || all[0].Name != "precious" {
		t.Errorf("left are %+v", all)
	}
}

// A clock that was years ahead, as after a flat battery, expires no machine for longer than it is.
func TestAClockThatIsSetBackMakesExpiredMachinesMembersAgain(t *testing.T) {
	r := serve(t)
	r.stop()
	var ahead atomic.Int64
	r = serveDir(t, r.dir, "127.0.0.1:0", Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	r.user("anna", "correct horse")
	k := r.authKey(KeyOptions{User: "anna", Reusable: true})
	a, b := r.device(), r.device()
	a.join("a", k)
	b.join("b", k)
	ahead.Store(int64(2 * keyLife))
	wantCode(t, a.Update(t.Context(), update(1)), coord.CodeExpired)
	r.hub.flush()
	eventually(t, "both have expired", func() bool {
		n := 0
		for m := range r.hub.view().Members() {
			if m.Expired {
				n++
			}
		}
		return n == 2
	})
	ahead.Store(int64(keyLife - time.Minute)) // as that of another server may be, which does not take it back
	seq := r.hub.view().Seq
	wantCode(t, a.Update(t.Context(), update(1)), coord.CodeExpired)
	if now := r.hub.view().Seq; now != seq {
		t.Errorf("a clock that is a little behind changed something: %d became %d", seq, now)
	}
	ahead.Store(0)
	mapsA, _ := a.follow(nil)
	mapsB, _ := b.follow(nil)
	until(t, mapsA, "b", func(m *coord.Netmap) bool { return peerNamed(m, "b") != nil })
	until(t, mapsB, "a", func(m *coord.Netmap) bool { return peerNamed(m, "a") != nil })
}
