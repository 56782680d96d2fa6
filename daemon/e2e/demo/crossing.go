package main

import (
	"context"
	"fmt"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// steady is how many answers in a row show that a ping goes on.
const steady = 20

// cross blocks UDP between the homes and unblocks it, under a ping that goes on.
func (d *demo) cross(ctx context.Context) {
	p := startPinger(d.alice.Machine, d.bob.Inner())
	defer p.stop()
	d.do(ctx, fmt.Sprintf("a ping from alice to bob begins, and goes on every %v", pingInterval), func() {
		d.awaitAnswers(ctx, p)
	})
	var fault *lab.Fault
	d.change(ctx, p, "UDP between the homes is blocked: the ping goes on, relayed", ipc.PathRelay, func() {
		fault = d.net.BlockUDP(d.homeA, d.homeB)
	})
	d.show(d.alice, "ping", "-c", "1", d.bob.Name())
	d.change(ctx, p, "UDP is unblocked: it is direct again", ipc.PathDirect, func() { fault.Heal() })
	d.show(d.alice, "ping", "-c", "1", d.bob.Name())
}

// change changes the network, waits until packets take a path of the kind and the ping goes on over it, and says how
// long that took and what was lost.
func (d *demo) change(ctx context.Context, p *pinger, text string, kind ipc.PathKind, f func()) {
	var took time.Duration
	var lost loss
	d.do(ctx, text, func() {
		from := p.now()
		begun := time.Now()
		f()
		d.awaitPath(ctx, kind)
		took = time.Since(begun)
		d.awaitAnswers(ctx, p)
		lost = p.since(from)
	})
	way, err := d.peer(ctx, d.alice, d.bob)
	d.must(ctx, err)
	d.screen.say("    %s after %s; %v\n", describe(way.Path), d.screen.bold(seconds(took)), lost)
}

// awaitAnswers waits until the ping's answers come steadily from now on.
func (d *demo) awaitAnswers(ctx context.Context, p *pinger) {
	from := p.now()
	d.await(ctx, func() error { return p.flows(from, steady) })
}

// awaitPath waits until both ends send on a path of the kind.
func (d *demo) awaitPath(ctx context.Context, kind ipc.PathKind) {
	for _, ends := range [][2]*mesh.Node{{d.alice, d.bob}, {d.bob, d.alice}} {
		d.await(ctx, func() error {
			p, err := d.peer(ctx, ends[0], ends[1])
			if err == nil && p.Path.Kind != kind {
				err = fmt.Errorf("%s reaches %s by %q (%s), not %q", ends[0].Name(), ends[1].Name(), p.Path.Kind, p.Path.Reason, kind)
			}
			return err
		})
	}
}

func describe(p ipc.Path) string {
	if p.Kind == ipc.PathRelay {
		return "through relay " + p.Relay
	}
	return fmt.Sprintf("%s to %v", p.Kind, p.Endpoint)
}
