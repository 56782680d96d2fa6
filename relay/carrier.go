package relay

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/warren-mesh/warren/relay/internal/udpbatch"
	"github.com/warren-mesh/warren/relay/internal/wsbatch"
)

// carrier moves frames between a client and its relay.
type carrier interface {
	// data sends packets with their trailer; several may call it. It gives how many were lost.
	data(to Address, tag Tag, packets [][]byte) (lost int, err error)
	// control sends one frame; several may call it.
	control(frame []byte)
	// next gives the next frame, valid until the following call. One may call it. Without wait it gives nil where
	// there is none yet. udpbatch.Passing says of an error that the carrier can go on.
	next(wait bool) (frame []byte, err error)
	// deadline ends a next that waits until then with os.ErrDeadlineExceeded.
	deadline(t time.Time)
	// close ends it at once, finish once what was sent is on its way.
	close()
	finish()
}

const (
	// clientBatch is how many messages are received at a time, each up to 64 datagrams; the buffers take 64 KiB each
	// once they were used.
	clientBatch = 8
	// clientSend is how many messages are sent at a time.
	clientSend = 16
)

// udpCarrier is a connected UDP socket.
type udpCarrier struct {
	conn    *udpbatch.Conn
	senders sync.Pool

	// of the one who calls next
	receiver *udpbatch.Receiver
	run, got int
	rest     []byte
	size     int
}

func dialUDP(ctx context.Context, to netip.AddrPort, control udpbatch.Control) (*udpCarrier, error) {
	conn, err := udpbatch.Dial(ctx, to, control)
	if err != nil {
		return nil, err
	}
	u := &udpCarrier{conn: conn, receiver: conn.NewReceiver(clientBatch)}
	u.senders.New = func() any { return conn.NewSender(clientSend) }
	return u, nil
}

func (u *udpCarrier) data(to Address, tag Tag, packets [][]byte) (lost int, err error) {
	s := u.senders.Get().(*udpbatch.Sender)
	for _, p := range packets {
		s.Add(netip.AddrPort{}, AppendTrailer(p, to, tag))
	}
	lost, err = s.Flush()
	u.senders.Put(s)
	return lost, err
}

func (u *udpCarrier) control(frame []byte) {
	s := u.senders.Get().(*udpbatch.Sender)
	s.Add(netip.AddrPort{}, frame)
	_, _ = s.Flush()
	u.senders.Put(s)
}

func (u *udpCarrier) next(wait bool) ([]byte, error) {
	for len(u.rest) == 0 {
		if u.run < u.got {
			_, u.rest, u.size = u.receiver.Run(u.run)
			u.run++
			continue
		}
		if !wait {
			return nil, nil
		}
		n, err := u.receiver.Receive()
		if err != nil {
			return nil, err
		}
		u.run, u.got = 0, n
	}
	n := min(u.size, len(u.rest))
	frame := u.rest[:n:n]
	u.rest = u.rest[n:]
	return frame, nil
}

func (u *udpCarrier) deadline(t time.Time) { _ = u.conn.SetReadDeadline(t) }
func (u *udpCarrier) close()               { _ = u.conn.Close() }
func (u *udpCarrier) finish()              { u.close() }

const (
	// webWriteTime is how long one message may take to write; who takes none for so long is gone.
	webWriteTime = 15 * time.Second
	// webFinishTime is how long the last frames may take.
	webFinishTime = time.Second
)

// webCarrier is a WebSocket.
type webCarrier struct {
	conn  *websocket.Conn
	on    *wire
	queue *wsbatch.Queue

	// of the one who calls next
	buf  []byte
	rest []byte
}

// errPin is for a server that is not the one that the network vouches for.
var errPin = errors.New("its TLS certificate is not the one that the network knows")

// dialWeb connects and starts the writer in work.
func dialWeb(ctx context.Context, cfg *ClientConfig, fam *family, work *sync.WaitGroup) (*webCarrier, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true} // no page waits for its first lines
	if len(cfg.Cert) > 0 {
		conf.MinVersion = tls.VersionTLS13
		conf.InsecureSkipVerify = true // in favour of the pin below
		conf.VerifyConnection = func(cs tls.ConnectionState) error {
			if sum := sha256.Sum256(cs.PeerCertificates[0].Raw); string(sum[:]) != string(cfg.Cert) {
				return errPin
			}
			return nil
		}
	}
	dialer := &net.Dialer{KeepAlive: -1, Control: cfg.Control, Resolver: cfg.Resolver} // pings keep it: see liveness
	on := &wire{Transport: http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, MaxResponseHeaderBytes: 16 << 10}}
	on.over(func(ctx context.Context, address string) (net.Conn, error) { return fam.dial(ctx, dialer, address) })
	conn, _, err := websocket.Dial(ctx, cfg.URL, &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     on,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		on.CloseIdleConnections()
		return nil, err
	}
	conn.SetReadLimit(wsbatch.MaxMessage)
	w := &webCarrier{conn: conn, on: on, queue: wsbatch.NewQueue(), buf: make([]byte, wsbatch.MaxMessage+1)} // the one to see that it ends
	work.Go(w.write)
	return w, nil
}

// write writes what the queue has until it is closed and empty.
func (w *webCarrier) write() {
	defer w.on.CloseIdleConnections()
	defer w.conn.CloseNow()
	buf := make([]byte, 0, wsbatch.MaxMessage)
	for range w.queue.Wake() {
		for {
			m, ended := w.queue.Take(buf)
			if ended {
				return
			}
			if len(m) == 0 {
				break
			}
			if w.send(m) != nil {
				return
			}
		}
	}
}

// send writes one message.
func (w *webCarrier) send(m []byte) error {
	late := time.AfterFunc(webWriteTime, func() { _ = w.conn.CloseNow() })
	defer late.Stop()
	w.on.hold()
	err := w.conn.Write(context.Background(), websocket.MessageBinary, m)
	return errors.Join(err, w.on.flush())
}

func (w *webCarrier) data(to Address, tag Tag, packets [][]byte) (lost int, err error) {
	trailer := AppendTrailer(make([]byte, 0, Overhead), to, tag)
	for _, p := range packets {
		lost += w.queue.Push(p, trailer)
	}
	return lost, nil
}

func (w *webCarrier) control(frame []byte) { w.queue.Push(frame, nil) }

func (w *webCarrier) next(wait bool) ([]byte, error) {
	for len(w.rest) == 0 {
		if !wait {
			return nil, nil
		}
		kind, r, err := w.conn.Reader(context.Background())
		if err != nil {
			return nil, err
		}
		n, err := io.ReadFull(r, w.buf)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if kind != websocket.MessageBinary {
			return nil, fmt.Errorf("a message of text came, which no relay sends")
		}
		w.rest = w.buf[:n]
	}
	frame, rest, ok := wsbatch.Next(w.rest)
	if !ok {
		w.rest = nil
		return nil, errors.New("a message came that no relay sends")
	}
	w.rest = rest
	return frame, nil
}

func (w *webCarrier) deadline(time.Time) {} // nothing is lost on the way: whoever waits closes it

func (w *webCarrier) close() {
	w.queue.Close()
	_ = w.conn.CloseNow()
}

func (w *webCarrier) finish() {
	w.queue.Close()
	time.AfterFunc(webFinishTime, func() { _ = w.conn.CloseNow() })
}
