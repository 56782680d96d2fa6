package ipc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"golang.org/x/sys/unix"
)

// Authority may let a caller do what the kernel's facts alone do not: polkit knows who sits at this machine, and who knows an
// administrator's password.
type Authority interface {
	// Allows tells whether the caller, who has a Process, may act at the level. With ask it may show a person a dialog, and
	// then takes as long as a person does; without, it answers in seconds. It is the Authority's to bound both. An error
	// says why it could not tell, which is no permission.
	Allows(ctx context.Context, c Caller, level Level, ask bool) (bool, error)
}

// headerAsk is set by a client that has a person before it, who may be asked for a password.
const headerAsk = "Warren-Ask"

// Process is the process that made a connection, held by the kernel's own handle (pidfd_open(2)): its number may be given to
// another process once it has ended, and whoever is asked about a number could be told of the wrong one.
type Process struct{ fd *os.File }

// processOf holds the process at the other end of a socket. From Linux 6.5 on the kernel hands out exactly the one that
// connected; before, it is the one that has its number now, a moment after it connected. There is none where its number
// cannot be seen from here, or it has ended.
func processOf(socket int, pid int32) *Process {
	fd, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if errors.Is(err, unix.ENOPROTOOPT) && pid > 0 {
		fd, err = unix.PidfdOpen(int(pid), 0)
	}
	if err != nil {
		return nil
	}
	return &Process{os.NewFile(uintptr(fd), "pidfd")}
}

// Lives tells whether the process has not ended. What was asked about its number in between was about this process.
func (p *Process) Lives() bool {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return false
	}
	lives := false
	err = raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		lives = err == nil && n == 0 // it can be read once the process has ended
	})
	return err == nil && lives
}

func (p *Process) close() {
	if p != nil {
		_ = p.fd.Close()
	}
}

// permit lets the call pass if its caller's level is enough, or the authority says so. What was allowed once is allowed
// until the call's end.
func (c *call) permit(level Level, command string) error {
	denied := c.op.permit(c.caller, level, command)
	if denied == nil || !c.mayAsk(c.caller, c.op) {
		return denied
	}
	allowed, err := c.authority.Allows(c.r.Context(), c.caller, level, c.r.Header.Get(headerAsk) != "")
	if err != nil {
		c.log.Debug("polkit could not be asked", "uid", c.caller.UID, "err", err)
		return denied
	}
	if !allowed {
		return denied
	}
	c.caller.Level = level
	return nil
}

// mayAsk tells whether the authority may be asked about a caller. What lets nobody pass is not asked about.
func (h *handler) mayAsk(c Caller, op *operation) bool {
	return h.authority != nil && c.Process != nil && c.Level > 0 && c.UID != overflowID && op.level > 0
}

// Asking returns a client whose requests may have a person asked for a password, by a dialog of the desktop. They then take
// as long as the person does. It shares c's connections.
func (c *Client) Asking() *Client {
	asking := *c
	asking.ask = true
	return &asking
}

func (c *Client) mark(r *http.Request) {
	if c.ask {
		r.Header.Set(headerAsk, "yes")
	}
}

// String names a level as polkit's actions and the documentation do.
func (l Level) String() string {
	switch l {
	case LevelRead:
		return "read"
	case LevelOperate:
		return "operate"
	case LevelAdmin:
		return "admin"
	}
	return fmt.Sprintf("level %d", int(l))
}
