package localapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/warren-mesh/warren/ipc"
)

// Bounds of questions to polkit.
const (
	answerLimit = 3 * time.Second // where no person is asked
	personLimit = 2 * time.Minute // to see a dialog and type a password
	maxChecks   = 32              // at a time; each has a connection of its own
)

// actions are those of packaging/polkit's policy file.
var actions = map[ipc.Level]string{
	ipc.LevelOperate: "io.github.warren-mesh.operate",
	ipc.LevelAdmin:   "io.github.warren-mesh.admin",
}

// Polkit is the ipc.Authority of desktops: whoever sits at this machine may operate, and who knows an administrator's password
// may administer. Where there is no polkit, it allows nothing. It keeps nothing between two questions.
type Polkit struct {
	// Dial connects to the system bus; nil: as the environment says.
	Dial func(context.Context) (*dbus.Conn, error)

	mu     sync.Mutex
	checks int
	asking map[uint32]bool // users before whom a dialog is: one each
}

var _ ipc.Authority = (*Polkit)(nil)

var (
	errTooMany = errors.New("too many questions to polkit at a time")
	errGone    = errors.New("the process that asked has ended")
)

// Allows implements ipc.Authority. The user is the one that the kernel named at the connection, never the process's of now,
// which may be another's (CVE-2013-4288); and the process's number was that process's all
// the time between question and answer, since it had not ended after it.
func (p *Polkit) Allows(ctx context.Context, c ipc.Caller, level ipc.Level, ask bool) (bool, error) {
	action, known := actions[level]
	if !known || c.Process == nil || c.PID <= 0 {
		return false, nil
	}
	leave, err := p.enter(c.UID, &ask)
	if err != nil {
		return false, err
	}
	defer leave()
	limit := answerLimit
	if ask {
		limit = personLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	allowed, err := p.check(ctx, c, action, ask)
	switch {
	case err != nil:
		return false, fmt.Errorf("polkit, about %s: %w", action, err)
	case !c.Process.Lives():
		return false, errGone
	}
	return allowed, nil
}

// enter counts a question. A second dialog before one user is none: ask becomes false.
func (p *Polkit) enter(uid uint32, ask *bool) (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.checks >= maxChecks {
		return nil, errTooMany
	}
	p.checks++
	*ask = *ask && !p.asking[uid]
	dialog := *ask
	if dialog {
		if p.asking == nil {
			p.asking = map[uint32]bool{}
		}
		p.asking[uid] = true
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.checks--
		if dialog {
			delete(p.asking, uid)
		}
	}, nil
}

// subject and result are as org.freedesktop.PolicyKit1.Authority has them.
type subject struct {
	Kind    string
	Details map[string]dbus.Variant
}

type result struct {
	Allowed   bool
	Challenge bool // a dialog could help
	Details   map[string]string
}

// allowInteraction is CheckAuthorization's flag AllowUserInteraction.
const allowInteraction uint32 = 1

// check asks over a connection of its own: polkit closes the dialog when that goes, so that none outlives the request.
func (p *Polkit) check(ctx context.Context, c ipc.Caller, action string, ask bool) (bool, error) {
	dial := p.Dial
	if dial == nil {
		dial = func(ctx context.Context) (*dbus.Conn, error) { return dbus.ConnectSystemBus(dbus.WithContext(ctx)) }
	}
	conn, err := dial(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	// polkit finds the start time itself where it is 0: a sandboxed daemon may not see others' processes in /proc.
	who := subject{"unix-process", map[string]dbus.Variant{
		"pid": dbus.MakeVariant(uint32(c.PID)), "start-time": dbus.MakeVariant(uint64(0)), "uid": dbus.MakeVariant(int32(c.UID)),
	}}
	var flags uint32
	if ask {
		flags = allowInteraction
	}
	var r result
	authority := conn.Object("org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority")
	err = authority.CallWithContext(ctx, "org.freedesktop.PolicyKit1.Authority.CheckAuthorization", 0,
		who, action, map[string]string{}, flags, "").Store(&r)
	return err == nil && r.Allowed, err
}
