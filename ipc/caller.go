package ipc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// overflowID is what the kernel shows of a user or group that has no number here (user namespaces, user_namespaces(7)):
// it may stand for anybody, so it is never trusted with more than reading.
const overflowID = 65534

// maxGroups is NGROUPS_MAX of Linux: no process has more supplementary groups.
const maxGroups = 65536

// Caller is who is at the other end of a connection, as the kernel said when it was made.
type Caller struct {
	PID     int32 // 0 if it cannot be seen from here; it says nothing alone, since numbers are used again
	UID     uint32
	Level   Level
	Process *Process // nil if it cannot be held
}

type callerKey struct{}

// WithCaller names the caller of the requests under ctx. Serve does so; a server without it gives every request
// to nobody, and nobody may do anything.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf returns the caller of a request, or one whose level lets nothing pass.
func callerOf(ctx context.Context) Caller {
	c, ok := ctx.Value(callerKey{}).(Caller)
	if !ok {
		return Caller{UID: overflowID}
	}
	return c
}

// peerOf asks the kernel who connected.
func peerOf(conn net.Conn) (Caller, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return Caller{}, fmt.Errorf("ipc: %T is no Unix socket", conn)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return Caller{}, err
	}
	var (
		cred    *unix.Ucred
		groups  []uint32
		process *Process
		opErr   error
	)
	err = raw.Control(func(fd uintptr) {
		if cred, opErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); opErr == nil {
			groups, opErr = peerGroups(int(fd))
			process = processOf(int(fd), cred.Pid)
		}
	})
	if err = errors.Join(err, opErr); err != nil {
		process.close()
		return Caller{}, fmt.Errorf("ipc: who connected: %w", err)
	}
	gid, known := operators()
	return Caller{
		PID:   cred.Pid,
		UID:   cred.Uid,
		Level: levelOf(cred.Uid, append(groups, cred.Gid), gid, known),

		Process: process,
	}, nil
}

// peerGroups reads SO_PEERGROUPS (socket(7)), for which x/sys has no function: the supplementary groups that the
// caller's process had when it connected. They tell of a new membership without a reboot.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && len(groups) < maxGroups:
			groups = make([]uint32, min(maxGroups, max(int(size/4), 2*len(groups))))
		default:
			return nil, errno
		}
	}
}

// operators returns the number of Group. It is looked up for each connection, so that a group made after the
// daemon's start counts.
func operators() (gid uint32, known bool) {
	g, err := user.LookupGroup(Group)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(n), err == nil
}

// levelOf is the rule: root administers, members of the group operate, any other local user reads.
func levelOf(uid uint32, gids []uint32, operators uint32, known bool) Level {
	switch {
	case uid == overflowID:
		return LevelRead
	case uid == 0:
		return LevelAdmin
	case known && operators != overflowID && slices.Contains(gids, operators):
		return LevelOperate
	default:
		return LevelRead
	}
}
