package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// How long a machine waits before it comes back: the daemon's own waits.
const (
	firstWait   = 200 * time.Millisecond
	longestWait = 30 * time.Second
)

// network is the simulated machines of one server.
type network struct {
	nodes   []*node
	circles []*circle

	joined  atomic.Int64 // machines that have had their first whole netmap
	fulls   atomic.Int64 // whole netmaps that came after the first
	retries atomic.Int64 // first contacts that failed and were tried again
	work    sync.WaitGroup
}

// circle is machines that see each other, and nobody else. The first of them speaks.
type circle struct {
	nodes   []*node
	current atomic.Pointer[news]
	said    int // changes made
}

// node is one simulated machine.
type node struct {
	net     *network
	circle  *circle
	index   int // in the network
	place   int // in its circle
	client  *coord.Client
	private key.Node
	disco   key.DiscoPublic
	authKey string

	seq   uint64 // the last number; owned by follow
	heard int    // the last news; owned by follow
}

// news is one change on its way.
type news struct {
	number int
	mark   []byte // what only its body holds
	start  time.Time
	took   []time.Duration // by place; written once by each, before left falls
	left   atomic.Int64
	all    chan struct{}
}

// newNetwork makes n machines, in as many circles as the server has pre-auth keys.
func newNetwork(s *server, n int) *network {
	net := &network{nodes: make([]*node, n), circles: make([]*circle, len(s.authKeys))}
	for i := range net.circles {
		net.circles[i] = &circle{}
	}
	for i := range net.nodes {
		c, err := coord.NewClient(coord.ClientConfig{URL: s.url(), Pin: s.pin, Machine: key.NewMachine()})
		if err != nil {
			panic(err) // it connects to nothing yet
		}
		at := i % len(net.circles)
		o := net.circles[at]
		net.nodes[i] = &node{
			net: net, circle: o, index: i, place: len(o.nodes), client: c,
			private: key.NewNode(), disco: key.NewDisco().Public(), authKey: s.authKeys[at],
		}
		o.nodes = append(o.nodes, net.nodes[i])
	}
	return net
}

func (net *network) wait() {
	net.work.Wait()
	for _, n := range net.nodes {
		n.client.Close()
	}
}

// update is what a machine says of itself; the number makes its endpoints others.
func (n *node) update(number int) coord.NodeUpdate {
	return coord.NodeUpdate{
		Disco: n.disco, OS: "linux", Version: "1.2.3",
		Endpoints: []coord.Endpoint{
			{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, byte(n.index >> 8), byte(n.index)}), 41641), Kind: coord.EndpointLocal},
			{Addr: endpoint(n.index, number), Kind: coord.EndpointSTUN},
		},
	}
}

// endpoint is another one for each number.
func endpoint(index, number int) netip.AddrPort {
	a := netip.AddrFrom4([4]byte{198, 18 + byte(number/60_000), byte(index >> 8), byte(index)})
	return netip.AddrPortFrom(a, uint16(1024+number%60_000))
}

// join makes the machine a node, and returns when it has its first whole netmap. Its stream goes on until life ends.
func (n *node) join(ctx, life context.Context) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := n.enter(ctx)
		if err == nil {
			break
		}
		if e := (*coord.Error)(nil); errors.As(err, &e) && e.Code != coord.CodeBusy {
			return err
		}
		n.net.retries.Add(1)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
	first := make(chan struct{})
	n.net.work.Go(func() { n.run(life, sync.OnceFunc(func() { close(first) })) })
	select {
	case <-first:
		n.net.joined.Add(1)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter registers the machine, and says what it is.
func (n *node) enter(ctx context.Context) error {
	reply, err := n.client.Register(ctx, n.private, coord.RegisterRequest{
		Hostname: fmt.Sprintf("m%d", n.index), AuthKey: n.authKey, OS: "linux", Version: "1.2.3",
	})
	if err != nil {
		return err
	}
	if !reply.Registered {
		return errors.New("the server wants a login")
	}
	return n.client.Update(ctx, n.update(0))
}

// run follows the netmap as the daemon does: it comes back as often as the stream ends.
func (n *node) run(ctx context.Context, came func()) {
	wait := firstWait
	for again := false; ; again = true {
		started := time.Now()
		err := n.once(ctx, again, came)
		if ctx.Err() != nil {
			return
		}
		if n.index == 0 {
			say("the first machine's stream ended: %v", err)
		}
		if time.Since(started) > longestWait {
			wait = firstWait
		}
		pause := wait/2 + rand.N(wait)
		wait = min(2*wait, longestWait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// once is one session. The update comes before the stream, and so needs no connection of its own.
func (n *node) once(ctx context.Context, again bool, came func()) error {
	if again {
		if _, err := n.client.Connect(ctx); err != nil {
			return err
		}
		if err := n.client.Update(ctx, n.update(n.spoken())); err != nil {
			return err
		}
	}
	return n.client.Lines(ctx, n.seq, func(l *coord.Line) error {
		if l.Prev != 0 && l.Prev != n.seq {
			n.seq = 0
			return coord.ErrGap
		}
		if l.Prev == 0 && again {
			n.net.fulls.Add(1)
		}
		n.seq = l.Seq
		came()
		return n.look(l)
	})
}

// spoken is the number of what the machine said last.
func (n *node) spoken() int {
	if c := n.circle.current.Load(); n.place == 0 && c != nil {
		return c.number
	}
	return 0
}

// look notes the news that are on their way when they come.
func (n *node) look(l *coord.Line) error {
	c := n.circle.current.Load()
	if c == nil || n.heard == c.number {
		return nil
	}
	body, err := l.Text()
	if err != nil || !bytes.Contains(body, c.mark) {
		return err
	}
	n.heard = c.number
	c.took[n.place] = time.Since(c.start)
	if c.left.Add(-1) == 0 {
		close(c.all)
	}
	return nil
}

// heard is how long a change took.
type heard struct {
	said time.Duration // until the server had answered who said it
	took []time.Duration
}

// last is until the last of a sample had it; of all for 0.
func (h heard) last(sample int) (last time.Duration) {
	step := 1
	if sample > 0 {
		step = max(1, len(h.took)/sample)
	}
	for i := 0; i < len(h.took); i += step {
		last = max(last, h.took[i])
	}
	return last
}

var errNobodyHeard = errors.New("a change did not come to all")

// change lets the first machine say another endpoint, and waits until all of its circle have verified it, itself too.
func (o *circle) change(ctx context.Context, timeout time.Duration) (heard, error) {
	o.said++
	speaker := o.nodes[0]
	c := &news{number: o.said, start: time.Now(), took: make([]time.Duration, len(o.nodes)), all: make(chan struct{})}
	c.mark = []byte(`"` + endpoint(speaker.index, o.said).String() + `"`)
	c.left.Store(int64(len(o.nodes)))
	o.current.Store(c)
	if err := speaker.client.Update(ctx, speaker.update(o.said)); err != nil {
		return heard{}, fmt.Errorf("the server took no change: %w", err)
	}
	h := heard{said: time.Since(c.start), took: c.took}
	over := time.NewTimer(timeout)
	defer over.Stop()
	select {
	case <-c.all:
		return h, nil
	case <-over.C:
		return h, fmt.Errorf("%w within %v: %d of %d machines never had it", errNobodyHeard, timeout, c.left.Load(), len(o.nodes))
	case <-ctx.Done():
		return h, ctx.Err()
	}
}

// back waits until every machine has a stream again, as the server counts them: a stream without news is silent.
func (net *network) back(ctx context.Context, s *server) error {
	for i := 1; ; i++ {
		count, err := s.streams(ctx)
		if err == nil && count == len(net.nodes) {
			return nil
		}
		if i%50 == 0 {
			say("%d of %d machines are back", count, len(net.nodes))
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d machines came back: %w", count, len(net.nodes), ctx.Err())
		}
	}
}
