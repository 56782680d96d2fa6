package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/browser"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

const (
	account   = "demo"
	stepLimit = 20 * time.Second // for what should take one
	pollEvery = 20 * time.Millisecond
)

// demo is one run.
type demo struct {
	screen   *screen
	programs mesh.Programs
	stays    bool // until Ctrl-C, with things to try
	person   bool // bob's login page is left to a person

	begun       time.Time
	finished    atomic.Bool // all of it was so
	interrupted atomic.Bool

	t            lab.TB
	net          *lab.Net
	mesh         *mesh.Mesh
	homeA, homeB *lab.Router
	laptop       *lab.Machine // in homeA
	server       *lab.Machine // in homeB
	alice, bob   *mesh.Node   // the two, with warrend
	password     string
	console      string // where a browser of this machine finds warren-coord; "" before that is asked for
}

// story is what the demo shows.
func (d *demo) story(ctx context.Context, t lab.TB) {
	d.t, d.begun = t, time.Now()
	d.screen.say("\n%s\n", d.screen.bold("Warren: two machines behind two NATs become one network."))
	for _, part := range []func(context.Context){d.build, d.join, d.look, d.cross, d.stay} {
		part(ctx)
	}
}

// build makes the network and starts the servers and the daemons.
func (d *demo) build(ctx context.Context) {
	d.do(ctx, "An internet, with warren-coord and warren-relay in it", func() {
		d.net = lab.New(d.t)
		d.mesh = mesh.Start(d.t, d.net, d.programs)
	})
	d.do(ctx, "Two homes, each with a machine behind a NAT router", func() {
		d.homeA = d.net.Internet().Router("home1", lab.EasyNAT)
		d.homeB = d.net.Internet().Router("home2", lab.EasyNAT)
		d.laptop, d.server = d.homeA.Host("alice"), d.homeB.Host("bob")
	})
	d.screen.say("\n%s", d.picture())
	d.do(ctx, "warrend runs on alice and on bob", func() {
		d.alice, d.bob = d.mesh.Node(d.laptop), d.mesh.Node(d.server)
	})
	d.note()
}

// join brings both machines onto the network, each its way.
func (d *demo) join(ctx context.Context) {
	var key string
	d.do(ctx, "warren-coord makes an account and a pre-auth key", func() {
		d.password = newPassword()
		d.mesh.Coord.AddUser(account, d.password)
		key = d.mesh.Coord.Key("--user", account)
	})
	d.do(ctx, "alice joins with the pre-auth key", func() { d.alice.Up(key) })
	if d.person {
		d.joinByPerson(ctx)
	} else {
		d.do(ctx, "bob joins through the login page, in a browser played by the demo", func() { d.joinByPlayer(ctx) })
	}
	d.do(ctx, "alice's first ping to bob is answered", func() {
		d.await(ctx, func() error {
			_, err := d.peer(ctx, d.alice, d.bob)
			return err
		})
		d.alice.WaitPing(d.bob, stepLimit)
	})
}

// joinByPlayer runs warren up on bob, and what a person would do in a browser there.
func (d *demo) joinByPlayer(ctx context.Context) {
	up, page := d.startLogin(ctx)
	seen, err := browser.New(d.bob.DialContext).Login(ctx, page, account, d.password)
	if err != nil {
		d.fail(ctx, "the login page: %v", err)
	}
	d.waitLogin(ctx, up)
	fmt.Fprintf(d.screen, "    pages: %s\n", strings.Join(seen, " → "))
}

// startLogin runs warren up on bob and returns the address that it wants to be opened there.
func (d *demo) startLogin(ctx context.Context) (up *lab.Proc, page string) {
	up = d.bob.Start(d.bob.Args("up", d.mesh.Coord.Invite, "--hostname", d.bob.Name(), "--no-browser")...)
	d.await(ctx, func() error {
		for word := range strings.FieldsSeq(up.Output()) {
			if strings.HasPrefix(word, d.mesh.Coord.URL+"/login/") && strings.Contains(word, "port=") {
				page = word
				return nil
			}
		}
		if !up.Running() {
			d.fail(ctx, "warren up on bob ended:\n%s", up.Output())
		}
		return fmt.Errorf("warren up on bob shows no address to open:\n%s", up.Output())
	})
	return up, page
}

// waitLogin waits for warren up to end well.
func (d *demo) waitLogin(ctx context.Context, up *lab.Proc) {
	d.await(ctx, func() error {
		if up.Running() {
			return fmt.Errorf("warren up on bob goes on:\n%s", up.Output())
		}
		return nil
	})
	if err := up.Wait(time.Second); err != nil {
		d.fail(ctx, "warren up on bob: %v\n%s", err, up.Output())
	}
}

// look shows what both see of each other, and the way that their packets take.
func (d *demo) look(ctx context.Context) {
	d.do(ctx, "the path between them is direct", func() { d.awaitPath(ctx, ipc.PathDirect) })
	d.sayRoute(ctx)
	d.show(d.alice, "status")
	d.show(d.bob, "status")
	d.show(d.alice, "ping", d.bob.Name())
	d.show(d.bob, "ping", d.alice.Name())
	d.showPing(d.alice, d.bob)
	d.showPing(d.bob, d.alice)
}

// show runs a command of warren and shows what it wrote.
func (d *demo) show(n *mesh.Node, args ...string) {
	d.screen.quote(n.Name(), "warren "+strings.Join(args, " "), n.MustWarren(args...))
}

// showPing shows the system's ping by address.
func (d *demo) showPing(from, to *mesh.Node) {
	command := []string{"ping", "-n", "-c", "3", "-i", "0.2", to.Inner().String()}
	d.screen.quote(from.Name(), strings.Join(command, " "), from.MustRun(command...))
}

// sayRoute says which way packets go directly: through which addresses on both sides.
func (d *demo) sayRoute(ctx context.Context) {
	atB, err := d.peer(ctx, d.alice, d.bob)
	d.must(ctx, err)
	atA, err := d.peer(ctx, d.bob, d.alice)
	d.must(ctx, err)
	names, ways := "", ""
	for _, hop := range []struct{ name, addr, arrow string }{
		{"alice", fmt.Sprintf("%v:%d", d.alice.Addr(), d.alice.Status().Self.Port), " ── "},
		{"home1", atA.Path.Endpoint.String(), " ◀──▶ "},
		{"home2", atB.Path.Endpoint.String(), " ── "},
		{"bob", fmt.Sprintf("%v:%d", d.bob.Addr(), d.bob.Status().Self.Port), ""},
	} {
		names += fmt.Sprintf("%-*s", len(hop.addr)+len([]rune(hop.arrow)), hop.name)
		ways += hop.addr + hop.arrow
	}
	d.screen.say("    %s\n    %s\n", strings.TrimRight(names, " "), ways)
}

// do shows a step. It does not begin one after the end of ctx.
func (d *demo) do(ctx context.Context, text string, f func()) {
	d.leaveIfOver(ctx)
	d.screen.do(text, f)
}

// await calls f until it returns nil. If it does not within stepLimit, or ctx ends, the story ends.
func (d *demo) await(ctx context.Context, f func() error) {
	for limit := time.Now().Add(stepLimit); ; {
		err := f()
		if err == nil {
			return
		}
		d.leaveIfOver(ctx)
		if time.Now().After(limit) {
			d.fail(ctx, "not within %v: %v", stepLimit, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
}

func (d *demo) must(ctx context.Context, err error) {
	if err != nil {
		d.fail(ctx, "%v", err)
	}
}

// fail ends the story. What fails after the end of ctx fails because of it.
func (d *demo) fail(ctx context.Context, format string, args ...any) {
	d.leaveIfOver(ctx)
	d.t.Fatalf(format, args...)
}

// leaveIfOver ends the story where ctx has ended.
func (d *demo) leaveIfOver(ctx context.Context) {
	if ctx.Err() == nil {
		return
	}
	if !d.interrupted.Load() {
		d.t.Fatalf("%v", context.Cause(ctx))
	}
	runtime.Goexit()
}

// peer is what a node sees of another one, asked at its socket: a process for each look would take longer than what
// is to be timed.
func (d *demo) peer(ctx context.Context, n, other *mesh.Node) (*ipc.Peer, error) {
	c := ipc.NewClient(n.Socket())
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	for i := range s.Peers {
		if s.Peers[i].Name == other.Name() {
			return &s.Peers[i], nil
		}
	}
	return nil, fmt.Errorf("%s does not know %s", n.Name(), other.Name())
}

// newPassword is one that a person can type.
func newPassword() string {
	t := strings.ToLower(rand.Text())
	return t[:4] + "-" + t[4:8] + "-" + t[8:12]
}

// dir is the lab's directory.
func (d *demo) dir() string { return filepath.Dir(d.alice.Dir()) }
