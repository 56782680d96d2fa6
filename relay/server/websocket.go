package server

import (
	"bufio"
	"container/list"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/warren-mesh/warren/relay/internal/udpbatch"
	"github.com/warren-mesh/warren/relay/internal/wsbatch"
)

const (
	// joinTime is how long a WebSocket may be without a session, and maxStrangers how many may: one more ends the oldest,
	// so that a flood keeps out nobody who joins at once.
	joinTime     = 5 * time.Second
	maxStrangers = 1024

	// writeTime is how long one message may take to write. A client that reads nothing for so long is gone.
	writeTime = 15 * time.Second

	// lingerTime is how long a writer that has nothing to do stays: a flow's next packets mostly come sooner.
	lingerTime = 5 * time.Second
)

// webSocket is a client's connection.
type webSocket struct {
	// fixed
	id    [8]byte // stands for the address in its cookies
	addr  netip.AddrPort
	conn  *websocket.Conn
	below *wsbatch.Gatherer // of what conn writes
	queue *wsbatch.Queue

	writer  sync.WaitGroup          // of what queue began
	session atomic.Pointer[session] // nil before it joined
	known   func()                  // takes it out of the strangers; nil: it is none. Of the goroutine that reads
}

// joined gives the WebSocket its session; an earlier one of another node ends.
func (w *webSocket) joined(h *hub, s *session) {
	if old := w.session.Swap(s); old != nil && old != s {
		h.remove(old)
	}
}

// strangers are the WebSockets without a session, the oldest first.
type strangers struct {
	mu   sync.Mutex
	list list.List
}

// add adds one, in the place of the oldest where there are too many. What it returns takes it out again.
func (t *strangers) add(ws *webSocket) (remove func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.list.Len() >= maxStrangers {
		t.list.Remove(t.list.Front()).(*webSocket).queue.Close()
	}
	e := t.list.PushBack(ws)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.list.Remove(e) // nothing, where it is out already
	}
}

// messages are lent to readers and writers while they have something.
var messages = sync.Pool{New: func() any { return new([wsbatch.MaxMessage]byte) }}

func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		http.Error(w, "the relay is stopping", http.StatusServiceUnavailable)
		return
	}
	l := &lean{ResponseWriter: w}
	conn, err := websocket.Accept(l, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		s.running.Done()
		s.cfg.Log.Debug("no WebSocket", "from", r.RemoteAddr, "err", err)
		return
	}
	conn.SetReadLimit(wsbatch.MaxMessage)
	ws := &webSocket{conn: conn, below: gatherer(l.conn)}
	ws.queue = wsbatch.NewIdleQueue(func() { s.startWriter(ws) })
	_, _ = rand.Read(ws.id[:])
	ws.addr, _ = netip.ParseAddrPort(r.RemoteAddr)
	// The request, and the stack that TLS's handshake made large, are let go: most clients are idle most of the time.
	go s.attendWebSocket(ws)
}

// attendWebSocket begins to serve a client.
func (s *Server) attendWebSocket(ws *webSocket) {
	remove := s.strangers.add(ws)
	// A session that ends closes the queue, and then the writer the connection; so does the server's end.
	late := time.AfterFunc(joinTime, func() {
		if ws.session.Load() == nil {
			ws.queue.Close()
		}
	})
	ws.known = func() { late.Stop(); remove(); ws.known = nil }
	s.sockets.Store(ws, nil)
	if s.stopping() { // between enter and here; stop did not see this one
		ws.queue.Close()
	}
	s.serveFrames(ws)
}

// serveFrames serves a client to the end. What enter began ends with it. A Join takes a large stack, which a goroutine that
// waits would keep: what follows it is another goroutine's.
func (s *Server) serveFrames(ws *webSocket) {
	if s.read(ws) {
		go s.serveFrames(ws)
		return
	}
	defer s.running.Done()
	if ws.known != nil {
		ws.known()
	}
	s.sockets.Delete(ws)
	if owned := ws.session.Load(); owned != nil {
		s.hub.end(nil, owned, 0)
	}
	ws.queue.Close()
	_ = ws.conn.CloseNow() // wakes a writer that waits for the network
	ws.writer.Wait()
}

// leanBuffer is as much as a WebSocket's connection needs for itself: the heads of messages. What is longer passes it by.
const leanBuffer = 512

// lean gives a connection with small buffers instead of the web server's, which ten thousand idle clients would hold.
type lean struct {
	http.ResponseWriter
	conn net.Conn // once it is hijacked
}

// Hijack is http.Hijacker's.
func (l *lean) Hijack() (conn net.Conn, both *bufio.ReadWriter, err error) {
	conn, both, err = http.NewResponseController(l.ResponseWriter).Hijack()
	l.conn = conn
	if err == nil && both.Reader.Buffered() == 0 { // no client speaks before it has its answer
		both = bufio.NewReadWriter(bufio.NewReaderSize(conn, leanBuffer), bufio.NewWriterSize(conn, leanBuffer))
	}
	return conn, both, err
}

// read takes the client's messages until the connection ends, or until it has joined, and then reports true.
func (s *Server) read(ws *webSocket) (joined bool) {
	f := forwarder{hub: s.hub}
	o := origin{addr: netip.AddrPortFrom(ws.addr.Addr().Unmap(), ws.addr.Port()), ws: ws, here: true}
	for {
		kind, r, err := ws.conn.Reader(context.Background())
		if err != nil || kind != websocket.MessageBinary {
			return false
		}
		if err := s.message(&f, o, r); err != nil {
			return false
		}
		s.answer(ws)
		if ws.known != nil && ws.session.Load() != nil {
			ws.known()
			return true
		}
	}
}

// answer writes what the client's own frames were answered with. Nobody else is woken for it: of an idle client, that is all
// there ever is.
func (s *Server) answer(ws *webSocket) {
	if !ws.queue.Attend() {
		return
	}
	if _, ended := s.writeSome(ws); ended || !ws.queue.Leave() {
		s.startWriter(ws)
	}
}

// message takes one message. The buffer and the sender are borrowed for as long as it takes: an idle client holds neither.
func (s *Server) message(f *forwarder, o origin, r io.Reader) error {
	buf := messages.Get().(*[wsbatch.MaxMessage]byte)
	defer messages.Put(buf)
	n, err := readAll(r, buf[:])
	if err != nil {
		return err
	}
	sender := s.borrow()
	if sender != nil {
		f.out = sender
	}
	f.begin(time.Now())
	for rest := buf[:n]; len(rest) > 0; {
		var frame []byte
		var ok bool
		if frame, rest, ok = wsbatch.Next(rest); !ok {
			f.malformed++
			break
		}
		f.frame(o, frame)
	}
	f.end()
	f.out = nil
	s.giveBack(sender)
	return nil
}

// readAll reads a message that fits into b.
func readAll(r io.Reader, b []byte) (n int, err error) {
	for {
		m, err := r.Read(b[n:])
		n += m
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if n == len(b) {
			if m, err := r.Read(make([]byte, 1)); m == 0 && err == io.EOF {
				return n, nil
			}
			return n, io.ErrShortBuffer
		}
	}
}

// startWriter starts the writer that a client's queue asks for.
func (s *Server) startWriter(ws *webSocket) { ws.writer.Go(func() { s.write(ws) }) }

// write writes what the queue has, until it is closed and empty or has had nothing for a while: an idle client has no writer.
func (s *Server) write(ws *webSocket) {
	linger := time.NewTimer(lingerTime)
	defer linger.Stop()
	for {
		wrote, ended := s.writeSome(ws)
		switch {
		case ended:
			_ = ws.conn.CloseNow() // wakes the reader
			return
		case wrote:
			continue
		}
		linger.Reset(lingerTime)
		select {
		case <-ws.queue.Wake():
		case <-linger.C:
			if ws.queue.Leave() {
				return
			}
		}
	}
}

// writeSome writes one message, if there is something. It reports true as ended when nothing can follow.
func (s *Server) writeSome(ws *webSocket) (wrote, ended bool) {
	buf := messages.Get().(*[wsbatch.MaxMessage]byte)
	defer messages.Put(buf)
	m, ended := ws.queue.Take(buf[:0])
	if ended || len(m) == 0 {
		return false, ended
	}
	return true, ws.send(m) != nil
}

// send writes one message. It takes a timer and no context: that is half the price, and an idle client's message is short.
func (w *webSocket) send(m []byte) error {
	late := time.AfterFunc(writeTime, func() { _ = w.conn.CloseNow() })
	defer late.Stop()
	w.below.Hold()
	err := w.conn.Write(context.Background(), websocket.MessageBinary, m)
	return errors.Join(err, w.below.Flush())
}

// borrow gives a sender on the UDP socket, nil where there is none.
func (s *Server) borrow() *udpbatch.Sender {
	if len(s.udp) == 0 {
		return nil
	}
	return s.senders.Get().(*udpbatch.Sender)
}

func (s *Server) giveBack(sender *udpbatch.Sender) {
	if sender == nil {
		return
	}
	s.flush(sender)
	s.senders.Put(sender)
}

// flush sends what was gathered, and counts what was not.
func (s *Server) flush(sender *udpbatch.Sender) {
	lost, err := sender.Flush()
	if lost > 0 && err != net.ErrClosed {
		s.hub.count.lost.Add(uint64(lost))
	}
}
