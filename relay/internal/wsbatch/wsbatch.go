// Package wsbatch carries frames over WebSocket: many to a message, and a bounded queue in front of the writer.
//
//	message = 1 or more of │ length, 2 bytes, big endian │ frame │
package wsbatch

import (
	"encoding/binary"
	"sync"
)

const (
	// MaxMessage bounds a message in bytes. The longest frame and its length fit.
	MaxMessage = 1 << 16

	// queueSize bounds what waits for a slow receiver: 40 ms at 100 Mbit/s. More would only be delay.
	queueSize = 1 << 19

	lengthSize = 2
)

// Next takes the first frame off a message. It reports false at its end and where the rest is malformed.
func Next(message []byte) (frame, rest []byte, ok bool) {
	if len(message) < lengthSize {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(message))
	if n == 0 || len(message) < lengthSize+n {
		return nil, nil, false
	}
	return message[lengthSize:][:n:n], message[lengthSize+n:], true
}

// rings are lent to queues that hold something: most of many sessions hold nothing.
var rings = sync.Pool{New: func() any { return new([queueSize]byte) }}

// Queue holds frames for one writer. When it is full it drops the oldest. All methods may be called at any time.
type Queue struct {
	wake  chan struct{} // has one while there may be something to do
	begin func()        // nil: there is a writer all the time

	mu       sync.Mutex
	ring     *[queueSize]byte // nil while empty
	head     int              // where the oldest starts
	size     int              // bytes
	attended bool             // there is a writer
	closed   bool
}

// NewQueue makes an empty queue, which has a writer from now on.
func NewQueue() *Queue { return &Queue{wake: make(chan struct{}, 1), attended: true} }

// NewIdleQueue makes an empty queue without a writer. begin is called when there is something to do for one: it starts a
// goroutine that takes until the queue has ended or Leave lets it go, and does nothing else, as the queue waits meanwhile.
// Once Close has returned it is not called any more.
func NewIdleQueue(begin func()) *Queue { return &Queue{wake: make(chan struct{}, 1), begin: begin} }

// Push adds a frame of one or two parts, which it copies. It reports how many frames were dropped for it, or
// instead of it: a closed queue takes none.
func (q *Queue) Push(frame, tail []byte) (dropped int) {
	q.mu.Lock()
	if dropped, ok := q.put(frame, tail); ok {
		q.signal()
		return dropped
	}
	q.mu.Unlock()
	return 1
}

// Put is Push for who calls Attend next: nobody is woken.
func (q *Queue) Put(frame []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.put(frame, nil)
}

// Attend makes the caller the writer, if there is something to do and no other writer, which else is woken. The caller takes
// then, and calls Leave or starts what goes on.
func (q *Queue) Attend() bool {
	q.mu.Lock()
	if q.size == 0 {
		q.mu.Unlock()
		return false
	}
	if q.attended {
		q.signal()
		return false
	}
	q.attended = true
	q.mu.Unlock()
	return true
}

// put adds a frame. It reports false where the queue does not take it.
func (q *Queue) put(frame, tail []byte) (dropped int, ok bool) {
	n := len(frame) + len(tail)
	need := lengthSize + n
	if n == 0 || need > MaxMessage || q.closed {
		return 1, false
	}
	if q.ring == nil {
		q.ring, q.head = rings.Get().(*[queueSize]byte), 0
	}
	for queueSize-q.size < need {
		q.drop()
		dropped++
	}
	var length [lengthSize]byte
	binary.BigEndian.PutUint16(length[:], uint16(n))
	q.append(length[:])
	q.append(frame)
	q.append(tail)
	return dropped, true
}

// signal wakes the writer, or begins one. It gives mu back.
func (q *Queue) signal() {
	if !q.attended {
		q.attended = true
		q.begin()
		q.mu.Unlock()
		return
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Leave reports whether the writer may go: there is nothing for it to do, and begin is called when there is again.
func (q *Queue) Leave() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.size > 0 || q.closed {
		return false
	}
	q.attended = false
	return true
}

func (q *Queue) append(b []byte) {
	at := (q.head + q.size) % queueSize
	n := copy(q.ring[at:], b)
	copy(q.ring[:], b[n:])
	q.size += len(b)
}

// first gives the length of the oldest frame with what stands before it.
func (q *Queue) first() int {
	return lengthSize + int(q.ring[q.head])<<8 + int(q.ring[(q.head+1)%queueSize])
}

func (q *Queue) drop() {
	n := q.first()
	q.head = (q.head + n) % queueSize
	q.size -= n
}

// Wake has one to receive whenever Take may give something or the queue was closed.
func (q *Queue) Wake() <-chan struct{} { return q.wake }

// Take appends the oldest frames to an empty message, as many as may be in one. It reports true once the queue
// is closed and there is nothing more.
func (q *Queue) Take(message []byte) (_ []byte, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.size > 0 && len(message)+q.first() <= MaxMessage {
		n := q.first()
		end := min(q.head+n, queueSize)
		message = append(message, q.ring[q.head:end]...)
		message = append(message, q.ring[:n-(end-q.head)]...)
		q.drop()
	}
	if q.size == 0 && q.ring != nil {
		rings.Put(q.ring)
		q.ring = nil
	}
	return message, q.closed && len(message) == 0
}

// Close refuses what comes from now on; what waits can still be taken.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.signal()
}
