// Package alone runs a package's tests in network and mount namespaces of their own, so that they can change addresses,
// routes and /run without anybody noticing, and find nobody else's.
package alone

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

const mark = "WARREN_TEST_ALONE"

// Enter is the first thing in TestMain. It starts the test program again in new namespaces and ends with its exit code;
// there, it returns. Without root it returns at once: such tests call lab.NeedRoot.
func Enter() {
	// A fuzzing worker talks to its parent through descriptors that would be lost on the way.
	fuzzing := slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.fuzz") })
	if os.Geteuid() != 0 || fuzzing {
		return
	}
	switch os.Getenv(mark) {
	case "1":
		check(setUp())
		check(os.Setenv(mark, "2")) // so that a child of the tests stays in their network
		return
	case "2":
		return
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	signal.Ignore(os.Interrupt) // the child gets it too, and decides
	err := cmd.Run()
	if cmd.ProcessState == nil {
		check(err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// setUp makes the new namespaces usable: loopback up, /sys of this network, an empty /run/wireguard.
func setUp() error {
	const wireguard = "/run/wireguard"
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	if err := os.MkdirAll(wireguard, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", wireguard, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	return syscall.Mount("sysfs", "/sys", "sysfs", 0, "")
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot run the tests in a network of their own:", err)
		os.Exit(1)
	}
}
