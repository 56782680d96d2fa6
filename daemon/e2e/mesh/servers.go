package mesh

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// startLimit is how long a server may take until it answers.
const startLimit = 20 * time.Second

// Mesh is a network's servers, and the machines on it.
type Mesh struct {
	Net   *lab.Net
	Coord *Coord
	Relay *Relay

	t        lab.TB
	programs Programs
	mark     string // of one letter or digit, that no other mesh of the process has at the same time
	six      bool   // its servers have names of IPv6
}

// meshes counts those of this process.
var meshes atomic.Int64

func newMesh(t lab.TB, n *lab.Net, programs Programs) *Mesh {
	return &Mesh{Net: n, t: t, programs: programs, mark: strconv.FormatInt(meshes.Add(1)%36, 36)}
}

// Start starts the two servers in the lab's internet.
func Start(t lab.TB, n *lab.Net, programs Programs) *Mesh {
	t.Helper()
	return newMesh(t, n, programs).start()
}

// StartIPv6 is Start with servers that are reached over IPv6 alone.
func StartIPv6(t lab.TB, n *lab.Net, programs Programs) *Mesh {
	t.Helper()
	m := newMesh(t, n, programs)
	m.six = true
	return m.start()
}

func (m *Mesh) start() *Mesh {
	m.t.Helper()
	m.Coord = m.startCoord(m.Net.Internet().Host("coord"), "demo", "--no-relay")
	m.Relay = m.AddRelay(m.Net.Internet().Host("relay"), "demo")
	return m
}

// addr is the address by which others are told of a server.
func (m *Mesh) addr(machine *lab.Machine) netip.Addr {
	if m.six {
		return machine.Addr6()
	}
	return machine.Addr()
}

// Serve starts warren-coord on a machine as somebody does who just types it: nothing is set up before, there is no other
// relay, and its port is 443. It waits until it is ready.
func Serve(t lab.TB, n *lab.Net, machine *lab.Machine, programs Programs, flags ...string) *Mesh {
	t.Helper()
	m := newMesh(t, n, programs)
	c := &Coord{Machine: machine, m: m}
	m.Coord = c
	c.URL = fmt.Sprintf("https://%s", c.Addr())
	state := "STATE_DIRECTORY=" + filepath.Join(c.Dir(), "state") // as systemd gives it
	c.Proc = c.Machine.Start(append([]string{"env", state, programs.path("warren-coord"), "serve"}, flags...)...)
	c.Proc.WaitOutput("warren-coord serves "+c.URL+"\n", startLimit)
	c.Invite = strings.TrimSpace(c.Run("invite"))
	return m
}

// Coord is a running warren-coord.
type Coord struct {
	*lab.Machine
	Proc   *lab.Proc
	URL    string
	Invite string // the link that names the server and pins its identity

	m     *Mesh
	keys  int
	flags []string // of serve
}

// AddCoord starts a coordination server of another network, with a relay of its own.
func (m *Mesh) AddCoord(name, network string) *Coord {
	m.t.Helper()
	return m.startCoord(m.Net.Internet().Host(name), network)
}

func (m *Mesh) startCoord(machine *lab.Machine, network string, flags ...string) *Coord {
	m.t.Helper()
	c := &Coord{Machine: machine, m: m, flags: flags, URL: "https://" + netip.AddrPortFrom(m.addr(machine), 8443).String()}
	out := c.Run("init", "--url", c.URL, "--network", network)
	for _, word := range strings.Fields(out) {
		if strings.HasPrefix(word, c.URL) && strings.Contains(word, "#") {
			c.Invite = word
		}
	}
	if c.Invite == "" {
		m.t.Fatalf("warren-coord init printed no invite link:\n%s", out)
	}
	c.Start()
	return c
}

// Start starts the server, at first or again, and waits until it answers.
func (c *Coord) Start() {
	c.m.t.Helper()
	c.Proc = c.Machine.Start(c.args(append([]string{"serve", "--listen", ":8443"}, c.flags...)...)...)
	lab.Eventually(c.m.t, startLimit, func() error {
		if !c.Proc.Running() {
			c.m.t.Fatalf("warren-coord ended")
		}
		_, err := c.Machine.Run(c.args("status")...)
		return err
	})
}

func (c *Coord) args(args ...string) []string {
	return append([]string{c.m.programs.path("warren-coord"), "--state", filepath.Join(c.Dir(), "state")}, args...)
}

// Run runs one of the server's commands for its administrator.
func (c *Coord) Run(args ...string) string {
	c.m.t.Helper()
	return c.MustRun(c.args(args...)...)
}

// AddUser makes an account.
func (c *Coord) AddUser(name, password string) {
	c.m.t.Helper()
	cmd := c.Command(c.args("user", "add", name)...)
	cmd.Stdin = strings.NewReader(password + "\n")
	if _, err := c.RunCmd(cmd); err != nil {
		c.m.t.Fatalf("could not add a user: %v", err)
	}
}

// Key makes a pre-auth key and gives the name of the file that holds it.
func (c *Coord) Key(flags ...string) string {
	c.m.t.Helper()
	c.keys++
	file := filepath.Join(c.Dir(), fmt.Sprintf("key-%d", c.keys))
	c.Run(append([]string{"key", "create", "--out", file}, flags...)...)
	return file
}

// Relay is a running warren-relay.
type Relay struct {
	*lab.Machine
	Proc *lab.Proc

	m    *Mesh
	args []string
}

// AddRelay starts a relay, and adds it to the network as its own words say.
func (m *Mesh) AddRelay(machine *lab.Machine, name string) *Relay {
	m.t.Helper()
	program, state := m.programs.path("warren-relay"), filepath.Join(machine.Dir(), "state")
	issuer := m.Coord.Invite[strings.Index(m.Coord.Invite, "#")+1:]
	where := []string{"--state", state, "--udp", ":3478", "--https", ":443"}
	r := &Relay{Machine: machine, m: m, args: append([]string{program, "serve", "--issuer", issuer}, where...)}
	r.Start()
	out := machine.MustRun(append([]string{program, "key", "--name", name, "--host", m.addr(machine).String()}, where...)...)
	for line := range strings.Lines(out) {
		if _, command, found := strings.Cut(line, "warren-coord "); found {
			m.Coord.Run(strings.Fields(command)...)
			return r
		}
	}
	m.t.Fatalf("warren-relay key did not say how to add it:\n%s", out)
	return nil
}

// Start starts the relay, at first or again.
func (r *Relay) Start() {
	r.m.t.Helper()
	r.Proc = r.Machine.Start(r.args...)
	lab.Eventually(r.m.t, startLimit, func() error {
		if !r.Proc.Running() {
			r.m.t.Fatalf("warren-relay ended")
		}
		conn, err := r.Dial("tcp", "127.0.0.1:443")
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
}

// Write puts a file into a machine's directory.
func Write(t lab.TB, m *lab.Machine, name, content string) string {
	t.Helper()
	path := filepath.Join(m.Dir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	return path
}
