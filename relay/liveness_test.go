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
		what string // "back", "packet", "sent", "suspect", "deaf": no answers any more, "hole": none but Pongs, "mended", "lost": the next Pong
	}
	for _, c := range []struct {
		name   string
		events []moment
		end    int // ms
		want   string
		trip   time.Duration // of the Join
		web    bool
	}{
		{"an idle link is pinged less and less", nil, 100_000, "1500 probe, 4501 probe, 10503 probe, 22507 probe, 46515 probe, 71516 ping, 96517 ping", 0, false},
		{"over a WebSocket less still", nil, 100_000, "1500 probe, 4501 probe, 10503 probe, 22507 probe, 46515 probe, 86516 ping", 0, true},
		{"packets in both directions need no pings", []moment{
			{1, "sent"}, {100, "packet"}, {900, "sent"}, {1000, "packet"}, {1900, "sent"}, {2000, "packet"}, {2900, "sent"}, {3000, "packet"},
		}, 3500, "", 0, false},
		{"nothing comes after a packet", []moment{{1, "sent"}, {1, "deaf"}}, 5000, "1001 probe, 1301 probe, 1601 probe, 1901 give up", 0, false},
		{"what came before does not answer what was sent after", []moment{{0, "packet"}, {100, "sent"}, {100, "deaf"}}, 5000, "1100 probe, 1400 probe, 1700 probe, 2000 give up", 0, false},
		{"a suspicion is looked into at once", []moment{{500, "suspect"}}, 1000, "500 probe", 0, false},
		{"an unfounded one costs one ping", []moment{{500, "suspect"}, {500, "deaf"}, {900, "back"}}, 2300, "500 probe, 800 probe", 0, false},
		{"a late answer to the last ping saves it", []moment{{1, "sent"}, {1, "deaf"}, {1850, "back"}}, 3300, "1001 probe, 1301 probe, 1601 probe", 0, false},
		{"a far relay's answer is waited for", []moment{{1, "sent"}, {1, "deaf"}, {2450, "back"}}, 3300, "1001 probe, 1701 probe, 2401 probe", 1400 * time.Millisecond, false},
		{"packets do not come back", []moment{{0, "suspect"}, {0, "hole"}}, 5000, "0 probe, 301 try 40 times, 1901 probe, 2202 hole", 0, false},
		{"the packets of others are no excuse", []moment{{0, "suspect"}, {0, "hole"}, {1, "packet"}, {400, "packet"}, {1100, "packet"}}, 5000, "0 probe, 301 try 40 times, 1901 probe, 2202 hole", 0, false},
		{"some of a crowded line come back", []moment{{0, "suspect"}, {0, "hole"}, {390, "mended"}}, 1500, "0 probe, 301 try 4 times", 0, false},
		{"and it may lose Pings", []moment{{0, "suspect"}, {0, "hole"}, {400, "lost"}, {2500, "mended"}}, 3500, "0 probe, 301 try 40 times, 1901 probe, 2201 probe, 2502 try", 0, false},
		{"an idle client tries nothing", []moment{{46_600, "hole"}}, 100_000, "1500 probe, 4501 probe, 10503 probe, 22507 probe, 46515 probe, 71516 ping, 96517 ping", 0, false},
		{"unless others miss it", []moment{{46_600, "hole"}, {60_000, "suspect"}}, 100_000, "1500 probe, 4501 probe, 10503 probe, 22507 probe, 46515 probe, 60000 probe, 60301 try 40 times, 61901 probe, 62202 hole", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Unix(1_000_000, 0)
			at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
			l := liveness{trip: c.trip, quiet: keepalive}
			if c.web {
				l.quiet = keepaliveWeb
			}
			heard, packet, unanswered, deaf, hole, lost := start, start, time.Time{}, false, false, false
			tries := 0 // one after the other
			events, did := c.events, []string(nil)
			tell := func() {
				if tries > 1 {
					did[len(did)-1] += fmt.Sprintf(" %d times", tries)
				}
				tries = 0
			}
			for ms := 0; ms <= c.end; ms++ { // every millisecond: due is only when it must look at the latest
				now := at(ms)
				for len(events) > 0 && events[0].ms <= ms {
					switch events[0].what {
					case "back":
						heard = now
						l.back()
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
					case "hole", "mended":
						hole = events[0].what == "hole"
					case "lost":
						lost = true
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
				case actTry:
					if tries++; tries == 1 {
						did = append(did, fmt.Sprintf("%d try", ms))
					}
					if !hole {
						heard = now.Add(time.Microsecond)
						l.back()
					}
					continue
				case actPing, actProbe:
					tell()
					did = append(did, fmt.Sprintf("%d %s", ms, map[action]string{actPing: "ping", actProbe: "probe"}[act]))
					if !deaf && !lost {
						heard = now.Add(time.Microsecond)
						l.pong(heard)
					}
					if !deaf && !hole {
						l.back()
					}
					lost = false
				case actHole:
					tell()
					did = append(did, fmt.Sprintf("%d hole", ms))
					ms = c.end
				case actGiveUp:
					did = append(did, fmt.Sprintf("%d give up", ms))
					ms = c.end
				}
			}
			tell()
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
