package notify

import (
	"cmp"
	"context"
	"html"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/warren-mesh/warren/app/internal/view"
)

// Of the desktop's notification server.
const (
	server     = "org.freedesktop.Notifications"
	serverPath = dbus.ObjectPath("/org/freedesktop/Notifications")
)

const (
	askLimit = 3 * time.Second  // for an answer of the server
	pause    = 10 * time.Second // between two notices of one topic
	maxWait  = 32               // notices that wait for the server
)

// The keys of actions. "default" is a click on the notice itself.
const (
	actionButton  = "button"
	actionDefault = "default"
)

// Notifier shows notices. Its methods never block, and do nothing where there is no server.
type Notifier struct {
	conn   *dbus.Conn
	entry  string
	do     func(view.Intent)
	orders chan order
	pause  time.Duration

	// Of Run.
	owner  string   // of the server's name; empty: not known
	can    []string // the server's capabilities; nil: not known
	topics map[Topic]*topic
}

// order is a notice to show, or a topic that is over.
type order struct {
	notice Notice
	over   bool
}

// topic is one that was told about.
type topic struct {
	id    uint32 // 0: none is shown
	shown Notice
	at    time.Time
	next  *Notice // waits for the pause's end
}

// New makes a Notifier; Run runs it. entry is the name of the program's .desktop file, do is told of a person's button.
func New(conn *dbus.Conn, entry string, do func(view.Intent)) *Notifier {
	return &Notifier{conn: conn, entry: entry, do: do, orders: make(chan order, maxWait), pause: pause, topics: map[Topic]*topic{}}
}

// Tell shows a notice, in the place of the topic's last one. Beyond what can wait it is lost.
func (n *Notifier) Tell(notice Notice) { n.enqueue(order{notice: notice}) }

// Over takes a topic's notice back.
func (n *Notifier) Over(t Topic) { n.enqueue(order{Notice{Topic: t}, true}) }

func (n *Notifier) enqueue(o order) {
	select {
	case n.orders <- o:
	default:
	}
}

// Run shows what is told until ctx ends or the bus is gone. Then it takes back what is shown: nobody would answer its buttons.
func (n *Notifier) Run(ctx context.Context) {
	signals := make(chan *dbus.Signal, maxWait)
	n.conn.Signal(signals)
	defer n.conn.RemoveSignal(signals)
	for _, match := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(server), dbus.WithMatchInterface(server)},
		{
			dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchInterface("org.freedesktop.DBus"),
			dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, server),
		},
	} {
		_ = n.conn.AddMatchSignal(match...) // without it, buttons do nothing; the rest works
	}
	defer n.leave()
	late := time.NewTimer(time.Hour)
	late.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-n.orders:
			n.take(ctx, o)
		case <-late.C:
			n.tellLate(ctx)
		case s, ok := <-signals:
			if !ok {
				return
			}
			n.signal(s)
		}
		if at, waits := n.nextLate(); waits {
			late.Reset(time.Until(at))
		} else {
			late.Stop()
		}
	}
}

// take shows a notice, or keeps it for later if its topic was told about just now.
func (n *Notifier) take(ctx context.Context, o order) {
	t := n.topics[o.notice.Topic]
	if t == nil {
		t = &topic{}
		n.topics[o.notice.Topic] = t
	}
	t.next = nil
	switch {
	case o.over:
		n.close(ctx, t)
	case o.notice.Topic == TopicOrder, t.at.IsZero(), time.Since(t.at) >= n.pause: // an order is a person's, who waits
		n.show(ctx, t, o.notice)
	default:
		t.next = &o.notice
	}
}

func (n *Notifier) tellLate(ctx context.Context) {
	for _, t := range n.topics {
		if t.next != nil && time.Since(t.at) >= n.pause {
			notice := *t.next
			t.next = nil
			n.show(ctx, t, notice)
		}
	}
}

func (n *Notifier) nextLate() (at time.Time, waits bool) {
	for _, t := range n.topics {
		if end := t.at.Add(n.pause); t.next != nil && (!waits || end.Before(at)) {
			at, waits = end, true
		}
	}
	return at, waits
}

// show asks the server for a notice. What it cannot do is left out.
func (n *Notifier) show(ctx context.Context, t *topic, notice Notice) {
	// The number that comes back is needed at the program's end, too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	o := n.conn.Object(server, serverPath)
	if n.can == nil {
		n.can = []string{}
		if o.CallWithContext(ctx, server+".GetCapabilities", 0).Store(&n.can) != nil {
			n.can = nil // it may come later
		}
	}
	text := notice.Text
	if slices.Contains(n.can, "body-markup") {
		text = html.EscapeString(text)
	}
	actions := []string{}
	if slices.Contains(n.can, "actions") {
		actions = append(actions, actionDefault, cmp.Or(notice.Opens, "Warren"))
		if notice.Button != "" {
			actions = append(actions, actionButton, notice.Button)
		}
	}
	urgency := byte(1)
	if notice.Urgent {
		urgency = 2
	}
	hints := map[string]dbus.Variant{"desktop-entry": dbus.MakeVariant(n.entry), "urgency": dbus.MakeVariant(urgency)}
	if notice.Topic == TopicOrder {
		hints["transient"] = dbus.MakeVariant(true)
	}
	t.at = time.Now()
	call := o.CallWithContext(ctx, server+".Notify", 0, "Warren", t.id, n.entry, notice.Title, text, actions, hints, int32(-1))
	if call.Store(&t.id) != nil {
		t.id = 0
		return
	}
	t.shown = notice
	if n.owner == "" {
		_ = n.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, server).Store(&n.owner)
	}
}

func (n *Notifier) close(ctx context.Context, t *topic) {
	if t.id == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	_ = n.conn.Object(server, serverPath).CallWithContext(ctx, server+".CloseNotification", dbus.FlagNoAutoStart, t.id).Err // one that is closed already is an error
	t.id = 0
}

// leave takes everything back without waiting: the program ends.
func (n *Notifier) leave() {
	for _, t := range n.topics {
		if t.id != 0 && t.shown.Topic != TopicOrder {
			n.conn.Object(server, serverPath).Go(server+".CloseNotification", dbus.FlagNoReplyExpected|dbus.FlagNoAutoStart, nil, t.id)
		}
	}
}

// signal takes what the server says. Others can send the same to us, and are not heard.
func (n *Notifier) signal(s *dbus.Signal) {
	switch {
	case s.Name == "org.freedesktop.DBus.NameOwnerChanged" && s.Sender == "org.freedesktop.DBus":
		var name, before, after string
		if dbus.Store(s.Body, &name, &before, &after) == nil && name == server {
			n.owner, n.can = after, nil
			for _, t := range n.topics {
				if before != "" {
					t.id = 0 // another server has numbers of its own
				}
			}
		}
	case n.owner == "" || s.Sender != n.owner:
	case s.Name == server+".ActionInvoked":
		var id uint32
		var key string
		if dbus.Store(s.Body, &id, &key) == nil {
			n.pressed(id, key)
		}
	case s.Name == server+".NotificationClosed":
		var id, why uint32
		if dbus.Store(s.Body, &id, &why) == nil {
			if t := n.find(id); t != nil {
				t.id = 0
			}
		}
	}
}

// pressed does what a button says, once: it is not there any more then.
func (n *Notifier) pressed(id uint32, key string) {
	t := n.find(id)
	if t == nil {
		return
	}
	switch {
	case key == actionButton && t.shown.Button != "":
		n.do(t.shown.Do)
		t.shown.Button = ""
	case key == actionDefault:
		n.do(view.Intent{Op: view.OpOpen, Arg: string(view.PageHome)})
	}
}

func (n *Notifier) find(id uint32) *topic {
	for _, t := range n.topics {
		if t.id == id && id != 0 {
			return t
		}
	}
	return nil
}
