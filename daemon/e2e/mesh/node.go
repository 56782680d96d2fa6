package mesh

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/browser"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/internal/tunnel"
	"github.com/warren-mesh/warren/ipc"
)

// endLimit is how long a daemon may take to end at the end of the lab.
const endLimit = 3 * time.Second

// maxInterface is how long an interface's name may be (IFNAMSIZ without the final zero).
const maxInterface = 15

// Node is a machine with a running warrend.
type Node struct {
	*lab.Machine
	Daemon *lab.Proc
	Home   *lab.Router // nil where the machine is on the internet itself

	m       *Mesh
	starter []string
}

// Behind starts a daemon on a new machine behind a new router of its own.
func (m *Mesh) Behind(nat lab.NAT, name string) *Node {
	m.t.Helper()
	home := m.Net.Internet().Router("home-"+name, nat)
	n := m.Node(home.Host(name))
	n.Home = home
	return n
}

// Node starts a daemon on the machine.
func (m *Mesh) Node(machine *lab.Machine) *Node {
	m.t.Helper()
	return m.NodeWith(machine)
}

// NodeWith is Node for a daemon that another command starts: the daemon's command line follows its words.
func (m *Mesh) NodeWith(machine *lab.Machine, starter ...string) *Node {
	m.t.Helper()
	n := &Node{Machine: machine, m: m, starter: starter}
	m.t.Cleanup(n.end)
	n.StartDaemon()
	return n
}

// end asks the daemon to end before the lab kills it: what it has outside of its machine's namespace and directory
// (the wg tool's socket) only it can take away.
func (n *Node) end() {
	if n.Daemon == nil {
		return
	}
	n.Daemon.Resume() // it may be paused
	n.Daemon.Signal(syscall.SIGTERM)
	if n.Daemon.Wait(endLimit) != nil {
		_ = os.Remove(filepath.Join(tunnel.SocketDir, n.Interface()+".sock"))
	}
}

// Interface is the name of its network interface. The wg tool finds a device by a socket that all namespaces of a
// host share, so each has a name of its own, also beside other runs: "wa", a mark of this process, one of the mesh, and what
// fits of the machine's name.
func (n *Node) Interface() string {
	name := InterfacePrefix(os.Getpid()) + n.m.mark + n.Name()
	return name[:min(len(name), maxInterface)]
}

// InterfacePrefix begins the names of the interfaces of all nodes of a process.
func InterfacePrefix(pid int) string {
	return fmt.Sprintf("wa%03s", strconv.FormatInt(int64(pid)%(36*36*36), 36))
}

// Socket is where its daemon listens.
func (n *Node) Socket() string { return filepath.Join(n.Dir(), "warrend.sock") }

// State is its daemon's state directory.
func (n *Node) State() string { return filepath.Join(n.Dir(), "state") }

// StartDaemon starts warrend, at first or again, and waits until it answers.
func (n *Node) StartDaemon() {
	n.m.t.Helper()
	command := n.m.Daemon("--state", n.State(), "--socket", n.Socket(), "--tun", n.Interface())
	n.Daemon = n.Start(append(slices.Clone(n.starter), command...)...)
	lab.Eventually(n.m.t, startLimit, func() error {
		if !n.Daemon.Running() {
			n.m.t.Fatalf("warrend on %s ended", n.Name())
		}
		_, err := n.status()
		return err
	})
}

// Daemon is a command line of warrend, for a test that expects it to fail. The host's DNS is none of its business: all
// machines of a lab see the files of the one that runs it.
func (m *Mesh) Daemon(flags ...string) []string {
	return append([]string{m.programs.path("warrend"), "--host-dns=false"}, flags...)
}

// Recover runs warrend recover.
func (n *Node) Recover(flags ...string) {
	n.m.t.Helper()
	n.MustRun(append([]string{n.m.programs.path("warrend"), "recover", "--state", n.State()}, flags...)...)
}

// Lockdown runs warrend lockdown, as at boot.
func (n *Node) Lockdown() {
	n.m.t.Helper()
	n.MustRun(n.m.programs.path("warrend"), "lockdown", "--state", n.State())
}

// Args is a command of the CLI.
func (n *Node) Args(args ...string) []string {
	return append([]string{n.m.programs.path("warren"), "--socket", n.Socket()}, args...)
}

// Warren runs a command of the CLI.
func (n *Node) Warren(args ...string) (string, error) {
	n.m.t.Helper()
	return n.Run(n.Args(args...)...)
}

// MustWarren runs a command of the CLI without which the test cannot go on.
func (n *Node) MustWarren(args ...string) string {
	n.m.t.Helper()
	return n.MustRun(n.Args(args...)...)
}

// Up joins the network with the pre-auth key in the file.
func (n *Node) Up(keyFile string) {
	n.m.t.Helper()
	n.UpAt(n.m.Coord, keyFile)
}

// UpAt is Up at another server.
func (n *Node) UpAt(c *Coord, keyFile string) {
	n.m.t.Helper()
	n.MustWarren("up", c.Invite, "--auth-key", "file:"+keyFile, "--hostname", n.Name())
}

// Login runs up or login, with a person at a browser on the same machine, and returns when it has ended.
func (n *Node) Login(user, password string, command ...string) {
	n.m.t.Helper()
	p := n.Start(n.Args(append(command, "--no-browser")...)...)
	page := ""
	lab.Eventually(n.m.t, startLimit, func() error {
		for word := range strings.FieldsSeq(p.Output()) {
			if strings.Contains(word, "/login/") && strings.Contains(word, "port=") {
				page = word
				return nil
			}
		}
		return fmt.Errorf("%v shows no address to open:\n%s", command, p.Output())
	})
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if _, err := browser.New(n.DialContext).Login(ctx, page, user, password); err != nil {
		n.m.t.Fatalf("the login's pages: %v", err)
	}
	if err := p.Wait(startLimit); err != nil {
		n.m.t.Fatalf("%v: %v\n%s", command, err, p.Output())
	}
}

// status asks the daemon itself: a program started for each look of a test that waits would take the processors from what is
// waited for.
func (n *Node) status() (*ipc.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lab.Patience*startLimit)
	defer cancel()
	c := ipc.NewClient(n.Socket())
	defer c.Close()
	return c.Status(ctx)
}

// Status is what the daemon says of itself, as warren status --json shows it.
func (n *Node) Status() *ipc.Status {
	n.m.t.Helper()
	s, err := n.status()
	if err != nil {
		n.m.t.Fatalf("no status of %s: %v", n.Name(), err)
	}
	return s
}

// Inner gives a node's IPv4 address in the network.
func (n *Node) Inner() netip.Addr {
	n.m.t.Helper()
	s := n.Status()
	if len(s.Self.Addrs) == 0 {
		n.m.t.Fatalf("%s has no address: %+v", n.Name(), s)
	}
	return s.Self.Addrs[0]
}

// Peer gives what a node sees of another one.
func (n *Node) Peer(other *Node) (*ipc.Peer, error) {
	n.m.t.Helper()
	s, err := n.status()
	if err != nil {
		return nil, err
	}
	for i := range s.Peers {
		if s.Peers[i].Name == other.Name() {
			return &s.Peers[i], nil
		}
	}
	return nil, fmt.Errorf("%s does not know %s (state %s, %d peers)", n.Name(), other.Name(), s.State, len(s.Peers))
}

// WaitPing waits until the system's ping from n to other is answered, and returns how long that took.
func (n *Node) WaitPing(other *Node, d time.Duration) time.Duration {
	n.m.t.Helper()
	to := other.Inner()
	return lab.Eventually(n.m.t, d, func() error { return n.PingOnce(to) })
}

// PingQuick sends one echo request and waits for a tenth of a second.
func (n *Node) PingQuick(to netip.Addr) error {
	_, err := n.Run("ping", "-n", "-c1", "-W0.1", to.String())
	return err
}

// PingOnce sends one echo request and waits for a second at the most.
func (n *Node) PingOnce(to netip.Addr) error {
	_, err := n.Run("ping", "-n", "-c1", "-W1", to.String())
	return err
}

// WaitPath waits until packets to other take a path of the kind, with traffic to wake it, and returns the path and
// how long that took.
func (n *Node) WaitPath(other *Node, kind ipc.PathKind, d time.Duration) (path ipc.Path, took time.Duration) {
	n.m.t.Helper()
	to := other.Inner()
	took = lab.Eventually(n.m.t, d, func() error {
		_ = n.PingOnce(to)
		p, err := n.Peer(other)
		if err != nil {
			return err
		}
		path = p.Path
		if p.Path.Kind != kind {
			return fmt.Errorf("%s reaches %s by %q (%s), not %q", n.Name(), other.Name(), p.Path.Kind, p.Path.Reason, kind)
		}
		return nil
	})
	return path, took
}

// Routes is everything that ip tells of a machine's addresses, routes and rules: to compare before and after.
func Routes(m *lab.Machine) string {
	for range 50 { // addresses are given a moment to become what they stay (duplicate detection, RFC 4862)
		if out, err := m.Run("ip", "-6", "addr", "show", "tentative"); err == nil && out == "" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	var all strings.Builder
	for _, what := range []string{"addr", "route show table all", "-6 route show table all", "rule", "-6 rule", "link"} {
		out, err := m.Run(append([]string{"ip"}, strings.Fields(what)...)...)
		if err != nil {
			out = err.Error()
		}
		fmt.Fprintf(&all, "== ip %s\n%s", what, out)
	}
	filter, err := m.Run("nft", "-s", "list", "ruleset") // without counts
	if err != nil {
		filter = err.Error()
	}
	fmt.Fprintf(&all, "== nft list ruleset\n%s", filter)
	return all.String()
}
