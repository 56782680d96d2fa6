package sock

import (
	"context"
	"net/netip"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
)

// Explanation is why the path to a peer is what it is.
type Explanation struct {
	peerpath.Explanation
	UDPBlocked bool       // no relay answers over UDP
	Mapped     bool       // the router leads a port here
	Relayed    bool       // there is a link to the peer's relay
	Heard      time.Time  // when something came from the peer last, by any way; zero: never
	Shared     netip.Addr // the public address that both are behind; not valid: they are not, as far as is known
}

type explainAsk struct {
	key   key.NodePublic
	reply chan<- *Explanation // nil: there is no such peer
}

// Explain asks the loop. It fails with ErrUnknownPeer, or where ctx ends.
func (s *Sock) Explain(ctx context.Context, k key.NodePublic) (*Explanation, error) {
	reply := make(chan *Explanation, 1)
	s.post(func(m *mail) { m.explain = append(m.explain, explainAsk{k, reply}) })
	select {
	case e := <-reply:
		if e == nil {
			return nil, ErrUnknownPeer
		}
		return e, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *loop) answerExplain(ask explainAsk) {
	p := l.peers[ask.key]
	if p == nil {
		ask.reply <- nil
		return
	}
	e := &Explanation{
		Explanation: p.machine.Explain(), UDPBlocked: l.local.blocked, Mapped: len(l.portEndpoint()) > 0,
		Relayed: l.relayEvent(p).Up, Heard: p.heard,
	}
	if at := time.Unix(p.ep.received.Load(), 0); at.Unix() != 0 && at.After(e.Heard) {
		e.Heard = at
	}
	for _, own := range l.local.mapped {
		for _, t := range e.Tries {
			if !t.Local && t.Addr.Addr() == own.addr.Addr() {
				e.Shared = t.Addr.Addr()
			}
		}
	}
	ask.reply <- e
}
