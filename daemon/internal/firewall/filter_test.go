package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/internal/journal"
)

// wire is the far end of a tunnel: what is written to it comes out of the host's interface.
type wire struct{ fd int }

// newWire gives the tests' own network a tunnel with the machine's addresses.
func newWire(t testing.TB) *wire {
	t.Helper()
	lab.NeedRoot(t)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	req, _ := unix.NewIfreq(tun)
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	sh(t, "set -e; ip link set "+tun+" addrgenmode none; ip link set "+tun+" up; ip addr add "+host4.String()+"/32 dev "+tun+
		"; ip addr add "+host6.String()+"/128 dev "+tun+" nodad")
	t.Cleanup(func() { sh(t, "nft flush ruleset") })
	return &wire{fd}
}

func (w *wire) send(t testing.TB, packet []byte) {
	t.Helper()
	for {
		_, err := unix.Write(w.fd, packet)
		switch err {
		case nil:
			return
		case unix.EAGAIN, unix.EINTR:
			time.Sleep(time.Millisecond)
		default:
			t.Fatalf("write %x: %v", packet, err)
		}
	}
}

// packet makes the first packet of a flow. Its number is IPv4's identification, or IPv6's flow label.
func packet(p coord.Packet, number uint16) []byte {
	return ipPacket(p.From, p.To, p.Proto, number, payload(p))
}

func payload(p coord.Packet) []byte {
	var b []byte
	switch p.Proto {
	case coord.ProtoTCP:
		b = make([]byte, 20)
		b[12], b[13] = 5<<4, 0x02 // SYN
	case coord.ProtoSCTP:
		b = make([]byte, 32)
		b[12], b[15] = 1, 20 // INIT
	case coord.ProtoUDP:
		b = make([]byte, 8)
		binary.BigEndian.PutUint16(b[4:], 8)
	case coord.ProtoICMP:
		b = []byte{8, 0, 0, 0, 0, 1, 0, 1}
	case coord.ProtoICMPv6:
		b = []byte{128, 0, 0, 0, 0, 1, 0, 1}
	default:
		b = make([]byte, 16)
	}
	if coord.HasPorts(p.Proto) {
		binary.BigEndian.PutUint16(b, 40000)
		binary.BigEndian.PutUint16(b[2:], p.Port)
	}
	return b
}

// ipPacket makes a packet with its checksums.
func ipPacket(from, to netip.Addr, proto uint8, number uint16, b []byte) []byte {
	b = slices.Clone(b)
	pseudo := slices.Concat(from.AsSlice(), to.AsSlice(), []byte{0, proto, byte(len(b) >> 8), byte(len(b))})
	switch proto {
	case coord.ProtoTCP:
		binary.BigEndian.PutUint16(b[16:], checksum(pseudo, b))
	case coord.ProtoUDP:
		binary.BigEndian.PutUint16(b[6:], checksum(pseudo, b))
	case coord.ProtoICMP:
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	case coord.ProtoICMPv6:
		binary.BigEndian.PutUint16(b[2:], checksum(pseudo, b))
	}
	if from.Is4() {
		h := make([]byte, 20)
		h[0], h[8], h[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(b)))
		binary.BigEndian.PutUint16(h[4:], number)
		copy(h[12:], from.AsSlice())
		copy(h[16:], to.AsSlice())
		binary.BigEndian.PutUint16(h[10:], checksum(h))
		return append(h, b...)
	}
	h := make([]byte, 40)
	binary.BigEndian.PutUint32(h, 6<<28|uint32(number))
	binary.BigEndian.PutUint16(h[4:], uint16(len(b)))
	h[6], h[7] = proto, 64
	copy(h[8:], from.AsSlice())
	copy(h[24:], to.AsSlice())
	return append(h, b...)
}

func checksum(parts ...[]byte) uint16 {
	sum := uint32(0)
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			word := uint32(b[i]) << 8
			if i+1 < len(b) {
				word |= uint32(b[i+1])
			}
			sum += word
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// spyTable notes the numbers of packets that came past the filter, and lets none of them go further: so that each is the
// first of its flow. It counts them too, by which a reader knows that it has them all.
const spyTable = `table inet spy {
	counter past { }
	set seen4 { typeof ip id; flags dynamic; size 65535; }
	set seen6 { typeof ip6 flowlabel; flags dynamic; size 65535; }
	chain past {
		type filter hook prerouting priority -149
		iifname "` + tun + `" counter name past
		iifname "` + tun + `" ip id 0-65535 add @seen4 { ip id }
		iifname "` + tun + `" add @seen6 { ip6 flowlabel }
		iifname "` + tun + `" drop
	}
}`

func spy(t testing.TB) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "spy")
	if err := os.WriteFile(file, []byte(spyTable), 0o600); err != nil {
		t.Fatal(err)
	}
	sh(t, "nft -f "+file)
}

// seen gives the numbers of the packets that came past the filter, and forgets them.
func seen(t testing.TB) map[uint16]bool {
	t.Helper()
	nft, err := roomy()
	if err != nil {
		t.Fatal(err)
	}
	spied := &nftables.Table{Family: nftables.TableFamilyINet, Name: "spy"}
	past, err := nft.ResetObject(&nftables.CounterObj{Table: spied, Name: "past"})
	if err != nil {
		t.Fatal(err)
	}
	sets := []*nftables.Set{{Table: spied, Name: "seen4"}, {Table: spied, Name: "seen6"}}
	all := make(map[uint16]bool)
	// The kernel moves a growing set's elements in the background, and leaves some out for who reads them meanwhile.
	for deadline := time.Now().Add(10 * time.Second); ; {
		for at, set := range sets {
			es, err := nft.GetSetElements(set)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range es {
				all[binary.BigEndian.Uint16(e.Key[at:])] = true // the low bits of a flow label's three bytes
			}
		}
		if uint64(len(all)) == past.(*nftables.CounterObj).Packets {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d packets came past the filter, %d are in the sets", past.(*nftables.CounterObj).Packets, len(all))
		}
	}
	for _, set := range sets {
		nft.FlushSet(set)
	}
	if err := nft.Flush(); err != nil {
		t.Fatal(err)
	}
	return all
}

// loud fails the test at the first word: of what is warned of, nothing should happen here.
type loud struct{ t testing.TB }

func (l loud) Write(text []byte) (int, error) {
	l.t.Errorf("%s", text)
	return len(text), nil
}

func newFilter(t testing.TB) *Filter {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return NewFilter(Config{Interface: tun, Journal: j, Log: slog.New(slog.NewTextHandler(loud{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))})
}

func admit(t testing.TB, f *Filter, rules *coord.Filter) {
	t.Helper()
	if err := f.Apply(t.Context(), Admission{Rules: rules, Self: []netip.Addr{host4, host6}}); err != nil {
		t.Fatal(err)
	}
}

// universe is where random filters and packets have their addresses from: few enough that they meet.
var universe = struct{ from, to []netip.Addr }{
	from: addrs("100.64.0.2", "100.64.0.3", "100.64.0.200", "100.65.1.1", "192.168.7.9", "fd77:1:2::2", "fd77:1:2::3", "fd77:1:2:ff::1", "2001:db8::9"),
	to:   addrs(host4.String(), host6.String(), "192.168.1.1", "192.168.1.77", "10.9.0.1", "1.1.1.1", "255.255.255.254", "2606:4700::1", "fd00:9::1", "2001:db8:ffff::1"),
}

func addrs(texts ...string) (as []netip.Addr) {
	for _, text := range texts {
		as = append(as, netip.MustParseAddr(text))
	}
	return as
}

func pick[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }

func anyPrefix(r *rand.Rand, all []netip.Addr) netip.Prefix {
	a := pick(r, all)
	bits := a.BitLen()
	if r.IntN(2) == 0 {
		bits = pick(r, []int{bits, bits - 1, bits - 8, bits / 2, 10, 1, 0})
	}
	return netip.PrefixFrom(a, bits).Masked()
}

var somePorts = []uint16{1, 22, 80, 443, 8080, 65535}

func anyService(r *rand.Rand) coord.Service {
	s := coord.Service{Proto: pick(r, []uint8{1, 6, 6, 6, 17, 17, 58, 47, 132, 112})}
	if coord.HasPorts(s.Proto) && r.IntN(4) > 0 {
		s.First = pick(r, somePorts)
		s.Last = max(s.First, pick(r, somePorts))
		if r.IntN(2) == 0 {
			s.Last = s.First
		}
	}
	return s
}

func anyFilter(r *rand.Rand) *coord.Filter {
	f := &coord.Filter{}
	var names []string
	for i := range 1 + r.IntN(5) {
		s := coord.FilterSet{Name: fmt.Sprint("set", i)}
		for range r.IntN(6) {
			s.Nets = append(s.Nets, anyPrefix(r, universe.from))
		}
		slices.SortFunc(s.Nets, netip.Prefix.Compare)
		s.Nets = slices.Compact(s.Nets)
		f.Sets, names = append(f.Sets, s), append(names, s.Name)
	}
	rule := func(to []netip.Prefix) coord.FilterRule {
		out := coord.FilterRule{To: to}
		for range 1 + r.IntN(3) {
			out.From = append(out.From, pick(r, names))
			out.Allow = append(out.Allow, anyService(r))
		}
		return out
	}
	for range r.IntN(12) {
		var to []netip.Prefix
		if r.IntN(4) == 0 {
			a := pick(r, []netip.Addr{host4, host6})
			to = []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}
		}
		f.In = append(f.In, rule(to))
	}
	for range r.IntN(12) {
		f.Forward = append(f.Forward, rule([]netip.Prefix{anyPrefix(r, universe.to[2:])}))
	}
	return f
}

func anyPacket(r *rand.Rand) coord.Packet {
	p := coord.Packet{From: pick(r, universe.from)}
	for p.To = pick(r, universe.to); p.To.Is4() != p.From.Is4(); {
		p.To = pick(r, universe.to)
	}
	p.Proto = pick(r, []uint8{6, 6, 17, 17, 132, 47, 112, 1})
	if p.Proto == 1 && p.From.Is6() {
		p.Proto = 58
	}
	if coord.HasPorts(p.Proto) {
		p.Port = pick(r, append(somePorts, 23, 0, 8081))
	}
	return p
}

// agree sends packets and compares what comes through with what the rules say, one after another.
func agree(t testing.TB, w *wire, rules *coord.Filter, packets []coord.Packet) (let int) {
	t.Helper()
	for i, p := range packets {
		w.send(t, packet(p, uint16(i)))
	}
	got := seen(t)
	for i, p := range packets {
		want := rules.Admits([]netip.Addr{host4, host6}, p)
		if want {
			let++
		}
		if got[uint16(i)] != want {
			t.Fatalf("%+v: the kernel lets it in: %t, the rules: %t\n%+v\n%s", p, got[uint16(i)], want, rules, sh(t, "nft list table inet warren-filter"))
		}
	}
	return let
}

// rounds is how many random filters a test tries.
func rounds(t testing.TB, n int) int {
	if text := os.Getenv("WARREN_TEST_FILTERS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestTheKernelAndTheRulesAgree: each filter follows the one before on the same table, as edits do.
func TestTheKernelAndTheRulesAgree(t *testing.T) {
	w, f := newWire(t), newFilter(t)
	spy(t)
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	let, all := 0, 0
	for range rounds(t, 150) {
		rules := anyFilter(r)
		if err := rules.Validate(&coord.Network{IPv4: mesh[0], IPv6: mesh[1]}); err != nil && !strings.Contains(err.Error(), "which is of the network") {
			t.Fatalf("%+v: %v", rules, err)
		}
		packets := make([]coord.Packet, 200)
		for i := range packets {
			packets[i] = anyPacket(r)
		}
		admit(t, f, rules)
		let, all = let+agree(t, w, rules, packets), all+len(packets)
	}
	var ports []coord.Packet // a set of them, where there are many
	for port := uint16(9_900); port < 11_500; port += 10 {
		ports = append(ports, coord.Packet{From: peer4, To: host4, Proto: coord.ProtoTCP, Port: port})
	}
	admit(t, f, manyRules(100))
	if n := agree(t, w, manyRules(100), ports); n != 10 {
		t.Errorf("%d ports are open, want 10", n)
	}
	if let < all/50 || let > all*49/50 {
		t.Errorf("of %d packets %d were let in: that proves little", all, let)
	}
	t.Logf("%d packets, %d let in", all, let)
}

// admits is what the kernel does with a plan.
func (p *plan) admits(k coord.Packet) bool {
	v := version(k.From)
	find := func(zones []zone, a netip.Addr) string {
		for _, z := range zones {
			if !a.Less(z.first) && !z.last.Less(a) {
				return z.name
			}
		}
		return ""
	}
	for _, part := range p.parts {
		d := part.dests[find(part.to[v], k.To)]
		if d == nil {
			continue
		}
		for _, name := range []string{d.hosts[v][k.From], find(d.nets[v], k.From)} {
			s := p.services[name]
			if s != nil && (slices.Contains(s.protos, k.Proto) || slices.ContainsFunc(s.ports[k.Proto], func(r portRange) bool { return r.first <= k.Port && k.Port <= r.last })) {
				return true
			}
		}
	}
	return false
}

func TestAPlanSaysWhatTheRulesSayInHoweverManyParts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(2, seed))
	own := []netip.Addr{host4, host6}
	parts := 0
	for range 3000 {
		f := anyFilter(r)
		p := &plan{services: make(map[string]*services), most: 1 + r.IntN(40)}
		p.compile(f, own, permits(f))
		parts = max(parts, len(p.parts))
		for range 100 {
			k := anyPacket(r)
			if got, want := p.admits(k), f.Admits(own, k); got != want {
				t.Fatalf("seed %d: %+v: %t, want %t of\n%+v\n%+v", seed, k, got, want, f, p)
			}
		}
	}
	if parts < 4 {
		t.Errorf("%d parts at the most: that proves little", parts)
	}
}

// TestNamesAreTheSameInEveryRun: a daemon that starts again makes the table that was.
func TestNamesAreTheSameInEveryRun(t *testing.T) {
	p := compileFilter(someRules(0), []netip.Addr{host4, host6})
	if got := slices.Concat(slices.Sorted(maps.Keys(p.parts[0].dests)), slices.Sorted(maps.Keys(p.services))); !slices.Equal(got, []string{"to-7a81f30dd9312b28", "services-052581def8c9c144"}) {
		t.Errorf("%q", got)
	}
}

// TestAnEditTouchesWhatItConcerns: a network of 10,000 machines, of which one joins a group.
func TestAnEditTouchesWhatItConcerns(t *testing.T) {
	newWire(t)
	f := newFilter(t)
	large := func(members int) *coord.Filter {
		all, group := coord.FilterSet{Name: "*"}, coord.FilterSet{Name: "group:dev"}
		for i := range 10_000 {
			a := netip.AddrFrom4([4]byte{100, 66, byte(i >> 8), byte(i)})
			p := netip.PrefixFrom(a, 32)
			all.Nets = append(all.Nets, p)
			if i < members {
				group.Nets = append(group.Nets, p)
			}
		}
		return &coord.Filter{Sets: []coord.FilterSet{all, group}, In: []coord.FilterRule{
			{From: []string{"*"}, Allow: []coord.Service{{Proto: 1}}},
			{From: []string{"group:dev"}, Allow: []coord.Service{{Proto: 6, First: 22, Last: 22}}},
		}}
	}
	begun := time.Now()
	admit(t, f, large(100))
	whole := time.Since(begun)
	monitor := exec.Command("nft", "monitor")
	file, err := os.Create(filepath.Join(t.TempDir(), "told"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	monitor.Stdout = file
	told := func() string {
		text, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = monitor.Process.Kill()
		_ = monitor.Wait()
	}()
	lab.Eventually(t, 5*time.Second, func() error { // until it listens
		sh(t, "nft add table inet sign; nft delete table inet sign")
		if told() == "" {
			return errors.New("it tells nothing")
		}
		return nil
	})
	begun = time.Now()
	admit(t, f, large(101))
	t.Logf("whole: %v; one more: %v", whole, time.Since(begun))
	sh(t, "nft add table inet end; nft delete table inet end")
	lab.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(told(), "delete table inet end") {
			return errors.New("it has not told all")
		}
		return nil
	})
	if n := strings.Count(told(), "element inet"); n == 0 || n > 4 {
		t.Errorf("%d changes of elements:\n%s", n, told())
	}
}

// TestWhatSomebodyTookFromTheAccessRulesIsMended: also single elements, which change no rule; and what others do to tables
// of theirs has ours stay.
func TestWhatSomebodyTookFromTheAccessRulesIsMended(t *testing.T) {
	newWire(t)
	f := newFilter(t)
	admit(t, f, someRules(0))
	list := func() string { return sh(t, "nft -s list table inet warren-filter") }
	want := list()
	for _, line := range []string{
		"nft delete table inet warren-filter", "nft flush chain inet warren-filter from-network", "nft flush set inet warren-filter spoofed4",
		"nft flush map inet warren-filter to4-0", "nft insert rule inet warren-filter incoming accept",
	} {
		sh(t, line)
		admit(t, f, someRules(0))
		if got := list(); got != want {
			t.Errorf("after %s:\n%s", line, difference(want, got))
		}
	}
	handles := sh(t, "nft -a list table inet warren-filter")
	sh(t, "nft add table inet others")
	admit(t, f, someRules(0))
	if got := sh(t, "nft -a list table inet warren-filter"); got != handles {
		t.Errorf("another's table had ours made anew:\n%s", difference(handles, got))
	}
	if err := f.Apply(t.Context(), Admission{}); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, "nft list tables"); strings.Contains(got, filterTableName) || len(f.journal.Live()) > 0 {
		t.Errorf("without rules: %s, %v", got, f.journal.Live())
	}
}
