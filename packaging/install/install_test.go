package install

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	server, client = "192.0.2.1", "192.0.2.2"

	upgradeGap = 3 * time.Second // at the most, without an answer, while the daemon is replaced
	crashGap   = 5 * time.Second // at the most, after it was killed
)

// network is how the host comes to its address at boot: systemd-networkd, which also removes routes and rules that it takes
// for its own.
const network = "[Match]\nName=host0\n[Network]\nAddress=" + client + "/24\nGateway=" + server + "\nDHCP=no\nIPv6AcceptRA=no\n"

// life is two machines, one of which is the server too.
type life struct {
	t            *testing.T
	debs         string
	server, host *box
	before       map[string]string // the host, before anything was installed
	files        []string
}

// TestAMachinesLifeWithThePackages runs where "make test-packages" has built what it installs.
func TestAMachinesLifeWithThePackages(t *testing.T) {
	debs := os.Getenv("WARREN_PACKAGES")
	debian := filepath.Join(cmp.Or(os.Getenv("WARREN_TEST_PACKAGES"), "/var/cache/warren-test"), "debian-12")
	if os.Geteuid() != 0 || debs == "" || !exists(debian) {
		const why = "needs root, packages and a small Debian: run `sudo make test-packages`"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	l := &life{t: t, debs: debs}
	l.boot(debian)
	l.before, l.files = l.state(), l.fileList()
	l.step("the server is installed", l.serve)
	l.step("the machine is installed, its daemon is active", l.install)
	l.step("it is up, with a pre-auth key, and each finds the other by name", l.connect)
	l.step("an exit node is chosen", l.exit)
	l.step("the timer makes a backup, from which the server is restored", l.backup)
	l.step("an upgrade", l.upgrade)
	l.step("an upgrade of the server that changes the database, and the way back", l.migrate)
	l.step("a state that a newer daemon wrote", l.newer)
	l.step("a disk that is full, and files that cannot be written", l.full)
	l.step("the daemon is killed", l.crash)
	l.step("the daemon is restarted, hangs, and is stopped", l.restart)
	l.step("the machine is started anew, and is on its network by itself", l.reboot)
	l.step("the package is removed: the host is as before", l.remove)
	l.step("the package is purged: nothing of it is left", l.purge)
	l.step("apt installs it from a signed repository, and from no other", l.apt)
}

// step runs a part and tells how long it took.
func (l *life) step(what string, f func()) {
	l.t.Helper()
	start := time.Now()
	f()
	l.t.Logf("%-70s %.1f s", what, time.Since(start).Seconds())
	if l.t.Failed() {
		l.t.FailNow()
	}
}

func (l *life) boot(debian string) {
	l.t.Helper()
	files := func(name string) map[string]string {
		return map[string]string{
			"etc/hostname": name + "\n", "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 " + name + "\n", "etc/resolv.conf": "nameserver " + server + "\n",
		}
	}
	l.server = newBox(l.t, debian, "gate", files("gate"))
	l.host = newBox(l.t, debian, "den", files("den"))
	if err := os.WriteFile(l.host.tree+"/etc/systemd/network/10-host0.network", []byte(network), 0o644); err != nil {
		l.t.Fatal(err)
	}
	shell(l.t, "systemctl", "--root="+l.host.tree, "enable", "systemd-networkd.service")
	l.server.boot()
	l.host.boot()
	l.connectCable()
	l.server.booted()
	l.host.booted()
	l.host.eventually("ping", "-c", "1", "-W", "1", server)
}

func (l *life) connectCable() {
	l.t.Helper()
	cable(l.server, l.host)
	l.server.configure(server, client)
}

// deb is a package's file for this machine.
func (l *life) deb(name string) string {
	l.t.Helper()
	found, err := filepath.Glob(filepath.Join(l.debs, name+"_*_"+runtime.GOARCH+".deb"))
	if err != nil || len(found) != 1 {
		l.t.Fatalf("%d packages of %s in %s (%v), want one: make packages", len(found), name, l.debs, err)
	}
	return found[0]
}

func (l *life) serve() {
	l.t.Helper()
	s := l.server
	s.must("dpkg", "-i", s.put(l.deb("warren-coord")), s.put(l.deb("warren")))
	s.must("sh", "-c", `echo 'WARREN_COORD_ARGS="--url https://`+server+`"' >/etc/default/warren-coord`)
	s.must("systemctl", "enable", "--now", "warren-coord")
	s.eventually("warren-coord", "key", "create", "--reusable", "--out", "/root/net.key")
}

// far stands for the internet: the server has it, and the host reaches it by its router, which is the server.
const far = "203.0.113.9"

// exit has the server lead the host to the internet. What goes around it is counted from here on.
func (l *life) exit() {
	l.t.Helper()
	l.server.must("sh", "-ec", `ip address add `+far+`/32 dev lo
nft add table ip around; nft add counter ip around passed
nft 'add chain ip around seen { type filter hook prerouting priority raw; }'
nft add rule ip around seen iifname host0 ip daddr `+far+` udp dport 9 counter name passed`)
	if l.around(func() {}) == 0 {
		l.t.Error("control: without an exit node nothing is seen to go around it")
	}
	l.server.must("warren", "set", "--advertise-exit-node")
	l.server.must("warren-coord", "machine", "routes", "gate", "--approve-exit-node")
	l.host.eventually("warren", "exit-node", "use", "gate")
	l.keeps("an exit node is chosen", func() {})
}

// around counts what goes around the exit node while f runs, and for a moment before and after.
func (l *life) around(f func()) (packets int) {
	l.t.Helper()
	l.server.must("nft", "reset", "counter", "ip", "around", "passed")
	l.host.must("systemd-run", "--quiet", "--unit=steadily", "bash", "-c", "while :; do echo around >/dev/udp/"+far+"/9; sleep 0.002; done")
	defer l.host.must("systemctl", "stop", "steadily")
	pause := func() { l.host.must("bash", "-c", "for i in {1..50}; do echo around >/dev/udp/"+far+"/9; done; true") }
	pause()
	f()
	pause()
	out := l.server.must("nft", "list", "counter", "ip", "around", "passed")
	_, count, _ := strings.Cut(strings.Join(strings.Fields(out), " "), "{ packets ")
	if _, err := fmt.Sscanf(count, "%d", &packets); err != nil {
		l.t.Fatalf("%s: %v", out, err)
	}
	return packets
}

// keeps fails if anything goes around the exit node while f runs.
func (l *life) keeps(what string, f func()) {
	l.t.Helper()
	if n := l.around(f); n > 0 {
		l.t.Errorf("%s: %d packets went around the exit node", what, n)
	}
}

// again runs f, which has systemd replace the daemon, until the other one is active.
func (l *life) again(f func()) {
	l.t.Helper()
	old := l.daemon()
	f()
	l.host.await("another daemon", func() bool { now := l.daemon(); return now != old && now != "0" })
	l.host.eventually("systemctl", "is-active", "warrend")
}

// restart holds what a person means: a restart replaces the daemon, a stop gives the host back.
func (l *life) restart() {
	l.t.Helper()
	l.keeps("restarted", func() { l.again(func() { l.host.must("systemctl", "restart", "warrend") }) })
	l.keeps("told to end by somebody else", func() { l.again(func() { l.host.must("kill", "-TERM", l.daemon()) }) })
	l.host.must("sh", "-ec", `mkdir -p /run/systemd/system/warrend.service.d
printf '[Service]\nTimeoutStopSec=1\n' >/run/systemd/system/warrend.service.d/hasty.conf; systemctl daemon-reload`)
	hangs := func(verb string) {
		l.host.must("kill", "-STOP", l.daemon())
		l.host.must("systemctl", verb, "warrend")
	}
	l.keeps("restarted while it hangs", func() { l.again(func() { hangs("restart") }) })
	for _, how := range []func(){func() { l.host.must("systemctl", "stop", "warrend") }, func() { hangs("stop") }} {
		if l.around(how) == 0 {
			l.t.Error("stopped, and the host is not given back")
		}
		if rules := l.host.must("sh", "-c", "ip rule; ip -6 rule"); strings.Contains(rules, "8787") {
			l.t.Errorf("stopped, and rules are left:\n%s", rules)
		}
		l.host.must("systemctl", "start", "warrend")
		l.keeps("started", func() {})
	}
	l.host.must("sh", "-ec", "rm -r /run/systemd/system/warrend.service.d; systemctl daemon-reload")
	l.stopFailed()
}

// stopFailed stops the daemon while systemd waits to start it again.
func (l *life) stopFailed() {
	l.t.Helper()
	l.host.must("sh", "-ec", `mkdir -p /run/systemd/system/warrend.service.d
printf '[Service]\nRestartSec=600\n' >/run/systemd/system/warrend.service.d/slow.conf; systemctl daemon-reload`)
	l.keeps("killed, and not started again yet", func() {
		l.host.must("kill", "-9", l.daemon())
		l.host.eventually("sh", "-c", "systemctl show --property=SubState warrend | grep -q auto-restart")
	})
	l.host.must("systemctl", "stop", "warrend")
	l.host.eventually("sh", "-c", "! { ip rule; ip -6 rule; } | grep -q 8787")
	if l.around(func() {}) == 0 {
		l.t.Error("stopped before it was started again, and the host is not given back")
	}
	l.host.must("sh", "-ec", "rm -r /run/systemd/system/warrend.service.d; systemctl daemon-reload; systemctl start warrend")
	l.keeps("started", func() {})
}

func (l *life) install() {
	l.t.Helper()
	// By somebody whose files are nobody else's, begun twice, and then once more.
	l.host.must("sh", "-ec", "umask 077; for n in 1 2; do dpkg --unpack $0; done; dpkg --configure -a; dpkg -i $0", l.host.put(l.deb("warren")))
	l.host.must("systemctl", "is-active", "warrend")
	l.host.must("getent", "group", "warren")
	l.host.must("su", "-s", "/bin/sh", "nobody", "-c", "warren version; warren doctor --json | jq -e .findings")
	l.host.must("sh", "-c", "test -e /usr/share/man/man1/warren-up.1.gz && test -e /usr/share/bash-completion/completions/warren")
}

func (l *life) connect() {
	l.t.Helper()
	invite := strings.TrimSpace(l.server.must("warren-coord", "invite"))
	key := l.server.must("cat", "/root/net.key")
	for _, b := range []*box{l.server, l.host} {
		b.must("sh", "-c", "umask 077; cat >/root/net.key <<'END'\n"+key+"END")
		b.must("warren", "up", invite, "--auth-key", "file:/root/net.key")
	}
	l.server.eventually("ping", "-c", "1", "-W", "1", "den")
	l.host.eventually("ping", "-c", "1", "-W", "1", "gate")
}

// backup has the timer make one at once, beside the server that runs.
func (l *life) backup() {
	l.t.Helper()
	s := l.server
	s.must("sh", "-c", `mkdir /etc/systemd/system/warren-coord-backup.timer.d
printf '[Timer]\nOnActiveSec=0\nRandomizedDelaySec=0\n' >/etc/systemd/system/warren-coord-backup.timer.d/now.conf; systemctl daemon-reload`)
	s.must("systemctl", "enable", "--now", "warren-coord-backup.timer")
	s.eventually("sh", "-c", "ls /var/lib/warren-coord-backups/*.backup")
	s.must("sh", "-c", "warren-coord restore /var/lib/warren-coord-backups/*.backup --state /root/again && cmp /root/again/identity /var/lib/warren-coord/identity")
	who := strings.TrimSpace(s.must("sh", "-c", "stat -c %u /proc/$(systemctl show --property=MainPID --value warren-coord)"))
	owned := s.must("sh", "-c", "stat -L -c '%a %u' /var/lib/warren-coord-backups/ /var/lib/warren-coord-backups/*.backup /var/lib/warren-coord/identity")
	if want := strings.Replace("700 W\n600 W\n600 W\n", "W", who, 3); owned != want || who == "0" {
		l.t.Errorf("backups and state are not the server's (%s) alone:\n%s", who, owned)
	}
	s.must("systemctl", "is-active", "warren-coord")
}

// full has the daemon where it cannot write: first its own state, which stays whole, and then all of /etc, where the package
// is installed once more.
func (l *life) full() {
	l.t.Helper()
	h := l.host
	const state = "/var/lib/warren"
	h.must("sh", "-ec", "systemctl stop warrend; cp -a "+state+" /root/kept; mount -t tmpfs -o size=256k,mode=700 tmpfs "+state+
		"; cp -a /root/kept/. "+state+"; ! dd if=/dev/zero of="+state+"/fill bs=1k 2>/dev/null; systemctl start warrend")
	h.eventually("sh", "-c", "warren status | grep 'make room on the file system of "+state+"'")
	if said, err := h.run("warren", "set", "--hostname", "other"); err == nil || !strings.Contains(said, "make room") {
		l.t.Errorf("a setting that cannot be written: %v, %s", err, said)
	}
	h.must("cmp", "/root/kept/state.json", state+"/state.json")
	h.must("rm", state+"/fill")
	h.must("warren", "set", "--hostname", "den")
	h.eventually("sh", "-c", "warren down && warren up && ! warren status | grep '^!'")
	h.must("sh", "-ec", "systemctl stop warrend; umount "+state+"; systemctl start warrend")

	h.must("sh", "-ec", "mount --bind /etc /etc; mount -o remount,ro,bind /etc; ! touch /etc/written 2>/dev/null")
	old := l.daemon()
	h.must("dpkg", "-i", "/root/"+filepath.Base(l.deb("warren")))
	if now := l.daemon(); now == old || now == "0" {
		l.t.Error("the package was installed where /etc is read-only, and the daemon was not replaced")
	}
	h.eventually("sh", "-c", "warren status | grep 'Make the file writable'")
	h.must("umount", "/etc")
	h.must("systemctl", "restart", "warrend")
	l.server.eventually("ping", "-c", "1", "-W", "1", "den")
	h.eventually("warren", "exit-node", "use", "gate")
}

func (l *life) crash() {
	l.t.Helper()
	old := l.daemon()
	var gap time.Duration
	l.keeps("killed", func() { gap = l.underTraffic(func() { l.host.must("kill", "-9", old) }, old) })
	l.t.Logf("  longest time without an answer: %.2f s", gap.Seconds())
	if gap > crashGap {
		l.t.Errorf("a killed daemon is away for %v, at most %v is allowed", gap, crashGap)
	}
}

// daemon is the process of warrend, as the container counts.
func (l *life) daemon() string {
	l.t.Helper()
	return strings.TrimSpace(l.host.must("systemctl", "show", "--property=MainPID", "--value", "warrend"))
}

// underTraffic pings the host while f replaces its daemon, and gives the longest time between two answers.
func (l *life) underTraffic(f func(), old string) time.Duration {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 2*patience)
	defer cancel()
	var out bytes.Buffer
	// -O tells each that is not answered, so that silence at the end is seen; the answers' times are the kernel's.
	ping := l.server.command(ctx, "ping", "-D", "-O", "-i", "0.05", "den")
	ping.Stdout, ping.Stderr = &out, &out
	if err := ping.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.server.must("ping", "-c", "40", "-i", "0.05", "den")
	f()
	l.host.await("another daemon", func() bool { now := l.daemon(); return now != old && now != "0" })
	l.host.eventually("systemctl", "is-active", "warrend")
	l.server.eventually("ping", "-c", "40", "-i", "0.05", "-w", "6", "den")
	l.server.must("sh", "-c", "pkill -INT -x ping || true")
	_ = ping.Wait()
	return longest(l.t, out.String())
}

// longest is the longest time between two answers, as ping -D tells them.
func longest(t *testing.T, out string) (gap time.Duration) {
	t.Helper()
	var last float64
	answers := 0
	for line := range strings.Lines(out) {
		at, rest, found := strings.Cut(strings.TrimPrefix(line, "["), "] ")
		if !found || !strings.Contains(rest, "bytes from") {
			continue
		}
		now, err := strconv.ParseFloat(at, 64)
		if err != nil {
			t.Fatalf("ping: %q: %v", line, err)
		}
		if answers++; last != 0 {
			gap = max(gap, time.Duration((now-last)*float64(time.Second)))
		}
		last = now
	}
	if answers < 30 {
		t.Fatalf("only %d answers came:\n%s", answers, out)
	}
	return gap
}

func (l *life) reboot() {
	l.t.Helper()
	l.host.reboot()
	l.connectCable()
	l.host.booted()
	l.host.eventually("systemctl", "is-active", "warrend")
	l.server.eventually("ping", "-c", "1", "-W", "1", "den")
	l.host.eventually("ping", "-c", "1", "-W", "1", "gate")
}

func (l *life) remove() {
	l.t.Helper()
	if len(differing(l.before, l.state())) == 0 {
		l.t.Error("while it runs nothing of the host differs: what is compared shows nothing")
	}
	l.host.must("warren", "set", "--lockdown") // and an exit node is in use
	l.host.must("dpkg", "-r", "warren")
	if out, err := l.host.run("systemctl", "is-active", "warrend"); err == nil {
		l.t.Errorf("after the removal warrend is %s", out)
	}
	l.host.must("test", "-d", "/var/lib/warren")
	after := l.state()
	for _, what := range differing(l.before, after) {
		l.t.Errorf("%s, before:\n%s\nafter the removal:\n%s", what, l.before[what], after[what])
	}
}

func (l *life) purge() {
	l.t.Helper()
	l.host.must("dpkg", "-P", "warren")
	for _, file := range l.fileList() {
		if _, had := slices.BinarySearch(l.files, file); !had && !mayStay(file) {
			l.t.Errorf("after the purge there is still %s", file)
		}
	}
}

// mayStay says of a file whether others keep it: the group stays, as files may be its.
func mayStay(file string) bool {
	for _, others := range []string{"/etc/group", "/etc/gshadow", "/etc/.pwd.lock", "/var/lib/dpkg/", "/var/lib/systemd/", "/var/cache/"} {
		if strings.HasPrefix(file, others) {
			return true
		}
	}
	return false
}

// differing names the parts that differ.
func differing(a, b map[string]string) (differ []string) {
	for what := range a {
		if a[what] != b[what] {
			differ = append(differ, what)
		}
	}
	slices.Sort(differ)
	return differ
}

// state is all of the host that a daemon of ours may change.
func (l *life) state() map[string]string {
	l.t.Helper()
	// The link's own address is looked for among its neighbours first (RFC 4862, 5.4).
	l.host.eventually("sh", "-c", "ip -6 -o address show dev host0 scope link -tentative | grep -q fe80")
	state := map[string]string{}
	for _, command := range []string{
		"ip -o link show | sed 's/^[0-9]*: //; s/@.*: </: </; s/link-netnsid [0-9]*//'",
		"ip -o addr show | sed 's/^[0-9]*: //'", "ip -4 rule", "ip -6 rule",
		"ip -4 route show table all | sort", "ip -6 route show table all | sort", "nft list ruleset", "cat /etc/resolv.conf", "ls -l /etc/resolv.conf | cut -c 1-10",
		"sysctl -a -r '^net[.]' 2>/dev/null | grep -vE 'host0|netdev_rss_key|nf_conntrack_count|route.flush' | sort", "ls -A /run/warren* /run/systemd/resolve 2>&1; true",
	} {
		state[command] = l.host.must("sh", "-c", command)
	}
	return state
}

// fileList are the files where packages put theirs.
func (l *life) fileList() []string {
	l.t.Helper()
	files := strings.Fields(l.host.must("find", "/etc", "/usr", "/opt", "/var/lib", "/var/cache", "-xdev"))
	slices.Sort(files)
	return files
}

// TestTheLongestSilenceIsFound shows that the measure sees one.
func TestTheLongestSilenceIsFound(t *testing.T) {
	var out strings.Builder
	for i := range 60 {
		at := 1000 + float64(i)*0.05
		if i >= 40 {
			at += 2.5
		}
		fmt.Fprintf(&out, "[%.6f] 64 bytes from den (100.64.0.2): icmp_seq=%d ttl=64 time=1 ms\n", at, i)
		fmt.Fprintf(&out, "[%.6f] no answer yet for icmp_seq=%d\n", at+0.01, i)
	}
	if gap := longest(t, out.String()).Round(10 * time.Millisecond); gap != 2550*time.Millisecond {
		t.Errorf("a silence of 2.55 s was measured as %v", gap)
	}
}
