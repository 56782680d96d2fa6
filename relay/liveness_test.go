package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestLivenessTranscripts plays what happens to a session against the machine, and compares what it does and when.
func TestLivenessTranscripts(t *testing.T) {
	type moment struct {
		ms   int
		what string // "heard", "packet", "sent", "suspect"
	}
	for _, c := range []struct {
		name   string
		events []moment
		end    int // ms
		want   string
		trip   time.Duration // of the Join
		web    bool
	}{
		{"an idle link is pinged less and less", nil, 100_000, "1500 ping, 4501 ping, 10503 ping, 22507 ping, 46515 ping, 71516 ping, 96517 ping", 0, false},
		{"over a WebSocket less still", nil, 100_000, "1500 ping, 4501 ping, 10503 ping, 22507 ping, 46515 ping, 86516 ping", 0, true},
		{"packets in both directions need no pings", []moment{
			{1, "sent"}, {100, "packet"}, {900, "sent"}, {1000, "packet"}, {1900, "sent"}, {2000, "packet"}, {2900, "sent"}, {3000, "packet"},
		}, 3500, "", 0, false},
		{"nothing comes after a packet", []moment{{1, "sent"}, {1, "deaf"}}, 5000, "1001 ping, 1301 ping, 1601 ping, 1901 give up", 0, false},
		{"what came before does not answer what was sent after", []moment{{0, "packet"}, {100, "sent"}, {100, "deaf"}}, 5000, "1100 ping, 1400 ping, 1700 ping, 2000 give up", 0, false},
		{"a suspicion is looked into at once", []moment{{500, "suspect"}}, 1000, "500 ping", 0, false},
		{"an unfounded one costs one ping", []moment{{500, "suspect"}, {500, "deaf"}, {900, "heard"}}, 2300, "500 ping, 800 ping", 0, false},
		{"a late answer to the last ping saves it", []moment{{1, "sent"}, {1, "deaf"}, {1850, "heard"}}, 3300, "1001 ping, 1301 ping, 1601 ping", 0, false},
		{"a far relay's answer is waited for", []moment{{1, "sent"}, {1, "deaf"}, {2450, "heard"}}, 3300, "1001 ping, 1701 ping, 2401 ping", 1400 * time.Millisecond, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Unix(1_000_000, 0)
			at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
			l := liveness{trip: c.trip, quiet: keepalive}
			if c.web {
				l.quiet = keepaliveWeb
			}
			heard, packet, unanswered, deaf := start, start, time.Time{}, false
			events, did := c.events, []string(nil)
			for ms := 0; ms <= c.end; ms++ { // every millisecond: due is only when it must look at the latest
				now := at(ms)
				for len(events) > 0 && events[0].ms <= ms {
					switch events[0].what {
					case "heard":
						heard = now
					case "packet":
						heard, packet = now, now
					case "sent":
						if unanswered.IsZero() {
							unanswered = now
						}
					case "suspect":
						l.suspect()
					case "deaf":
						deaf = true
					}
					events = events[1:]
				}
				if !unanswered.IsZero() && !heard.Before(unanswered) {
					unanswered = time.Time{}
				}
				act, due := l.step(now, heard, packet, unanswered)
				if act == actNothing && !due.After(now) {
					t.Fatalf("at %d it asks to be asked at once", ms)
				}
				switch act {
				case actPing:
					did = append(did, fmt.Sprintf("%d ping", ms))
					if !deaf {
						heard = now.Add(time.Microsecond)
					}
				case actGiveUp:
					did = append(did, fmt.Sprintf("%d give up", ms))
					ms = c.end
				}
			}
			if got := strings.Join(did, ", "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestPendingKeepsTheLastAndTheYoung(t *testing.T) {
	var p pending
	now := time.Unix(1000, 0)
	to := Address{1}
	for i := range pendingPackets + 3 {
		if dropped := p.add(now.Add(time.Duration(i)*100*time.Millisecond), to, [][]byte{{byte(i)}}); (dropped == 1) != (i >= pendingPackets) {
			t.Errorf("packet %d: %d dropped", i, dropped)
		}
	}
	young, dropped := p.take(now.Add(1800 * time.Millisecond))
	if len(young) != 11 || dropped != 5 || young[0].b[0] != 8 || young[10].b[0] != 18 {
		t.Errorf("%d young, %d dropped, %v", len(young), dropped, young)
	}
	if young, _ := p.take(now); len(young) != 0 {
		t.Error("some are there twice")
	}
}
