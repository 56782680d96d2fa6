package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// prefix starts the name of everything that a lab makes; the pid of its
	// process follows, so that a later run knows what was left behind.
	prefix = "wlab-"
	// netnsDir is where iproute2 keeps named namespaces.
	netnsDir = "/run/netns"
)

// Settings of a namespace, as paths below /proc/sys/net with their values.
var (
	// quiet leaves out what would only add waiting and noise: duplicate address
	// detection takes a second, routers are not looked for. The reverse path filter
	// would drop what a wrong route brought, and a test wants to see that.
	quiet = map[string]string{
		"ipv6/conf/all/accept_dad":     "0",
		"ipv6/conf/default/accept_dad": "0",
		"ipv6/conf/all/accept_ra":      "0",
		"ipv6/conf/default/accept_ra":  "0",
		"ipv4/conf/all/rp_filter":      "0",
		"ipv4/conf/default/rp_filter":  "0",
	}
	forwarding = map[string]string{
		"ipv4/ip_forward":          "1",
		"ipv6/conf/all/forwarding": "1",
	}
)

// makeNamespace makes a named network namespace with the given settings.
func makeNamespace(ns string, settings map[string]string) error {
	if err := run("", "ip", "netns", "add", ns); err != nil {
		return err
	}
	return inNamespace(ns, func() error {
		if err := writeSettings(quiet); err != nil {
			return err
		}
		return writeSettings(settings)
	})
}

func writeSettings(settings map[string]string) error {
	for name, value := range settings {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// removeNamespace ends what still runs in a namespace and removes it, with its links.
func removeNamespace(ns string) error {
	if _, err := os.Stat(filepath.Join(netnsDir, ns)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	pids, err := exec.Command("ip", "netns", "pids", ns).Output()
	if err != nil {
		return fmt.Errorf("ip netns pids %s: %w", ns, err)
	}
	for _, word := range strings.Fields(string(pids)) {
		if pid, err := strconv.Atoi(word); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
	}
	return run("", "ip", "netns", "del", ns)
}

// sweep removes what killed processes left behind. Others may sweep at the same
// time, so it is no error if something is already gone.
func sweep() {
	for _, dir := range []string{netnsDir, os.TempDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			rest, ours := strings.CutPrefix(e.Name(), prefix)
			word, _, _ := strings.Cut(rest, "-")
			pid, err := strconv.Atoi(word)
			if !ours || err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				continue
			}
			if dir == netnsDir {
				_ = removeNamespace(e.Name())
			} else {
				_ = os.RemoveAll(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// inNamespace runs f on a thread that is in the namespace meanwhile. Sockets opened
// by f stay there; goroutines started by f are not there.
func inNamespace(ns string, f func() error) error {
	target, err := os.Open(filepath.Join(netnsDir, ns))
	if err != nil {
		return err
	}
	defer target.Close()
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer own.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s: %w", ns, err)
	}
	defer func() {
		// A thread that cannot come back must not run anything else: it stays
		// locked and ends with its goroutine.
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// spawner starts processes from one thread. A child that dies with its parent
// (Pdeathsig) dies with the parent's thread, and Go ends threads when it likes; this
// one lasts as long as the lab.
type spawner struct {
	work chan func()
	quit chan struct{}
	done chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for {
			select {
			case f := <-s.work:
				f()
			case <-s.quit:
				return
			}
		}
	}()
	return s
}

// start starts cmd in the namespace.
func (s *spawner) start(ns string, cmd *exec.Cmd) error {
	result := make(chan error, 1)
	select {
	case s.work <- func() { result <- inNamespace(ns, cmd.Start) }:
		return <-result
	case <-s.quit:
		return errors.New("the lab has ended")
	}
}

func (s *spawner) close() {
	close(s.quit)
	<-s.done
}

// run runs a command of the system; its error holds what the command said.
func run(stdin string, command ...string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s\n%s", strings.Join(command, " "), err, strings.TrimSpace(string(out)), stdin)
	}
	return nil
}

// ip runs lines of iproute2's ip in a namespace.
func ip(ns string, lines ...string) error {
	return run(strings.Join(lines, "\n")+"\n", "ip", "-n", ns, "-batch", "-")
}

// nft loads an nftables ruleset, all of it or nothing, in a namespace.
func nft(ns, ruleset string) error {
	return run(ruleset, "ip", "netns", "exec", ns, "nft", "-f", "-")
}
