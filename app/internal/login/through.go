package login

import (
	"context"
	"errors"
	"time"

	"github.com/warren-mesh/warren/ipc"
)

// ErrExpired says that nobody logged in in time.
var ErrExpired = errors.New("nobody logged in in time")

// Daemon is what a login needs of ipc.Client.
type Daemon interface {
	LoginWait(ctx context.Context, r ipc.LoginWait) (*ipc.UpReply, error)
	LoginFinish(ctx context.Context, r ipc.LoginFinish) (*ipc.UpReply, error)
}

// Through brings a person through a login and returns at its end, whichever comes first: the browser that comes back
// to this machine, or the daemon's word that somebody typed the code on another device. asked is as NewPage has it. show is
// called once, when the page can be opened; its Listener is nil where none could be made. It returns ErrExpired, outer's error, or
// that of the login.
func Through(outer context.Context, d Daemon, l *ipc.Login, secret Secret, asked string, show func(Page, *Listener)) error {
	page, err := NewPage(l, asked)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(outer, min(MaxWait, max(time.Until(l.Expires), time.Second)))
	defer cancel()
	ends := make(chan error, 2)
	waits := 1
	go func() {
		_, err := d.LoginWait(ctx, ipc.LoginWait{ID: l.ID})
		ends <- err
	}()
	listener, err := Listen(page, secret.State)
	if err == nil {
		waits++
		go func() {
			ends <- listener.Serve(ctx, func(ctx context.Context, code string) error {
				_, err := d.LoginFinish(ctx, ipc.LoginFinish{ID: l.ID, Code: code, Verifier: secret.Verifier})
				return err
			})
		}()
	}
	show(page, listener)
	err = <-ends
	cancel()
	for range waits - 1 { // both end before this does
		if late := <-ends; late == nil {
			err = nil
		}
	}
	switch {
	case err != nil && outer.Err() != nil:
		return outer.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return ErrExpired
	}
	return err
}
