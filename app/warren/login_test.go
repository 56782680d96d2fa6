package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/app/internal/fake"
	"github.com/warren-mesh/warren/app/internal/login"
	"github.com/warren-mesh/warren/ipc"
)

func TestAQRCodeIsForTerminalsWithRoomWhereNoBrowserOpens(t *testing.T) {
	page, err := login.NewPage(&ipc.Login{Server: "https://warren.example.org", ID: fake.LoginID}, "")
	if err != nil {
		t.Fatal(err)
	}
	q, err := page.QR()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		width  int
		opened bool
		f      upFlags
		drawn  bool
		said   string
	}{
		{what: "a terminal", width: 80, f: upFlags{qr: true}, drawn: true},
		{what: "just wide enough", width: q.Width, f: upFlags{qr: true}, drawn: true},
		{what: "too narrow", width: q.Width - 1, f: upFlags{qr: true}},
		{what: "too narrow, and asked for", width: q.Width - 1, f: upFlags{qr: true, qrNamed: true}, said: "too narrow"},
		{what: "no terminal", f: upFlags{qr: true}},
		{what: "a browser opened", width: 80, opened: true, f: upFlags{qr: true}},
		{what: "a browser opened, and asked for", width: 80, opened: true, f: upFlags{qr: true, qrNamed: true}, drawn: true},
		{what: "not wanted", width: 80, f: upFlags{qrNamed: true}},
	} {
		var out, errs bytes.Buffer
		p := &program{out: &out, err: &errs, width: c.width}
		p.showQR(page, c.opened, c.f)
		if got := strings.Contains(out.String(), q.Lines[5]); got != c.drawn || c.drawn && strings.Count(out.String(), "\n") != len(q.Lines)+1 {
			t.Errorf("%s: drawn: %v", c.what, got)
		}
		if got := errs.String(); !strings.Contains(got, c.said) || c.said == "" && got != "" {
			t.Errorf("%s: said %q", c.what, got)
		}
	}
	var out bytes.Buffer
	p := &program{out: &out, width: 80}
	p.showLogin(page, &ipc.Login{Code: "BCD-FGH", Expires: time.Now()}, nil, upFlags{qr: true})
	for _, want := range []string{page.Elsewhere(), "BCD-FGH", q.Lines[5]} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the login does not show %q", want)
		}
	}
}
