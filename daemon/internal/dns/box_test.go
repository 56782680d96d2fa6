package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/internal/alone"
	"github.com/warren-mesh/warren/daemon/internal/dns/zone"
	"github.com/warren-mesh/warren/daemon/internal/journal"
)

const link = "warren0"

func TestMain(m *testing.M) {
	alone.Enter()
	if dir := os.Getenv("WARREN_TEST_DIE_IN"); dir != "" {
		dieWhileApplying(dir, os.Getenv("WARREN_TEST_DIE_AT"))
	}
	goleak.VerifyTestMain(m)
}

// newHost gives the test an /etc and a /run of its own, and our interface. Nothing of it is anybody else's: the tests run
// in a mount namespace of theirs.
func newHost(t testing.TB) {
	t.Helper()
	lab.NeedRoot(t)
	over := t.TempDir()
	sh(t, "mount -t tmpfs tmpfs "+over)
	for _, dir := range []string{"up", "work"} {
		if err := os.Mkdir(filepath.Join(over, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, "mount -t overlay overlay -o lowerdir=/etc,upperdir="+over+"/up,workdir="+over+"/work /etc")
	sh(t, "mount -t tmpfs tmpfs /run")
	sh(t, "ip tuntap add dev "+link+" mode tun")
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0) // it has a carrier only while somebody holds it
	if err != nil {
		t.Fatal(err)
	}
	req, err := unix.NewIfreq(link)
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN)
	if err := unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{ // as the router makes it
		"link set " + link + " addrgenmode none up",
		"addr add 100.64.0.7/32 dev " + link, "addr add fd77:1:2::7/128 dev " + link + " nodad noprefixroute",
		"addr add 100.127.255.254/32 dev " + link + " scope host",
		"addr add fd77:1:2::ffff:53/128 dev " + link + " nodad noprefixroute preferred_lft 0",
		"route add 100.64.0.0/10 dev " + link + " proto 87", "route add fd77:1:2::/48 dev " + link + " proto 87",
	} {
		sh(t, "ip "+args)
	}
	_ = os.Remove(confPath) // whatever the machine has that runs the tests
	t.Cleanup(func() {
		_ = tun.Close()
		sh(t, "ip link del "+link)
		sh(t, "umount /run")
		sh(t, "umount /etc")
		sh(t, "umount "+over)
	})
}

func sh(t testing.TB, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// start runs a service until the test ends, or until it is stopped.
func start(t testing.TB, env []string, name string, args ...string) (stop func()) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &out, append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("%s said:\n%s", name, out.String())
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// unpacked gives the place of a package that packaging/deps unpacks instead of installing it: installed, these take
// the host's own DNS over.
func unpacked(t testing.TB, name, file string) string {
	t.Helper()
	cache := os.Getenv("WARREN_TEST_PACKAGES")
	if cache == "" {
		cache = "/var/cache/warren-test"
	}
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
		t.Fatalf("%s is not unpacked in %s: run packaging/deps test", name, dir)
	}
	return dir
}

// startBus runs a system bus on which everybody may do everything.
func startBus(t testing.TB) {
	t.Helper()
	if err := os.MkdirAll("/run/dbus", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, "/run/bus.conf", `<busconfig><type>system</type><pidfile>/run/bus.pid</pidfile><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/></policy></busconfig>`)
	start(t, nil, "dbus-daemon", "--nofork", "--config-file=/run/bus.conf")
	eventually(t, "the bus answers", func() string {
		c, err := connectBus(t.Context())
		if err != nil {
			return err.Error()
		}
		_ = c.Close()
		return ""
	})
}

// waitOwned waits for a service to be on the bus.
func waitOwned(t testing.TB, name string) {
	t.Helper()
	c, err := connectBus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	eventually(t, name, func() string {
		if there, err := owned(t.Context(), c, name); err != nil || !there {
			return "is not on the bus"
		}
		return ""
	})
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(raw)
}

// eventually waits for at most 5 s (the time in which others' changes are to be noticed) until f finds nothing to say.
func eventually(t testing.TB, what string, f func() string) {
	t.Helper()
	var said string
	for end := time.Now().Add(lab.Patience * 5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if said = f(); said == "" {
			return
		}
	}
	t.Errorf("%s: %s", what, said)
}

// wish is what the tests want: the network of bob, at 100.64.0.2.
func wish(d coord.DNS) Wish {
	n := coord.Network{Suffix: "warren.internal", IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd77:1:2::/48")}
	self := coord.Node{ID: 1, Name: "alice", Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.7")}}
	bob := coord.Node{ID: 2, Name: "bob", Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.2")}}
	return Wish{Servers: n.Resolver(), Suffix: n.Suffix, Zone: zone.New(&n, &d, &self, []coord.Node{bob}), DNS: d, Accept: true}
}

func openDNS(t testing.TB) *DNS {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(Config{Interface: link, Journal: j, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		if live := j.Live(); len(live) > 0 {
			t.Errorf("the journal still has %+v", live)
		}
		_ = j.Close()
	})
	return d
}

// apply applies a wish and wants its problems' codes to be these.
func apply(t testing.TB, d *DNS, w Wish, codes ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ps, err := d.Apply(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range ps {
		got = append(got, p.Code)
		if p.Text == "" || p.Fix == "" {
			t.Errorf("a problem without words: %+v", p)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(codes) {
		t.Errorf("problems %+v, want %v", ps, codes)
	}
}

// nameserver is a public one: it says 192.0.2.80 of every name, and remembers who asked for what.
type nameserver struct {
	mu    sync.Mutex
	names []string
	mood  string // "": it answers; "fails", "silent", "late" (by lateness)
}

// lateness is how long a nameserver takes that is late.
const lateness = 1500 * time.Millisecond

func (n *nameserver) is(mood string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mood = mood
}

// serveNames runs one at an address of the loopback interface, on port 53.
func serveNames(t testing.TB, addr, says string) *nameserver {
	t.Helper()
	sh(t, "ip addr add "+addr+"/32 dev lo")
	n := &nameserver{}
	pc, err := net.ListenPacket("udp", addr+":53")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = pc.Close(); wg.Wait(); sh(t, "ip addr del "+addr+"/32 dev lo") })
	wg.Go(func() {
		buf := make([]byte, 4096)
		for {
			size, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(mdns.Msg)
			if q.Unpack(buf[:size]) != nil || len(q.Question) != 1 {
				continue
			}
			n.mu.Lock()
			n.names = append(n.names, strings.ToLower(q.Question[0].Name))
			mood := n.mood
			n.mu.Unlock()
			m := new(mdns.Msg).SetReply(q)
			m.RecursionAvailable = true
			switch {
			case mood == "silent":
				continue
			case mood == "fails":
				m.Rcode = mdns.RcodeServerFailure
			case q.Question[0].Qtype == mdns.TypeA:
				m.Answer = append(m.Answer, &mdns.A{
					Hdr: mdns.RR_Header{Name: q.Question[0].Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 1}, A: net.ParseIP(says),
				})
			}
			raw, err := m.Pack()
			switch {
			case err != nil:
			case mood == "late":
				wg.Go(func() {
					time.Sleep(lateness) // what it is: late
					_, _ = pc.WriteTo(raw, from)
				})
			default:
				_, _ = pc.WriteTo(raw, from)
			}
		}
	})
	return n
}

// leaked lists the network's names that it was asked for.
func (n *nameserver) leaked() (names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range n.names {
		if strings.Contains(name, "internal") || strings.HasSuffix(name, ".100.in-addr.arpa.") || name == "bob." {
			names = append(names, name)
		}
	}
	return names
}

// resolve asks as the C library does: the first nameserver of resolv.conf, and the search domains for bare names.
func resolve(name string) string {
	conf, err := mdns.ClientConfigFromFile(confPath)
	if err != nil {
		return err.Error()
	}
	if len(conf.Servers) == 0 {
		return "no nameserver"
	}
	last := ""
	for _, name := range conf.NameList(name) {
		q := new(mdns.Msg).SetQuestion(name, mdns.TypeA)
		c := mdns.Client{Timeout: 3 * time.Second}
		m, _, err := c.Exchange(q, conf.Servers[0]+":53")
		if err != nil {
			return err.Error()
		}
		for _, rr := range m.Answer {
			if a, ok := rr.(*mdns.A); ok {
				return a.A.String()
			}
		}
		last = mdns.RcodeToString[m.Rcode]
	}
	return last
}

// wantResolved waits until names come to what they should.
func wantResolved(t testing.TB, want map[string]string) {
	t.Helper()
	for name, addr := range want {
		eventually(t, name, func() string {
			if got := resolve(name); got != addr {
				return "got " + got + ", want " + addr
			}
			return ""
		})
	}
}
