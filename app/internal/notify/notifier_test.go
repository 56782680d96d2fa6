package notify

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"

	"github.com/warren-mesh/warren/app/internal/panel"
	"github.com/warren-mesh/warren/app/internal/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long anything may take before a test gives up.
const limit = 2 * time.Minute

// screen is a notification server that shows what it is told.
type screen struct {
	t       *testing.T
	address string
	conn    *dbus.Conn
	can     []string
	changed chan struct{}

	mu    sync.Mutex
	last  uint32
	notes map[uint32]note
	count int
}

type note struct {
	Title, Text string
	Actions     []string
	Urgency     byte
	Entry       string
}

// Notify is org.freedesktop.Notifications'.
func (s *screen) Notify(_ string, replaces uint32, _, title, text string, actions []string, hints map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := replaces
	if _, shown := s.notes[id]; !shown {
		s.last++
		id = s.last
	}
	urgency, _ := hints["urgency"].Value().(byte)
	entry, _ := hints["desktop-entry"].Value().(string)
	s.notes[id] = note{title, text, actions, urgency, entry}
	s.count++
	s.told()
	return id, nil
}

// CloseNotification is org.freedesktop.Notifications'.
func (s *screen) CloseNotification(id uint32) *dbus.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.notes, id)
	s.told()
	return nil
}

// GetCapabilities is org.freedesktop.Notifications'.
func (s *screen) GetCapabilities() ([]string, *dbus.Error) { return s.can, nil }

func (s *screen) told() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// shows waits until the titles are those, and gives the notes.
func (s *screen) shows(titles ...string) map[uint32]note {
	s.t.Helper()
	end := time.After(limit)
	for {
		s.mu.Lock()
		notes := maps.Clone(s.notes)
		s.mu.Unlock()
		var got []string
		for _, n := range notes {
			got = append(got, n.Title)
		}
		slices.Sort(got)
		if slices.Equal(got, titles) {
			return notes
		}
		select {
		case <-s.changed:
		case <-end:
			s.t.Fatalf("%q are shown, not %q", got, titles)
		}
	}
}

// press presses a button, in the name of whoever has the connection.
func press(t *testing.T, conn *dbus.Conn, to string, id uint32, key string) {
	t.Helper()
	msg := &dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldInterface: dbus.MakeVariant(server), dbus.FieldMember: dbus.MakeVariant("ActionInvoked"),
			dbus.FieldPath: dbus.MakeVariant(serverPath), dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(id, key)),
			dbus.FieldDestination: dbus.MakeVariant(to),
		},
		Body: []any{id, key},
	}
	if c := conn.Send(msg, nil); c != nil && c.Err != nil {
		t.Fatal(c.Err)
	}
}

// start is a bus with a Notifier, and with a screen that can do something.
func start(t *testing.T, can ...string) (*Notifier, *screen, chan view.Intent) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	address, wait, err := panel.Bus(ctx, t.TempDir())
	t.Cleanup(func() { cancel(); wait() })
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, address: address, can: can, notes: map[uint32]note{}, changed: make(chan struct{}, 1)}
	s.conn = connect(t, address)
	if err := s.conn.Export(s, serverPath, server); err != nil {
		t.Fatal(err)
	}
	s.own()
	did := make(chan view.Intent, 8)
	n := New(connect(t, address), "entry", func(do view.Intent) { did <- do })
	n.pause = 50 * time.Millisecond
	ended := make(chan struct{})
	run, stop := context.WithCancel(ctx)
	go func() { defer close(ended); n.Run(run) }()
	t.Cleanup(func() { stop(); <-ended })
	return n, s, did
}

func (s *screen) own() {
	s.t.Helper()
	if r, err := s.conn.RequestName(server, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		s.t.Fatal(r, err)
	}
}

func connect(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

var exitGoneNotice = Notice{Topic: TopicExit, Title: "gone", Text: "a <b>bold</b> & hostile name", Urgent: true, Button: "Turn off", Do: view.Intent{Op: view.OpExit}}

func only(notes map[uint32]note) (id uint32, n note) {
	for id, n = range notes {
	}
	return id, n
}

func TestANoticeIsShownReplacedAndTakenBack(t *testing.T) {
	n, s, did := start(t, "body", "body-markup", "actions")
	n.Tell(exitGoneNotice)
	first, shown := only(s.shows("gone"))
	if shown.Text != "a &lt;b&gt;bold&lt;/b&gt; &amp; hostile name" || shown.Urgency != 2 || shown.Entry != "entry" ||
		!slices.Equal(shown.Actions, []string{actionDefault, "Warren", actionButton, "Turn off"}) {
		t.Errorf("%+v", shown)
	}
	n.Tell(Notice{Topic: TopicExit, Title: "gone again"})
	if second, shown := only(s.shows("gone again")); second != first || shown.Urgency != 1 || len(shown.Actions) != 2 {
		t.Errorf("%d after %d: %+v", second, first, shown)
	}
	n.Tell(Notice{Topic: TopicKey, Title: "key"})
	s.shows("gone again", "key")
	n.Over(TopicExit)
	s.shows("key")
	n.Over(TopicExit) // twice is once
	n.Over(TopicConnection)
	n.Tell(exitGoneNotice)
	s.shows("gone", "key")
	if len(did) > 0 {
		t.Errorf("nobody pressed anything, and %v was done", <-did)
	}
}

func TestAButtonDoesWhatItSaysOnce(t *testing.T) {
	n, s, did := start(t, "actions")
	n.Tell(exitGoneNotice)
	id, _ := only(s.shows("gone"))
	to := n.conn.Names()[0]
	stranger := connect(t, s.address)
	press(t, stranger, to, id, actionButton) // not the server
	press(t, s.conn, to, id+1, actionButton) // no notice of ours
	press(t, s.conn, to, id, "other")        // no button of ours
	press(t, s.conn, to, id, actionButton)
	if do := <-did; do != exitGoneNotice.Do {
		t.Errorf("%+v", do)
	}
	press(t, s.conn, to, id, actionButton)
	press(t, s.conn, to, id, actionDefault)
	if do := <-did; do.Op != view.OpOpen {
		t.Errorf("%+v", do)
	}
	if len(did) > 0 {
		t.Errorf("%+v was done, too", <-did)
	}
}

func TestServersThatCanDoLittle(t *testing.T) {
	n, s, _ := start(t)
	n.Tell(exitGoneNotice)
	if _, shown := only(s.shows("gone")); len(shown.Actions) > 0 || shown.Text != exitGoneNotice.Text {
		t.Errorf("%+v", shown)
	}
}

func TestWhatChangesBackAndForthIsToldSeldom(t *testing.T) {
	n, s, _ := start(t, "actions")
	n.pause = time.Hour
	n.Tell(Notice{Topic: TopicConnection, Title: "first"})
	s.shows("first")
	for range 20 {
		n.Tell(Notice{Topic: TopicConnection, Title: "more"})
	}
	n.Tell(Notice{Topic: TopicOrder, Title: "order"}) // a person waits for it
	s.shows("first", "order")
	n.Tell(Notice{Topic: TopicOrder, Title: "order 2"})
	s.shows("first", "order 2")
	n.Over(TopicConnection)
	s.shows("order 2")
	if s.count != 3 {
		t.Errorf("%d notices were shown", s.count)
	}
}

func TestTheLastOfManyIsToldAfterThePause(t *testing.T) {
	n, s, _ := start(t)
	n.pause = time.Second // so long that all of them are told in it
	for _, title := range []string{"1", "2", "3"} {
		n.Tell(Notice{Topic: TopicConnection, Title: title})
	}
	s.shows("3")
	if s.count > 2 {
		t.Errorf("%d notices were shown", s.count)
	}
}

func TestAnotherServerIsAskedWhatItCan(t *testing.T) {
	n, s, _ := start(t, "actions")
	n.Tell(exitGoneNotice)
	s.shows("gone")
	if _, err := s.conn.ReleaseName(server); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	clear(s.notes)
	s.mu.Unlock()
	s.can = nil
	s.own()
	// That the server is another comes on its own way, and may come after the first notice.
	for begin := time.Now(); !s.has(func(n note) bool { return n.Title == "key" && len(n.Actions) == 0 }); {
		if time.Since(begin) > limit {
			t.Fatal("what the last server could is expected of this one")
		}
		n.Tell(Notice{Topic: TopicKey, Title: "key", Button: "Extend"})
		time.Sleep(n.pause)
	}
}

// has tells whether there is such a note.
func (s *screen) has(such func(note) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.notes {
		if such(n) {
			return true
		}
	}
	return false
}

func TestWithoutAServerNothingHappens(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	address, wait, err := panel.Bus(ctx, t.TempDir())
	defer func() { cancel(); wait() }()
	if err != nil {
		t.Fatal(err)
	}
	n := New(connect(t, address), "entry", nil)
	ended := make(chan struct{})
	go func() { defer close(ended); n.Run(ctx) }()
	for range 3 * maxWait { // more than can wait
		n.Tell(exitGoneNotice)
	}
	n.Over(TopicExit)
	cancel()
	<-ended
}

func TestNoticesGoWithTheProgram(t *testing.T) {
	_, s, _ := start(t)
	n := New(connect(t, s.address), "entry", nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); n.Run(ctx) }()
	n.Tell(exitGoneNotice)
	s.shows("gone")
	cancel()
	<-ended
	s.shows()
}
