package sock

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
	"github.com/warren-mesh/warren/relay/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what takes milliseconds.
const patience = 20 * time.Second

var testNetwork = coord.Network{
	Name: "test", IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd00::/48"),
}

// world is a relay or more, and what a coordination server would tell.
type world struct {
	t      testing.TB
	issuer key.Server
	relays []coord.Relay
	life   time.Duration // of the tickets
	stop   func()        // the first relay
	nodes  []*node

	loopback bool // machines that relay may be reached at 127.0.0.1, where others are not
}

// newWorld starts a relay. over is "udp" or "websocket".
func newWorld(t testing.TB, over string) *world {
	t.Helper()
	w := &world{t: t, issuer: key.NewServer(), life: time.Hour}
	w.stop = w.addRelay(over)
	return w
}

// addRelay starts a relay, and gives what stops it.
func (w *world) addRelay(over string) (stop func()) {
	t := w.t
	t.Helper()
	k := key.NewRelay()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ec.PublicKey, ec)
	if err != nil {
		t.Fatal(err)
	}
	pin := sha256.Sum256(der)
	cfg := server.Config{
		Key: k, Issuers: []key.ServerPublic{w.issuer.Public()}, HTTPS: "127.0.0.1:0",
		TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: ec}}},
	}
	if over == "udp" {
		cfg.UDP = "127.0.0.1:0"
	}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	is := coord.Relay{
		ID: coord.RelayID(len(w.relays) + 1), Name: "test", Key: k.Public(), Cert: pin[:],
		URL: fmt.Sprintf("https://%s%s", s.HTTPSAddr(), server.Path),
	}
	if over == "udp" {
		is.UDP = s.UDPAddr().String()
	}
	w.relays = append(w.relays, is)
	return stop
}

// node is a machine: a Sock, WireGuard on it, and a TUN that the test reads and writes.
type node struct {
	w     *world
	key   key.Node
	disco key.Disco
	addr  netip.Addr
	sock  *Sock
	dev   *device.Device
	tun   *tuntest.ChannelTUN
	stop  func()

	mu      sync.Mutex
	local   LocalEndpoints  // guarded by mu
	homes   []coord.RelayID // guarded by mu: all that were told, one after the other
	changed chan struct{}   // guarded by mu: closed after each event
	restart []PeerRestarted
}

func (w *world) node(direct bool) *node {
	w.t.Helper()
	n := &node{
		w: w, key: key.NewNode(), disco: key.NewDisco(), tun: tuntest.NewChannelTUN(), changed: make(chan struct{}),
		addr: netip.AddrFrom4([4]byte{100, 64, 0, byte(len(w.nodes) + 1)}),
	}
	w.nodes = append(w.nodes, n)
	n.sock = New(Config{Node: n.key, Disco: n.disco, Events: n.event, allowLoopback: direct || w.loopback, noLocal: !direct})
	n.dev = device.NewDevice(n.tun.TUN(), n.sock.Bind(), device.NewLogger(device.LogLevelSilent, ""))
	secret := n.key.Bytes()
	if err := n.dev.IpcSet("private_key=" + hex.EncodeToString(secret[:])); err != nil {
		w.t.Fatal(err)
	}
	if err := n.dev.Up(); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.sock.Run(ctx) }()
	n.stop = sync.OnceFunc(func() { n.dev.Close(); cancel(); <-done })
	w.t.Cleanup(n.stop)
	n.sock.SetNetwork(testNetwork)
	n.tellRelays()
	return n
}

func (n *node) tellRelays() {
	n.sock.SetRelays(slices.Clone(n.w.relays), relay.Ticket{Node: n.key.Public(), NotAfter: time.Now().Add(n.w.life)}.Sign(n.w.issuer))
}

// tellRelays tells every node which relays there are now.
func (w *world) tellRelays() {
	for _, n := range w.nodes {
		n.tellRelays()
	}
}

func (n *node) event(ev Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch ev := ev.(type) {
	case LocalEndpoints:
		n.local = ev
		if len(n.homes) == 0 || n.homes[len(n.homes)-1] != ev.Home {
			n.homes = append(n.homes, ev.Home)
		}
	case PeerRestarted:
		n.restart = append(n.restart, ev)
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// wait waits until it is so, looking after each event.
func (n *node) wait(what string, so func() bool) time.Duration {
	n.w.t.Helper()
	begun, limit := time.Now(), time.After(patience)
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		if so() {
			return time.Since(begun)
		}
		select {
		case <-changed:
		case <-limit:
			n.w.t.Fatalf("waited in vain for: %s; %+v", what, n.sock.Snapshot())
		}
	}
}

// until waits for what no event tells.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// published is what the node would tell the coordination server.
func (n *node) published() Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return Peer{Key: n.key.Public(), Disco: n.disco.Public(), Endpoints: n.local.Endpoints, Relay: n.local.Home}
}

func (n *node) home() *node {
	n.w.t.Helper()
	n.wait("a home relay", func() bool { return n.published().Relay != 0 })
	return n
}

// know tells the node of others, its Sock and WireGuard.
func (n *node) know(others ...*node) {
	n.w.t.Helper()
	var peers []Peer
	uapi := ""
	for _, o := range others {
		peers = append(peers, o.published())
		k := o.key.Public()
		uapi += fmt.Sprintf("public_key=%s\nendpoint=%s\nallowed_ip=%s/32\n", hex.EncodeToString(k[:]), k, o.addr)
	}
	n.sock.SetPeers(peers)
	if err := n.dev.IpcSet(uapi); err != nil {
		n.w.t.Fatal(err)
	}
}

func (n *node) path(o *node) PathStatus {
	for _, p := range n.sock.Snapshot().Peers {
		if p.Key == o.key.Public() {
			return p
		}
	}
	return PathStatus{}
}

// reaches sends a packet through WireGuard, and gives the time until it arrived.
func (n *node) reaches(o *node) time.Duration {
	n.w.t.Helper()
	begun := time.Now()
	n.tun.Outbound <- tuntest.Ping(o.addr, n.addr)
	select {
	case <-o.tun.Inbound:
		return time.Since(begun)
	case <-time.After(patience):
		n.w.t.Fatalf("a packet was lost; %+v", n.sock.Snapshot())
		return 0
	}
}

// tries sends a packet through WireGuard, and reports whether it arrived in time.
func (n *node) tries(o *node, patience time.Duration) bool {
	n.tun.Outbound <- tuntest.Ping(o.addr, n.addr)
	select {
	case <-o.tun.Inbound:
		return true
	case <-time.After(patience):
		return false
	}
}
