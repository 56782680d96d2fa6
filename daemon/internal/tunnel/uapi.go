package tunnel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SocketDir is where the wg tool looks for devices that are not the kernel's.
const SocketDir = "/var/run/wireguard"

// uapi answers the wg tool. The socket is root's alone: the protocol also gives out the private key.
type uapi struct {
	listener *net.UnixListener
	handle   func(net.Conn)
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil: closed
}

func listenUAPI(name string, handle func(net.Conn), log *slog.Logger) (*uapi, error) {
	if err := os.MkdirAll(SocketDir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(SocketDir, name+".sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if errors.Is(err, unix.EADDRINUSE) {
		// Left by a process that was killed, unless somebody answers.
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("another program answers at %s", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	u := &uapi{listener: l, handle: handle, conns: make(map[net.Conn]bool)}
	u.wg.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				log.Warn("the wg tool will not see the tunnel any more", "err", err)
				return
			}
			u.serve(c)
		}
	})
	return u, nil
}

func (u *uapi) serve(c net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conns == nil {
		_ = c.Close()
		return
	}
	u.conns[c] = true
	u.wg.Go(func() {
		u.handle(c) // closes it
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.conns, c)
	})
}

// close removes the socket, and returns when nobody is answered any more.
func (u *uapi) close() {
	_ = u.listener.Close()
	u.mu.Lock()
	for c := range u.conns {
		_ = c.Close()
	}
	u.conns = nil
	u.mu.Unlock()
	u.wg.Wait()
}

// conversation bounds one answer to the wg tool, which asks and goes.
const conversation = 10 * time.Second

// answer speaks the wg tool's protocol (wireguard.com/xplatform) as far as it asks: what a device is to be is the
// netmap's to say, so a change is refused. Where packets to a peer go is the Bind's to say.
func (t *Tunnel) answer(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(conversation))
	in := bufio.NewReader(io.LimitReader(c, 64<<10))
	for {
		op, err := in.ReadString('\n')
		if err != nil {
			return
		}
		var out bytes.Buffer
		status := -int64(unix.EPERM)
		if op == "get=1\n" {
			if end, err := in.ReadByte(); err != nil || end != '\n' {
				return
			}
			if err := t.dev.IpcGetOperation(&out); err != nil {
				t.log.Warn("cannot answer the wg tool", "err", err)
				return
			}
			status = 0
		}
		reply := t.located(out.Bytes())
		if _, err := fmt.Fprintf(c, "%serrno=%d\n\n", reply, status); err != nil || status != 0 {
			return
		}
	}
}

// located writes the endpoints, which are named by key, as the addresses that they have now. A peer that no direct
// path leads to has none.
func (t *Tunnel) located(answer []byte) []byte {
	out := make([]byte, 0, len(answer))
	for line := range bytes.Lines(answer) {
		name, found := bytes.CutPrefix(line, []byte("endpoint="))
		if !found {
			out = append(out, line...)
			continue
		}
		ep, err := t.bind.ParseEndpoint(string(bytes.TrimSuffix(name, []byte("\n"))))
		named, ok := ep.(interface{ Addr() netip.AddrPort })
		switch {
		case err != nil || !ok:
			out = append(out, line...)
		case named.Addr().IsValid():
			out = fmt.Appendf(out, "endpoint=%s\n", named.Addr())
		}
	}
	return out
}
