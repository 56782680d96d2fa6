package coord

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

// requestTimeout bounds a request that the server answers at once.
const requestTimeout = 15 * time.Second

// maxReply bounds what is read of an answer, in bytes. The netmap stream has MaxLine.
const maxReply = 256 << 10

// ClientConfig says which server a client talks to, and as whom.
type ClientConfig struct {
	URL     string           // as ParseServer returns it
	Pin     key.ServerPublic // zero at first contact: then a public authority must vouch for the certificate
	Machine key.Machine
	Log     *slog.Logger // nil: none

	// Control, if set, is called on each socket before it connects (net.Dialer.Control): to keep the connection
	// out of the tunnel.
	Control DialControl
	// Resolver finds the server's addresses; nil: the system's.
	Resolver *net.Resolver
}

// Client talks to one coordination server as one machine. Its methods may be called at the same time.
// They start a session where there is none, and another one, once, where the server says that it is over.
type Client struct {
	// fixed
	cfg     ClientConfig
	host    string
	silence time.Duration // a stream silent for longer is given up

	connecting chan struct{} // holds one token: the right to connect

	mu   sync.Mutex
	pin  key.ServerPublic
	cur  *link         // nil: none
	skew time.Duration // server's clock minus ours, at the last hello
}

// link is one session and the connections that may serve it.
type link struct {
	http      *http.Client
	transport *http.Transport
	guard     *guard
	session   Session
	stream    Stream
	challenge key.ChallengePublic
}

// NewClient makes a client; it connects to nothing yet.
func NewClient(cfg ClientConfig) (*Client, error) {
	server, pin, err := ParseServer(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.Machine.IsZero() {
		return nil, fmt.Errorf("%w client: it has no machine key", ErrInvalid)
	}
	if cfg.Pin.IsZero() {
		cfg.Pin = pin
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.URL = server
	return &Client{
		cfg: cfg, host: strings.TrimPrefix(server, "https://"), silence: 3 * Heartbeat,
		pin: cfg.Pin, connecting: make(chan struct{}, 1),
	}, nil
}

// Server gives the server's key: the pinned one, or the one learned at first contact, or zero before it.
func (c *Client) Server() key.ServerPublic {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pin
}

// ClockSkew is the server's clock minus this machine's, at the last hello: to tell people, and to read Node.Expires
// by. Nothing vouches for it.
func (c *Client) ClockSkew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew
}

// Close gives up the connections that are idle.
func (c *Client) Close() {
	c.mu.Lock()
	l := c.cur
	c.cur = nil
	c.mu.Unlock()
	if l != nil {
		l.transport.CloseIdleConnections()
	}
}

// Connect proves the server's identity and this machine's, and starts a session, in place of any that there was.
func (c *Client) Connect(ctx context.Context) (*Session, error) {
	l, err := c.connect(ctx, c.current())
	if err != nil {
		return nil, err
	}
	s := l.session
	return &s, nil
}

func (c *Client) current() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cur
}

// connect replaces the link old, unless another call has replaced it meanwhile.
func (c *Client) connect(ctx context.Context, old *link) (*link, error) {
	select {
	case c.connecting <- struct{}{}:
		defer func() { <-c.connecting }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if now := c.current(); now != nil && now != old {
		return now, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	l, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.cur = l
	c.pin = l.guard.server
	c.mu.Unlock()
	if old != nil {
		old.transport.CloseIdleConnections()
	}
	c.cfg.Log.Debug("session started", "server", c.host, "registered", l.session.Registered)
	return l, nil
}

// dial says hello and starts the session.
func (c *Client) dial(ctx context.Context) (_ *link, err error) {
	l := c.newLink()
	defer func() {
		if err != nil {
			l.transport.CloseIdleConnections()
		}
	}()
	nonce := make([]byte, NonceSize)
	_, _ = rand.Read(nonce)
	hello, err := c.hello(ctx, l, nonce)
	if err != nil {
		return nil, err
	}
	req := SessionRequest{Nonce: hello.Nonce, ClientNonce: nonce}
	req.Sign(c.cfg.Machine, hello.Server)
	if err := c.call(ctx, l, http.MethodPost, PathSession, &req, &l.session); err != nil {
		return nil, err
	}
	if l.session.Token == "" {
		return nil, sayNotWarren(c.host)
	}
	l.stream = Stream{Machine: c.cfg.Machine.Public(), Nonce: hello.Nonce}
	l.challenge = hello.Challenge
	return l, nil
}

// hello lets the server prove its identity, and binds the link to the certificate that it attests.
func (c *Client) hello(ctx context.Context, l *link, nonce []byte) (*Hello, error) {
	var hello Hello
	err := c.call(ctx, l, http.MethodPost, PathHello, &HelloRequest{Nonce: nonce}, &hello)
	if err != nil {
		return nil, err
	}
	var skew time.Duration
	if !hello.Time.IsZero() {
		skew = time.Until(hello.Time)
	}
	pin := c.Server()
	switch {
	case hello.Server.IsZero() || len(hello.Sig) == 0:
		return nil, sayNotWarren(c.host)
	case !hello.Verify(nonce):
		return nil, sayForgedHello(c.host)
	case !pin.IsZero() && hello.Server != pin:
		return nil, sayWrongServer(c.host, hello.Server.Short(), pin.Short())
	}
	if err := l.guard.attest(&hello, !pin.IsZero(), skew); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.skew = skew
	c.mu.Unlock()
	return &hello, nil
}

// do makes a request in a session; make is called again for the second session if the first is over.
func (c *Client) do(ctx context.Context, method, path string, body func(*link) (any, error), reply any) error {
	return c.again(ctx, func(l *link) error {
		var b any
		if body != nil {
			var err error
			if b, err = body(l); err != nil {
				return err
			}
		}
		return c.call(ctx, l, method, path, b, reply)
	})
}

// again runs try in the session, and once more in another if the server no longer knows the first.
func (c *Client) again(ctx context.Context, try func(*link) error) error {
	l := c.current()
	fresh := l == nil
	for {
		if l == nil || fresh {
			var err error
			if l, err = c.connect(ctx, l); err != nil {
				return err
			}
		}
		err := try(l)
		over := errors.Is(err, &Error{Code: CodeNoSession}) || errors.Is(err, errCertChanged)
		if !over || fresh {
			return err
		}
		fresh = true
	}
}

// call makes one request and reads its answer.
func (c *Client) call(ctx context.Context, l *link, method, path string, body, reply any) error {
	timeout := requestTimeout
	if strings.HasPrefix(path, PathRegisterWait) || path == PathApproval {
		timeout += MaxLoginWait
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := c.send(ctx, l, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return sayTransport(c.host, err)
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(text, reply); err != nil {
		return trouble(TroubleNotWarren, c.host, fmt.Errorf("%s: %w (%w)", c.host, ErrNotWarren, err))
	}
	return nil
}

// send makes one request and gives the answer if the server took it.
func (c *Client) send(ctx context.Context, l *link, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.cfg.URL+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if l.session.Token != "" {
		req.Header.Set("Authorization", "Bearer "+l.session.Token)
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return nil, sayUnanswered(c.host, err)
	}
	if resp.StatusCode == http.StatusOK && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, c.refusal(resp)
}

// refusal reads the error that the server answered with.
func (c *Client) refusal(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody))
	if err != nil {
		return sayTransport(c.host, err)
	}
	var e ErrorReply
	if json.Unmarshal(text, &e) == nil && e.Error != nil && e.Error.Code != "" {
		e.Error.Status = resp.StatusCode
		e.Error.Code = printable(e.Error.Code)
		e.Error.Message = printable(e.Error.Message)
		return e.Error
	}
	if resp.StatusCode >= http.StatusInternalServerError { // a reverse proxy whose server is away
		return trouble(TroubleAway, c.host, fmt.Errorf("%s %w: it answers %q", c.host, ErrUnreachable, printable(resp.Status)))
	}
	return trouble(TroubleNotWarren, c.host, fmt.Errorf("%s: %w (it answered %q)", c.host, ErrNotWarren, printable(resp.Status)))
}

// Register asks that this machine become a node with the node key; it fills in the request's Node and Proof.
func (c *Client) Register(ctx context.Context, node key.Node, req RegisterRequest) (*RegisterReply, error) {
	var reply RegisterReply
	err := c.do(ctx, http.MethodPost, PathRegister, func(l *link) (any, error) {
		r := req
		err := r.Prove(node, l.challenge, l.stream)
		return &r, err
	}, &reply)
	if err != nil {
		return nil, err
	}
	if !reply.Registered && !ValidLoginID(reply.LoginID) {
		return nil, sayNotWarren(c.host)
	}
	reply.Code = printable(reply.Code)
	return &reply, nil
}

// WaitLogin waits until the login has made this machine a node, which may still wait for an admin's approval. It ends
// with the server's Error if it was denied or has expired.
func (c *Client) WaitLogin(ctx context.Context, loginID string) error {
	path := PathRegisterWait + "?" + url.Values{"id": {loginID}}.Encode()
	for {
		var reply RegisterReply
		if err := c.do(ctx, http.MethodGet, path, nil, &reply); err != nil {
			return err
		}
		if reply.Registered {
			return nil
		}
	}
}

// FinishLogin ends a login on the same device with what the browser brought.
func (c *Client) FinishLogin(ctx context.Context, req CodeRequest) error {
	var reply RegisterReply
	body := func(*link) (any, error) { return &req, nil }
	if err := c.do(ctx, http.MethodPost, PathRegisterCode, body, &reply); err != nil {
		return err
	}
	if !reply.Registered {
		return sayNotWarren(c.host)
	}
	return nil
}

// CancelLogin ends a login that nobody waits for any more.
func (c *Client) CancelLogin(ctx context.Context, loginID string) error {
	body := func(*link) (any, error) { return &StopRequest{LoginID: loginID}, nil }
	return c.do(ctx, http.MethodPost, PathRegisterStop, body, nil)
}

// WaitApproval waits until an admin has let this machine in. It ends with CodeNotRegistered if the machine was
// refused.
func (c *Client) WaitApproval(ctx context.Context) error {
	for {
		var reply ApprovalReply
		if err := c.do(ctx, http.MethodGet, PathApproval, nil, &reply); err != nil || reply.Approved {
			return err
		}
	}
}

// Update tells the server what this machine says of itself.
func (c *Client) Update(ctx context.Context, update NodeUpdate) error {
	return c.do(ctx, http.MethodPost, PathNode, func(*link) (any, error) { return &update, nil }, nil)
}

// Logout ends this machine's membership: its peers forget it. Logged in again by the same person it has its
// addresses back.
func (c *Client) Logout(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, PathLogout, nil, nil)
}
