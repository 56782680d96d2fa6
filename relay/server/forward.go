package server

import (
	"time"

	"github.com/warren-mesh/warren/relay"
)

// forwarder takes the frames of one goroutine. Between begin and end it remembers the sessions of the last frame,
// since most frames are of the same flow as the one before.
type forwarder struct {
	hub *hub
	out outlet // nil where there is no UDP
	two *second
	now time.Time
	at  int64 // now, as hub.stamp

	from   *session
	to     *session
	toName name

	packets, bytes, strangers, malformed, absent, dropped, limited uint64
}

// begin starts a batch.
func (f *forwarder) begin(now time.Time) {
	f.now, f.at = now, f.hub.stamp(now)
	f.from, f.to = nil, nil
}

// end adds up what the batch was. The owner then flushes the outlet.
func (f *forwarder) end() {
	c := &f.hub.count
	add(&c.packets, &f.packets)
	add(&c.bytes, &f.bytes)
	add(&c.strangers, &f.strangers)
	add(&c.malformed, &f.malformed)
	add(&c.absent, &f.absent)
	add(&c.dropped, &f.dropped)
	add(&c.limited, &f.limited)
}

// run takes datagrams of one origin that lie end to end, each of size bytes; the last may be shorter.
func (f *forwarder) run(o origin, data []byte, size int) {
	for len(data) > 0 {
		n := min(size, len(data))
		f.frame(o, data[:n:n])
		data = data[n:]
	}
}

// frame takes one frame or, over UDP, STUN.
func (f *forwarder) frame(o origin, b []byte) {
	switch {
	case o.ws == nil && relay.IsSTUN(b):
		f.stun(o, b)
	case relay.TypeOf(b) == relay.TypeData:
		f.data(o, b)
	default:
		if !f.hub.control(f.out, o, b, f.now) {
			f.malformed++
		}
	}
}

func (f *forwarder) stun(o origin, b []byte) {
	id, ok := relay.ParseSTUNRequest(b, o.addr)
	if !ok || f.out == nil {
		f.malformed++
		return
	}
	if f.hub.draining.Load() {
		return // who looks for a relay is to take another
	}
	f.hub.count.stun.Add(1)
	if relay.STUNWantsOtherPort(b) {
		f.two.answer(id, o.addr)
		return
	}
	f.out.Add(o.addr, relay.AppendSTUNResponse(nil, id, o.addr))
}

// data forwards a packet: from's address and to's tag take the places of to's address and from's tag.
func (f *forwarder) data(o origin, b []byte) {
	packet, addr, tag, ok := relay.SplitData(b)
	if !ok {
		f.malformed++
		return
	}
	if f.from == nil || f.from.tag != tag {
		f.from, f.to = f.hub.sessions.byTag(tag), nil
	}
	from := f.from
	if from == nil || !from.at(o) {
		f.strangers++
		return
	}
	if from.seen.Load() != f.at { // once per batch: a store costs much more than a look
		from.seen.Store(f.at)
	}
	n := name{network: from.name.network, addr: addr}
	if f.to == nil || f.toName != n {
		f.to, f.toName = f.hub.sessions.byName(n), n
	}
	to := f.to
	if to == nil {
		f.missing(o, from, addr)
		return
	}
	if free := to == from && from.mayTry(f.at); !free && !f.hub.may(from, f.at, len(packet)) {
		f.limited++
		return
	}
	relay.Readdress(b, from.name.addr, to.tag)
	f.packets++
	f.bytes += uint64(len(packet))
	switch {
	case to.ws != nil:
		f.dropped += uint64(to.ws.queue.Push(b, nil))
	case f.out != nil:
		f.out.Add(*to.remote.Load(), b)
	}
}

// missing tells a client that an address has no session here, now and then: the notice is only a hint.
func (f *forwarder) missing(o origin, from *session, addr relay.Address) {
	f.absent++
	from.mu.Lock()
	tell := f.at-from.absentAt >= int64(absentEvery)
	if tell {
		from.absentAt = f.at
	}
	from.mu.Unlock()
	if tell {
		f.hub.send(f.out, o, relay.AppendAbsent(nil, addr, from.tag))
	}
}
