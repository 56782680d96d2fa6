package notify

import (
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

// Topic is what a notice is about. There is one notice for each at a time.
type Topic string

// The topics.
const (
	TopicOrder      Topic = "order"      // how something ended that a person asked for
	TopicConnection Topic = "connection" // connected, or to be logged in
	TopicKey        Topic = "key"        // this machine's key ends soon
	TopicExit       Topic = "exit"       // the exit node is gone
)

// Notice is one thing to tell.
type Notice struct {
	Topic  Topic
	Title  string
	Text   string
	Urgent bool   // it stays until a person has seen it
	Button string // empty: none
	Do     view.Intent
	Opens  string // what a click on the notice itself does, in words: some servers show it as a button, too
}

// Known is what has been told so far. The zero value knows nothing.
type Known struct {
	state ipc.State
	away  bool // this machine was off its network, and not for a moment only
	key   int  // how soon its key ends: urgency
	exit  bool // the exit node is gone
}

// How soon a key ends: what the daemon says of it, in steps that are told once each.
const (
	keyHasTime = iota
	keySoon
	keyNow
)

// Next tells what a status (nil: the daemon cannot be asked) changes: what is to be said, and which topics are over.
func Next(l view.Language, k Known, s *ipc.Status) (next Known, tell []Notice, over []Topic) {
	if s == nil { // when it comes back, what is still wrong is told again
		return Known{away: k.away, key: k.key}, nil, []Topic{TopicConnection, TopicExit}
	}
	w := speak(l)
	next = Known{state: s.State, away: k.away, key: keyUrgency(s), exit: exitGone(s)}
	switch changed := k.state != s.State; {
	case s.State == ipc.StateRunning && k.away:
		next.away = false
		tell = append(tell, Notice{Topic: TopicConnection, Title: w.fill(w.connected, where(s)), Text: w.fill(w.connectedText, self(s)...)})
	case s.State == ipc.StateNeedsLogin && changed:
		tell = append(tell, Notice{
			Topic: TopicConnection, Title: w.fill(w.login, where(s)), Text: w.loginText, Button: w.loginButton, Do: view.Intent{Op: view.OpLogin},
		})
	case changed:
		over = append(over, TopicConnection)
	}
	next.away = next.away || s.State != ipc.StateRunning && s.State != ipc.StateStarting
	switch {
	case next.key > k.key:
		tell = append(tell, Notice{
			Topic: TopicKey, Title: w.fill(w.key, w.span(s.Self.Expires.Sub(s.Time))), Text: w.keyText, Urgent: next.key == keyNow,
			Button: w.keyButton, Do: view.Intent{Op: view.OpLogin},
		})
	case next.key == keyHasTime && k.key != keyHasTime:
		over = append(over, TopicKey)
	}
	switch {
	case next.exit && !k.exit:
		tell = append(tell, Notice{
			Topic: TopicExit, Title: w.fill(w.exit, exits(s)), Text: w.exitText, Urgent: true, Button: w.exitButton, Do: view.Intent{Op: view.OpExit},
		})
	case k.exit && !next.exit:
		over = append(over, TopicExit)
	}
	for i := range tell {
		tell[i].Opens = l.Opens()
	}
	return next, tell, over
}

func keyUrgency(s *ipc.Status) int {
	for _, p := range s.Problems {
		switch {
		case p.Code != ipc.ProblemKeySoon:
		case p.Level == ipc.ProblemUrgent:
			return keyNow
		case p.Level != ipc.ProblemNotice:
			return keySoon
		}
	}
	return keyHasTime
}

func exitGone(s *ipc.Status) bool {
	return s.Exit != nil && slices.ContainsFunc(s.Problems, func(p ipc.Problem) bool {
		return p.Code == ipc.ProblemExitDown || p.Code == ipc.ProblemExitGone
	})
}

func exits(s *ipc.Status) string {
	if s.Exit.Name != "" {
		return name(s.Exit.Name)
	}
	return name(strings.Join(s.Exit.Wanted, ", "))
}

// where is the network, or the server where its name is not known.
func where(s *ipc.Status) string {
	if s.Network.Name != "" {
		return name(s.Network.Name)
	}
	return name(strings.TrimPrefix(s.Server, "https://"))
}

func self(s *ipc.Status) []string {
	addr := ""
	if len(s.Self.Addrs) > 0 {
		addr = s.Self.Addrs[0].String()
	}
	return []string{name(s.Self.Name), addr}
}

// maxName bounds a name of others, in characters.
const maxName = 60

// name makes a name of others harmless.
func name(s string) string {
	r := []rune(say.Line(s))
	if len(r) > maxName {
		r = append(r[:maxName], '…')
	}
	return strings.TrimSpace(string(r))
}

// span is how long something lasts yet.
func (w *words) span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return w.fill(w.days, number(d/day))
	case d >= 2*time.Hour:
		return w.fill(w.hours, number(d/time.Hour))
	}
	return w.soon
}
