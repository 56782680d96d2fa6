package server

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// origin is where a frame came from: a UDP address, or a WebSocket.
type origin struct {
	addr netip.AddrPort
	ws   *webSocket // nil over UDP
	here bool       // by the WebSocket's own reader, who sees to it that the answer is written
}

// session is a node that has proven its key and its ticket.
type session struct {
	// fixed
	name   name
	node   key.NodePublic
	tag    relay.Tag
	shared key.Shared
	joined uint64     // the time in the Join's cookie: later Joins replace the session, earlier ones are replays
	ws     *webSocket // nil over UDP

	remote atomic.Pointer[netip.AddrPort] // never nil
	seen   atomic.Int64                   // when a frame of it last came, as hub.stamp
	rate   bucket

	mu       sync.Mutex
	counter  uint64    // of the last Ping or Leave
	until    time.Time // the ticket's end
	absentAt int64     // when it was last told of an absent address, as hub.stamp
	triedAt  int64     // when it last had one of its own back free, as hub.stamp
}

// at reports whether a frame from o may be this session's.
func (s *session) at(o origin) bool {
	return s.ws == o.ws && (o.ws != nil || *s.remote.Load() == o.addr)
}

// name is what a session is found by: the network keeps those of one relay apart.
type name struct {
	network *served
	addr    relay.Address
}

// shards keeps the goroutines that forward from waiting for one another's look-ups. A power of two.
const shards = 64

// table finds sessions. Reading takes one shard's read lock; changes are serialized by the hub.
type table struct {
	tags  [shards]shard[relay.Tag]
	names [shards]shard[name]
	size  atomic.Int64
}

type shard[K comparable] struct {
	mu sync.RWMutex
	m  map[K]*session
}

func (s *shard[K]) get(k K) *session {
	s.mu.RLock()
	found := s.m[k]
	s.mu.RUnlock()
	return found
}

func (s *shard[K]) set(k K, v *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[K]*session{}
	}
	s.m[k] = v
}

// remove removes k where it still is v.
func (s *shard[K]) remove(k K, v *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[k] != v {
		return false
	}
	delete(s.m, k)
	return true
}

func (t *table) tagShard(tag relay.Tag) *shard[relay.Tag] {
	return &t.tags[binary.NativeEndian.Uint64(tag[:])%shards] // random
}

func (t *table) nameShard(n name) *shard[name] {
	return &t.names[binary.NativeEndian.Uint64(n.addr[:])%shards] // of a public key: as good as random
}

func (t *table) byTag(tag relay.Tag) *session { return t.tagShard(tag).get(tag) }
func (t *table) byName(n name) *session       { return t.nameShard(n).get(n) }

// add adds a session in the place of one of the same name.
func (t *table) add(s *session) {
	if t.byName(s.name) == nil {
		t.size.Add(1)
	}
	t.tagShard(s.tag).set(s.tag, s)
	t.nameShard(s.name).set(s.name, s)
}

// remove removes a session, and reports whether its name was still its own.
func (t *table) remove(s *session) bool {
	t.tagShard(s.tag).remove(s.tag, s)
	if !t.nameShard(s.name).remove(s.name, s) {
		return false
	}
	t.size.Add(-1)
	return true
}

// all gives every session.
func (t *table) all() []*session {
	list := make([]*session, 0, t.size.Load())
	for i := range t.names {
		s := &t.names[i]
		s.mu.RLock()
		for _, v := range s.m {
			list = append(list, v)
		}
		s.mu.RUnlock()
	}
	return list
}
