package tunnel

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
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
