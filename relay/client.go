package relay

import (
	"context"

	"github.com/warren-mesh/warren/coord/key"
)

// Client is a link to one relay, which it opens and keeps open while Run runs. Send and Receive move packets.
type Client struct{ cfg ClientConfig }

// NewClient makes a client. It does nothing before Run.
func NewClient(cfg ClientConfig) *Client { return &Client{cfg: cfg} }

// Run keeps the link open until ctx ends, and returns nil then. It owns every goroutine of the client.
func (c *Client) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Send sends packets to a node. It never waits for a link: while there is none, it keeps the last few packets for it.
// Several may call it at a time. A packet's spare capacity may be overwritten.
func (c *Client) Send(dst key.NodePublic, packets [][]byte) error { return nil }

// Receive waits for packets, and fills bufs, sizes and from with at least one. One may call it at a time, again and
// again while Run runs: what keeps the link alive is read here too. It returns ErrClosed once Run has ended.
func (c *Client) Receive(bufs [][]byte, sizes []int, from []Address) (int, error) {
	return 0, ErrClosed
}

// State gives a snapshot.
func (c *Client) State() State { return State{} }

// Rebind tells that the host's network has changed.
func (c *Client) Rebind() {}
