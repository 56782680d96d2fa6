package ipc

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

// judge is an Authority that allows up to a level, and notes what it was asked.
type judge struct {
	upTo  Level
	err   error
	asked []question
}

type question struct {
	uid   uint32
	level Level
	ask   bool
}

func (j *judge) Allows(_ context.Context, c Caller, level Level, ask bool) (bool, error) {
	j.asked = append(j.asked, question{c.UID, level, ask})
	return level <= j.upTo, j.err
}

// The table once more, for callers who may only read: an authority raises them as far as it says, and no further.
func TestAnAuthorityLetsPassWhatItSays(t *testing.T) {
	held := &Process{}
	for _, c := range expected {
		for _, j := range []*judge{{}, {upTo: LevelOperate}, {upTo: LevelAdmin}, {upTo: LevelAdmin, err: errors.New("no bus")}} {
			f := newFake()
			r := request(c.request, c.body)
			r = r.WithContext(WithCaller(r.Context(), Caller{UID: 1000, Level: LevelRead, Process: held}))
			res := record(Handler(f, j, quiet), r)
			want := c.level <= LevelRead || j.err == nil && c.level <= j.upTo
			if done := len(f.reached()) == 1; done != want || (res.StatusCode == 200) != want {
				t.Errorf("%s %s, allowed up to %s (%v): %s", c.request, c.body, j.upTo, j.err, res.Status)
			}
			for _, q := range j.asked {
				if q.ask || q.uid != 1000 || q.level > c.level {
					t.Errorf("%s %s: asked %+v", c.request, c.body, q)
				}
			}
			if c.level <= LevelRead && len(j.asked) > 0 {
				t.Errorf("%s: asked about what everybody may do", c.request)
			}
		}
	}
}

func TestAnAuthorityIsNotAskedAboutWhomItCannotKnow(t *testing.T) {
	held := &Process{}
	for _, c := range []Caller{
		{UID: 1000, Level: LevelRead}, {UID: 1000, Process: held}, {UID: overflowID, Level: LevelRead, Process: held},
	} {
		f, j := newFake(), &judge{upTo: LevelAdmin}
		r := request("POST /v1/down", "{}")
		res := record(Handler(f, j, quiet), r.WithContext(WithCaller(r.Context(), c)))
		if e := refusal(t, res); e.Code != CodeDenied || len(j.asked)+len(f.reached()) > 0 {
			t.Errorf("%+v: %v, asked %v, reached %v", c, e, j.asked, f.reached())
		}
	}
	f, j := newFake(), &judge{upTo: LevelAdmin}
	h := &handler{backend: f, authority: j, log: quiet, table: []operation{{"POST", "/v1/secret", 0, "", orders(Backend.Down)}}}
	r := request("POST /v1/secret", "{}")
	record(h, r.WithContext(WithCaller(r.Context(), Caller{UID: 1000, Level: LevelRead, Process: held})))
	if len(j.asked)+len(f.reached()) > 0 {
		t.Error("what states no level was let pass")
	}
}

// One who is not the caller's own client cannot have a dialog shown: it takes a header that no page can send.
func TestOnlyAnAskingClientHasAPersonAsked(t *testing.T) {
	for _, asks := range []bool{false, true} {
		j := &judge{upTo: LevelOperate}
		s := startWith(t, func(conn net.Conn) (Caller, error) {
			c, err := peerOf(conn)
			c.UID, c.Level = 1000, LevelRead
			return c, err
		}, j, quiet)
		c := client(t, s.socket)
		if asks {
			c = c.Asking()
		}
		if err := c.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(j.asked) != 1 || j.asked[0].ask != asks {
			t.Errorf("asking is %t: %+v", asks, j.asked)
		}
	}
}

func TestAProcessIsKnownToHaveEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// Perl's socket connects and waits for the end of its input.
	cmd := exec.Command("perl", "-MIO::Socket::UNIX", "-e", `my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; <STDIN>`, path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c, err := peerOf(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Process.close()
	if c.Process == nil || int(c.PID) != cmd.Process.Pid || !c.Process.Lives() {
		t.Fatalf("got %+v", c)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if c.Process.Lives() {
		t.Error("it is taken to live after its end")
	}
	c.Process.close()
	if c.Process.Lives() {
		t.Error("what is not held any more is taken to live")
	}
}
