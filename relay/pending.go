package relay

import (
	"bytes"
	"sync"
	"time"
)

const (
	// What is kept for a link that is not there yet: a handshake and the first packets of a few peers. Later than
	// this, WireGuard and TCP have sent again.
	pendingPackets = 16
	pendingTime    = time.Second
)

// pending keeps the last few packets while there is no link.
type pending struct {
	mu      sync.Mutex
	packets []pendingPacket // oldest first
}

type pendingPacket struct {
	to Address
	b  []byte
	at time.Time
}

// add keeps copies, and gives how many older ones had to go. Call it with mu held.
func (p *pending) add(now time.Time, to Address, packets [][]byte) (dropped int) {
	for _, b := range packets {
		p.packets = append(p.packets, pendingPacket{to, bytes.Clone(b), now})
	}
	if over := len(p.packets) - pendingPackets; over > 0 {
		p.packets = append(p.packets[:0:0], p.packets[over:]...)
		dropped = over
	}
	return dropped
}

// take gives what is still young enough, and how many were not. Call it with mu held.
func (p *pending) take(now time.Time) (young []pendingPacket, dropped int) {
	young, p.packets = p.packets, nil
	for len(young) > 0 && now.Sub(young[0].at) > pendingTime {
		young = young[1:]
		dropped++
	}
	return young, dropped
}
