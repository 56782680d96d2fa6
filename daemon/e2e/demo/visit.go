package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

// noteFile in the lab's directory tells `demo alice` where alice is.
const noteFile = "demo.json"

type noted struct {
	Programs string           `json:"programs"`
	Machines map[string]place `json:"machines"`
}

type place struct {
	Namespace string `json:"namespace"`
	Dir       string `json:"dir"`
	Socket    string `json:"socket,omitempty"`
}

// note writes the file. It goes with the lab.
func (d *demo) note() {
	n := noted{Programs: string(d.programs), Machines: map[string]place{}}
	for _, m := range []*lab.Machine{d.mesh.Coord.Machine, d.mesh.Relay.Machine, d.homeA.Machine, d.homeB.Machine} {
		n.Machines[m.Name()] = place{Namespace: m.Namespace(), Dir: m.Dir()}
	}
	for _, m := range []*mesh.Node{d.alice, d.bob} {
		n.Machines[m.Name()] = place{Namespace: m.Namespace(), Dir: m.Dir(), Socket: m.Socket()}
	}
	text, err := json.Marshal(n)
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir(), noteFile), text, 0o600)
	}
	if err != nil {
		d.t.Fatalf("%v", err)
	}
}

// visit runs a command, or a shell, on a machine of the demo that runs. It returns only if it cannot.
func visit(name string, command []string) int {
	refuse := func(format string, args ...any) int {
		fmt.Fprintf(os.Stderr, "demo: "+format+"\n", args...)
		return exitUsage
	}
	if strings.HasPrefix(name, "-") {
		return refuse("usage: demo, or, while that runs: demo MACHINE [COMMAND…]")
	}
	if os.Geteuid() != 0 {
		return refuse("the demo's machines are root's: sudo %s", strings.Join(os.Args, " "))
	}
	n, err := latest()
	if err != nil {
		return refuse("%v", err)
	}
	m, ok := n.Machines[name]
	if !ok {
		return refuse("there is no machine %q, but %s", name, strings.Join(slices.Sorted(maps.Keys(n.Machines)), ", "))
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		return refuse("%v", err)
	}
	if len(command) == 0 {
		fmt.Printf("A shell on %s. Leave it with exit.\n", name)
		command = []string{"/bin/sh"}
	}
	args := append([]string{
		"ip", "netns", "exec", m.Namespace,
		"env", "PATH=" + n.Programs + ":" + os.Getenv("PATH"), "PS1=" + name + "# ",
		"WARREN_SOCKET=" + m.Socket, "STATE_DIRECTORY=" + filepath.Join(m.Dir, "state"), // for warren, for warren-coord
	}, command...)
	return refuse("%v", syscall.Exec(ip, args, os.Environ()))
}

// latest finds the demo that was started last.
func latest() (noted, error) {
	var n noted
	files, _ := filepath.Glob(filepath.Join(os.TempDir(), "wlab-*", noteFile)) // the pattern is well-formed
	slices.SortFunc(files, func(a, b string) int { return modified(b) - modified(a) })
	if len(files) == 0 {
		return n, fmt.Errorf("no demo runs: start one with 'make demo' in another terminal")
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return n, err
	}
	return n, json.Unmarshal(text, &n)
}

func modified(file string) int {
	fi, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return int(fi.ModTime().UnixNano())
}
