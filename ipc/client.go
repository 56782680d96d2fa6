package ipc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// maxErrorBody bounds what is read of an error's answer.
const maxErrorBody = 64 << 10

// Client asks the daemon. Its errors are *Error where the daemon refused, or could not be reached
// (CodeNotRunning, CodeDenied); or the context's. It is safe for concurrent use.
type Client struct {
	socket string
	http   *http.Client
	ask    bool
}

// NewClient returns a client of the daemon at the socket; "" is DefaultSocket. It connects when it is used.
func NewClient(socket string) *Client {
	if socket == "" {
		socket = DefaultSocket
	}
	var d net.Dialer
	return &Client{
		socket: socket,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return d.DialContext(ctx, "unix", socket)
				},
				Proxy:              nil, // a proxy of the environment must not see this
				DisableCompression: true,
				MaxIdleConns:       2,
				IdleConnTimeout:    idleTimeout / 2,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns a snapshot.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return ask[*Status](ctx, c, http.MethodGet, pathStatus, nil)
}

// Prefs returns what is wanted of this machine.
func (c *Client) Prefs(ctx context.Context) (Prefs, error) {
	return ask[Prefs](ctx, c, http.MethodGet, pathPrefs, nil)
}

// EditPrefs changes what e names and returns the whole.
func (c *Client) EditPrefs(ctx context.Context, e PrefsEdit) (Prefs, error) {
	return ask[Prefs](ctx, c, http.MethodPatch, pathPrefs, e)
}

// Up asks to be on the network.
func (c *Client) Up(ctx context.Context, r UpRequest) (*UpReply, error) {
	return ask[*UpReply](ctx, c, http.MethodPost, pathUp, r)
}

// Down leaves the network, and keeps the login.
func (c *Client) Down(ctx context.Context) error {
	_, err := ask[struct{}](ctx, c, http.MethodPost, pathDown, struct{}{})
	return err
}

// LoginWait returns when the login ended.
func (c *Client) LoginWait(ctx context.Context, r LoginWait) (*UpReply, error) {
	return ask[*UpReply](ctx, c, http.MethodPost, pathLoginWait, r)
}

// LoginFinish ends a login on this device.
func (c *Client) LoginFinish(ctx context.Context, r LoginFinish) (*UpReply, error) {
	return ask[*UpReply](ctx, c, http.MethodPost, pathLoginFinish, r)
}

// Logout gives the login up.
func (c *Client) Logout(ctx context.Context) error {
	_, err := ask[struct{}](ctx, c, http.MethodPost, pathLogout, struct{}{})
	return err
}

// Profiles lists this machine's logins.
func (c *Client) Profiles(ctx context.Context) (*Profiles, error) {
	return ask[*Profiles](ctx, c, http.MethodGet, pathProfiles, nil)
}

// Switch goes over to another login.
func (c *Client) Switch(ctx context.Context, r SwitchRequest) (*UpReply, error) {
	return ask[*UpReply](ctx, c, http.MethodPost, pathSwitch, r)
}

// Portal opens the way past exit node and lockdown for a while, or closes it.
func (c *Client) Portal(ctx context.Context, r PortalRequest) (*PortalReply, error) {
	return ask[*PortalReply](ctx, c, http.MethodPost, pathPortal, r)
}

// Why asks how this machine and another may talk.
func (c *Client) Why(ctx context.Context, r WhyRequest) (*Why, error) {
	return ask[*Why](ctx, c, http.MethodPost, pathWhy, r)
}

// Ping sends one ping and waits for its answer.
func (c *Client) Ping(ctx context.Context, r PingRequest) (*PingReply, error) {
	return ask[*PingReply](ctx, c, http.MethodPost, pathPing, r)
}

// Netcheck asks what the network lets through that this machine is on. It takes some seconds.
func (c *Client) Netcheck(ctx context.Context) (*Netcheck, error) {
	return ask[*Netcheck](ctx, c, http.MethodPost, pathNetcheck, struct{}{})
}

// QueryDNS asks the daemon's resolver.
func (c *Client) QueryDNS(ctx context.Context, q DNSQuery) (*DNSAnswer, error) {
	return ask[*DNSAnswer](ctx, c, http.MethodPost, pathDNS, q)
}

// Watch calls f with a snapshot now and after every change, until ctx ends, f fails, or the daemon stops
// (CodeNotRunning). It returns f's error as it is.
func (c *Client) Watch(ctx context.Context, f func(*Status) error) error {
	return c.watch(ctx, pathWatch, f)
}

// WatchLive does as Watch, and calls f each second too, for what is measured all the time: traffic and latencies.
func (c *Client) WatchLive(ctx context.Context, f func(*Status) error) error {
	return c.watch(ctx, pathWatchLive, f)
}

func (c *Client) watch(ctx context.Context, path string, f func(*Status) error) error {
	res, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	for d := json.NewDecoder(res.Body); ; {
		var s Status
		if err := d.Decode(&s); err != nil {
			return c.explain(ctx, err)
		}
		if err := f(&s); err != nil {
			return err
		}
	}
}

// ask sends one request and reads its answer.
func ask[A any](ctx context.Context, c *Client, method, path string, q any) (a A, err error) {
	res, err := c.send(ctx, method, path, q)
	if err != nil {
		return a, err
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		return a, c.explain(ctx, err)
	}
	// The rest, so that the connection serves again.
	_, _ = io.CopyN(io.Discard, res.Body, 1<<10)
	return a, nil
}

// send returns the answer to a request, if it is one of success.
func (c *Client) send(ctx context.Context, method, path string, q any) (*http.Response, error) {
	var body io.Reader
	if q != nil {
		text, err := json.Marshal(q)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+Host+path, body)
	if err != nil {
		return nil, err
	}
	if q != nil {
		req.Header.Set("Content-Type", contentJSON)
	}
	c.mark(req)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if res.StatusCode != http.StatusOK {
		defer func() { _ = res.Body.Close() }()
		return nil, readError(res)
	}
	return res, nil
}

// readError reads a refusal. What cannot be read as one comes from something else than a warrend of our time.
func readError(res *http.Response) error {
	var reply errorReply
	err := json.NewDecoder(io.LimitReader(res.Body, maxErrorBody)).Decode(&reply)
	if err != nil || reply.Error == nil || reply.Error.Code == "" {
		return &Error{
			Status:  res.StatusCode,
			Code:    CodeUnsupported,
			Message: fmt.Sprintf("warrend answered with %q, which this version does not understand", http.StatusText(res.StatusCode)),
			Fix:     "Bring both to one version and restart the daemon: sudo systemctl restart warrend",
		}
	}
	reply.Error.Status = res.StatusCode
	return reply.Error
}

// explain says what people can do about a failed connection.
func (c *Client) explain(ctx context.Context, err error) error {
	var parse *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Code: CodeNotRunning, Message: "warrend is not running", Fix: "Start it: sudo systemctl start warrend"}
	case errors.Is(err, fs.ErrPermission):
		return &Error{
			Code: CodeDenied, Reason: ReasonSocket, About: []string{c.socket}, Message: "you may not use the socket " + c.socket,
			Fix: "Run it with sudo; or look at who may enter the socket's folder.",
		}
	case errors.As(err, &parse), errors.As(err, &kind):
		return &Error{
			Code: CodeUnsupported, Message: "warrend answered with something that this version does not understand",
			Fix: "Bring both to one version and restart the daemon: sudo systemctl restart warrend",
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &Error{Code: CodeNotRunning, Message: "warrend has stopped", Fix: "See why: journalctl -u warrend"}
	default:
		return fmt.Errorf("asking warrend at %s: %w", c.socket, err)
	}
}
