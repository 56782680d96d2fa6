package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/app/internal/login"
	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// throughLogin shows the login's page and waits for its end.
func (p *program) throughLogin(ctx context.Context, c *ipc.Client, l *ipc.Login, secret login.Secret, asked string, f upFlags) error {
	held := ""
	if s, err := c.Status(ctx); err == nil && !f.json {
		held = heldBack(s)
	}
	err := login.Through(ctx, c, l, secret, asked, func(page login.Page, listener *login.Listener) {
		p.showLogin(page, l, listener, f)
		if held != "" {
			p.print(textLoginHeld, held)
		}
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return &failure{exitInterrupted, textLoginStopped}
	case errors.Is(err, login.ErrExpired):
		return &failure{exitServer, textLoginExpired}
	}
	return err
}

// heldBack says why programs of this machine reach no page of a server, if they do not.
func heldBack(s *ipc.Status) string {
	switch {
	case !s.Portal.IsZero():
		return ""
	case s.Lockdown:
		return textHeldLockdown
	case slices.ContainsFunc(s.Problems, func(p ipc.Problem) bool { return p.Code == ipc.ProblemExitHeld }):
		return textHeldExit
	}
	return ""
}

// showLogin says how to log in, and opens the page where there is a desktop. listener is nil where none could be
// made.
func (p *program) showLogin(page login.Page, l *ipc.Login, listener *login.Listener, f upFlags) {
	if f.json {
		p.line(upLine{State: ipc.StateNeedsLogin, Login: &loginLine{URL: page.Elsewhere(), Code: say.Line(l.Code), Expires: l.Expires}})
		return
	}
	opened := false
	if listener != nil {
		if !f.noBrowser {
			_, err := listener.Open(p.environ) // if that fails later, the address stands there already
			opened = err == nil
			if err != nil && login.CanOpen(p.environ) {
				p.note("warren: %v", err)
			}
		}
		if opened {
			p.print(textLoginOpened, listener.URL())
		} else {
			p.print(textLoginHere, listener.URL())
		}
	}
	p.print(textLoginElsewhere, page.Elsewhere(), page.ByCode(), say.Line(l.Code))
	p.showQR(page, opened, f)
	p.print(textLoginWaiting, l.Expires.Local().Format("15:04"))
}

// showQR draws the address where a telephone's camera is of use: no browser opened here, and the terminal is wide
// enough. Who names --qr has it in any case, also in a file.
func (p *program) showQR(page login.Page, opened bool, f upFlags) {
	if !f.qr || !f.qrNamed && (opened || p.width == 0) {
		return
	}
	q, err := page.QR()
	switch {
	case err != nil:
		p.note("warren: %v", err)
	case p.width == 0 || p.width >= q.Width:
		p.print("%s\n", strings.Join(q.Lines, "\n"))
	case f.qrNamed:
		p.note(textQRNarrow, q.Width)
	}
}

// upLine is a line that up --json prints: one with the login where a person is needed, and one at the end.
type upLine struct {
	State ipc.State    `json:"state"`
	Login *loginLine   `json:"login,omitempty"`
	Name  string       `json:"name,omitempty"`
	Addrs []netip.Addr `json:"addrs,omitempty"`
}

// loginLine is how a person logs this machine in.
type loginLine struct {
	URL     string    `json:"url"`
	Code    string    `json:"code"`
	Expires time.Time `json:"expires"`
}

func (p *program) line(l upLine) { _ = json.NewEncoder(p.out).Encode(l) }

// showPending says that up waits for an admin.
func (p *program) showPending(s *ipc.Status, f upFlags) {
	if f.json {
		p.line(upLine{State: s.State})
		return
	}
	p.print(textPending, say.Line(s.Server))
}

// showUp says what up has reached.
func (p *program) showUp(s *ipc.Status, f upFlags) {
	if f.json {
		p.line(upLine{State: s.State, Name: say.Line(s.Self.Name), Addrs: s.Self.Addrs})
		return
	}
	p.print("%s", connected(s))
}
