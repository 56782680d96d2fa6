package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything that is waited for may take on a busy machine.
const patience = 60 * time.Second

// box is a Debian in a container that systemd boots.
type box struct {
	t    *testing.T
	name string
	tree string

	nspawn *exec.Cmd
	ended  chan error // of nspawn
	leader int        // the container's first process, as this host counts
	groups []string   // of processes: a container gets its own, or two would share their services' ones
}

// newBox copies the small Debian that packaging/deps made, and puts files into it.
func newBox(t *testing.T, debian, name string, files map[string]string) *box {
	t.Helper()
	b := &box{t: t, name: name, tree: filepath.Join(t.TempDir(), name)}
	shell(t, "cp", "-a", "--reflink=auto", debian, b.tree)
	for path, text := range files {
		path = filepath.Join(b.tree, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	// systemd numbers a machine at its first boot, and a container that is not numbered asks questions.
	if err := os.WriteFile(filepath.Join(b.tree, "etc/machine-id"), []byte(fmt.Sprintf("%032x\n", os.Getpid()+len(name))), 0o444); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.off() })
	return b
}

// boot starts the container and returns when it has a first process; booted waits for the rest.
func (b *box) boot() {
	b.t.Helper()
	b.makeGroups()
	// The shell goes into the groups before systemd-nspawn does anything.
	script := `for group in "$@"; do [ "$group" != -- ] || break; echo $$ >"$group/cgroup.procs" || exit 1; done
while [ "$1" != -- ]; do shift; done; shift; exec "$@"`
	args := append([]string{"-c", script, "sh"}, b.groups...)
	args = append(args, "--", "systemd-nspawn", "--directory="+b.tree, "--machine="+b.name, "--boot", "--register=no", "--keep-unit",
		"--private-network", "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe", "--bind=/dev/net/tun",
		"--capability=CAP_NET_ADMIN")
	b.nspawn = exec.Command("sh", args...)
	b.nspawn.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	console, err := os.OpenFile(b.tree+".console", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer console.Close()
	b.nspawn.Stdout, b.nspawn.Stderr = console, console
	if err := b.nspawn.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan<- error) { ended <- cmd.Wait() }(b.nspawn, b.ended)
	b.await("its first process", func() bool { b.leader = firstProcess(b.nspawn.Process.Pid); return b.leader != 0 })
}

// booted waits until all that starts at boot has started.
func (b *box) booted() {
	b.t.Helper()
	b.await("the end of its boot", func() bool {
		out, _ := b.run("systemctl", "is-system-running")
		state := strings.TrimSpace(out)
		return state == "running" || state == "degraded"
	})
}

// makeGroups makes the container's groups in the two hierarchies that systemd uses: its own of old, and the unified one.
func (b *box) makeGroups() {
	b.t.Helper()
	if b.groups != nil {
		return
	}
	lines, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		root := ""
		switch {
		case fields[1] == "name=systemd":
			root = "/sys/fs/cgroup/systemd"
		case fields[0] == "0" && exists("/sys/fs/cgroup/unified"):
			root = "/sys/fs/cgroup/unified"
		case fields[0] == "0":
			root = "/sys/fs/cgroup"
		default:
			continue
		}
		group := filepath.Join(root, fields[2], fmt.Sprintf("warren-install-%d-%s", os.Getpid(), b.name))
		if err := os.Mkdir(group, 0o755); err != nil {
			b.t.Fatal(err)
		}
		b.groups = append(b.groups, group)
	}
}

// firstProcess finds the systemd below systemd-nspawn; 0 while there is none.
func firstProcess(nspawn int) int {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn, nspawn))
	for _, child := range strings.Fields(string(children)) {
		if name, _ := os.ReadFile("/proc/" + child + "/comm"); strings.TrimSpace(string(name)) == "systemd" {
			pid, _ := strconv.Atoi(child)
			return pid
		}
	}
	return 0
}

// await polls until so; a container that ends meanwhile is told with what it wrote.
func (b *box) await(what string, so func() bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if so() {
			return
		}
		select {
		case err := <-b.ended:
			b.ended <- err
			b.t.Fatalf("%s ended (%v) before there was %s:\n%s", b.name, err, what, b.console())
		default:
		}
	}
	out, _ := b.run("sh", "-c", "systemctl --failed --no-pager; systemctl list-jobs --no-pager; journalctl -b --no-pager -n 15")
	b.t.Fatalf("%s: no %s within %v:\n%s\n%s", b.name, what, patience, out, b.console())
}

func (b *box) console() string {
	text, _ := os.ReadFile(b.tree + ".console")
	return string(text[max(0, len(text)-4000):])
}

// command is one that runs inside.
func (b *box) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", strconv.Itoa(b.leader), "--all", "--", "env", "-i",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive",
	}, args...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs a command inside and gives all that it wrote.
func (b *box) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := b.command(ctx, args...).CombinedOutput()
	return string(out), err
}

// must is a run that succeeds.
func (b *box) must(args ...string) string {
	b.t.Helper()
	out, err := b.run(args...)
	if err != nil {
		log, _ := b.run("journalctl", "-b", "--no-pager", "-n", "15")
		b.t.Fatalf("%s: %s: %v\n%s\n%s", b.name, strings.Join(args, " "), err, out, log)
	}
	return out
}

// eventually waits for a command inside to succeed.
func (b *box) eventually(args ...string) {
	b.t.Helper()
	b.await("success of "+strings.Join(args, " "), func() bool { _, err := b.run(args...); return err == nil })
}

// put copies a file in, below /root.
func (b *box) put(file string) string {
	b.t.Helper()
	inside := "/root/" + filepath.Base(file)
	shell(b.t, "cp", file, b.tree+inside)
	return inside
}

// reboot does as a person does; who calls it lays the cable again, as a new boot has a new network.
func (b *box) reboot() {
	b.t.Helper()
	_, _ = b.run("systemctl", "reboot")
	const wantsReboot = 133 // systemd-nspawn(1): --keep-unit leaves it to the caller
	select {
	case err := <-b.ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != wantsReboot {
			b.t.Fatalf("%s ended with %v at a reboot:\n%s", b.name, err, b.console())
		}
	case <-time.After(patience):
		b.t.Fatalf("%s did not stop to reboot:\n%s", b.name, b.console())
	}
	b.boot()
}

// off ends the container, if it runs, and removes its groups.
func (b *box) off() {
	if b.ended != nil {
		select {
		case <-b.ended:
		default:
			if b.leader != 0 { // the first process takes all others with it
				_ = syscall.Kill(b.leader, syscall.SIGKILL)
			}
			select {
			case <-b.ended:
			case <-time.After(10 * time.Second):
				_ = b.nspawn.Process.Kill()
				<-b.ended
			}
		}
	}
	for _, group := range b.groups {
		var dirs []string
		_ = filepath.WalkDir(group, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := os.Remove(dirs[i]); err != nil {
				b.t.Errorf("a group is left: %v", err)
			}
		}
	}
}

// configure gives a box its address by hand, where nothing in it does so at boot.
func (b *box) configure(addr, gateway string) {
	b.t.Helper()
	b.must("ip", "address", "add", addr+"/24", "dev", "host0")
	b.must("ip", "link", "set", "host0", "up")
	b.must("ip", "route", "add", "default", "via", gateway)
}

// cable connects two boxes by an Ethernet that each calls host0. Its hardware addresses are the same each time.
func cable(a, b *box) {
	a.t.Helper()
	_ = exec.Command("nsenter", "--target", strconv.Itoa(a.leader), "--net", "ip", "link", "delete", "host0").Run() // that of before a reboot
	near := fmt.Sprintf("wi%d", os.Getpid())
	shell(a.t, "ip", "link", "add", near, "address", "02:00:5e:00:53:01", "type", "veth", "peer", "name", near+"p", "address", "02:00:5e:00:53:02")
	for _, end := range []struct {
		name string
		box  *box
	}{{near, a}, {near + "p", b}} {
		shell(a.t, "ip", "link", "set", end.name, "netns", strconv.Itoa(end.box.leader), "name", "host0")
	}
}

// shell runs a command of this host, which succeeds.
func shell(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, &out)
	}
	return out.String()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
