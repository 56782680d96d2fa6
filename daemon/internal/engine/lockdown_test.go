package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warren-mesh/warren/daemon/internal/firewall"
	"github.com/warren-mesh/warren/ipc"
)

// fakeLock is a Lockdown in memory.
type fakeLock struct {
	mu      sync.Mutex
	wanted  []string // "open", "shut", "shut but LAN"
	until   time.Time
	fails   error
	changes chan struct{}
}

func newLock() *fakeLock { return &fakeLock{changes: make(chan struct{})} }

func (f *fakeLock) Want(_ context.Context, l *firewall.Lock) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails != nil {
		return f.fails
	}
	what := "open"
	if l != nil {
		what = "shut"
		if l.LAN {
			what = "shut but LAN"
		}
	}
	f.wanted = append(f.wanted, what)
	return nil
}

func (f *fakeLock) Pause(_ context.Context, d time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until = time.Now().Add(d)
	return nil
}

func (f *fakeLock) Paused() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(0, time.Until(f.until))
}

func (f *fakeLock) Watch(ctx context.Context) (<-chan struct{}, error) {
	out := make(chan struct{})
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case <-f.changes:
				out <- struct{}{}
			}
		}
	}()
	return out, nil
}

// history is what was wanted, one after another; mending wants the same again.
func (f *fakeLock) history() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(slices.Compact(slices.Clone(f.wanted)), ", ")
}

func (f *fakeLock) times() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.wanted)
}

func (f *fakeLock) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = err
}

func TestLockdownIsMadeOnceAndMendedWhenOthersWereThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lock := newLock()
		m := newMachineWith(t, lock)
		defer func() { m.stop() }()
		want := func(history string) {
			t.Helper()
			synctest.Wait()
			if got := lock.history(); got != history {
				t.Errorf("wanted %q, want %q", got, history)
			}
		}
		m.status()
		want("open")                                                          // whatever an earlier daemon left
		if _, err := m.edit(ipc.PrefsEdit{Lockdown: new(true)}); err != nil { // before there is any network
			t.Fatal(err)
		}
		want("open, shut")
		m.up(ipc.UpRequest{Server: "https://coord.example", AuthKey: "good"})
		want("open, shut")
		times := lock.times()
		m.status()
		m.status()
		if n := lock.times(); n != times {
			t.Errorf("looking made it %d times", n-times)
		}
		lock.changes <- struct{}{}
		want("open, shut")
		if n := lock.times(); n != times+1 {
			t.Errorf("after others' change it was made %d times", n-times)
		}
		if _, err := m.edit(ipc.PrefsEdit{ExitNodeAllowLAN: new(true)}); err != nil {
			t.Fatal(err)
		}
		want("open, shut, shut but LAN")
		if err := m.Down(context.Background()); err != nil {
			t.Fatal(err)
		}
		want("open, shut, shut but LAN")
		m.stop()
		want("open, shut, shut but LAN")

		// A new daemon makes it before anything else, says that it cannot, and tries again.
		lock.fail(errors.New("no nftables here"))
		m.start()
		synctest.Wait()
		if s := m.status(); len(s.Problems) != 1 || !strings.Contains(s.Problems[0].Text, "no nftables here") || s.Problems[0].Level != ipc.ProblemUrgent {
			t.Errorf("problems: %+v", s.Problems)
		}
		lock.fail(nil)
		times = lock.times()
		time.Sleep(2 * holdRetry)
		if n := lock.times(); n != times+1 {
			t.Errorf("after the failure it was made %d times", n-times)
		}
		want("open, shut, shut but LAN")
		if s := m.status(); len(s.Problems) != 0 {
			t.Errorf("problems: %+v", s.Problems)
		}
		if _, err := m.edit(ipc.PrefsEdit{Lockdown: new(false)}); err != nil {
			t.Fatal(err)
		}
		want("open, shut, shut but LAN, open")
	})
}

func TestAPortalLeadsPastTheExitNodeUntilItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lock := newLock()
		m := withExitsAnd(t, lock)
		defer func() { m.stop() }()
		if _, err := m.edit(ipc.PrefsEdit{ExitNodes: &[]string{"bob"}, Lockdown: new(true)}); err != nil {
			t.Fatal(err)
		}
		exit := func(what string, used bool) {
			t.Helper()
			synctest.Wait()
			if _, e := m.host.exit(); (e != nil) != used {
				t.Errorf("%s: the exit node is used: %v", what, e != nil)
			}
			if s := m.status(); s.Portal.IsZero() != used {
				t.Errorf("%s: status says open until %v", what, s.Portal)
			}
		}
		open := func(d time.Duration) error {
			_, err := m.Portal(context.Background(), ipc.PortalRequest{Duration: ipc.Millis(d)})
			return err
		}
		exit("at first", true)
		if err := open(firewall.MaxPause + time.Second); err == nil {
			t.Error("a portal that is open for too long")
		}
		exit("refused", true)
		if err := open(time.Minute); err != nil {
			t.Fatal(err)
		}
		exit("open", false)
		if d := lock.Paused(); d != time.Minute {
			t.Errorf("the lockdown is paused for %v", d)
		}
		m.stop()
		m.start()
		time.Sleep(time.Second)
		exit("after a restart", false)
		time.Sleep(time.Minute)
		exit("after its time", true)
		if err := open(time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := open(0); err != nil {
			t.Fatal(err)
		}
		exit("closed", true)
		if d := lock.Paused(); d != 0 {
			t.Errorf("the lockdown is paused for %v", d)
		}
	})
}
