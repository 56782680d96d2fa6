package server

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/state"
)

// TestMergedDeliveriesSayWhatTheySaidOneByOne compares the netmap after one line with the one after many.
func TestMergedDeliveriesSayWhatTheySaidOneByOne(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		start := &coord.Netmap{Self: coord.Node{ID: 1, Name: "self"}}
		told := uint64(random.IntN(3))
		queue := make(chan *state.Delivery, queueLength)
		single := start
		var first *state.Delivery
		count, last := 1+random.IntN(8), uint64(0)
		for seq := range uint64(count) {
			var cs []coord.Change
			for range random.IntN(4) {
				id := coord.NodeID(2 + random.IntN(4))
				switch random.IntN(4) {
				case 0:
					cs = append(cs, coord.Change{Remove: id})
				case 1:
					cs = append(cs, coord.Change{Ticket: []byte{byte(random.IntN(256))}})
				default:
					cs = append(cs, coord.Change{Upsert: &coord.Node{ID: id, Name: fmt.Sprint("n", random.IntN(100))}})
				}
			}
			body, _ := json.Marshal(map[string]any{"changes": append([]coord.Change{}, cs...)})
			d := &state.Delivery{Seq: seq + 1, Body: body}
			if d.Seq > told {
				single, last = coord.Apply(single, cs), d.Seq
			}
			if first == nil {
				if d.Seq > told {
					first = d
				}
				continue
			}
			queue <- d
		}
		if first == nil {
			continue
		}
		d := merged(first, queue, told)
		var u coord.Update
		if err := json.Unmarshal(d.Body, &u); err != nil || d.Seq != last || len(queue) > 0 {
			t.Fatalf("%s: %v; number %d, not %d; %d left", d.Body, err, d.Seq, last, len(queue))
		}
		if diff := cmp.Diff(single, coord.Apply(start, u.Changes), cmpopts.EquateEmpty(), cmpopts.EquateComparable(coord.Network{})); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestATicketIsNotLostBehindWhatTheMachineHas(t *testing.T) {
	queue := make(chan *state.Delivery, 2)
	had, ticket := &state.Delivery{Seq: 5, Body: []byte(`{"changes":[{"remove":2}]}`)}, &state.Delivery{Body: []byte(`{"changes":[{"ticket":"AQ=="}]}`)}
	queue <- ticket
	if d := merged(had, queue, 5); d.Seq != 0 || string(d.Body) != string(ticket.Body) {
		t.Errorf("it is told %d %s", d.Seq, d.Body)
	}
	queue <- had
	if d := merged(had, queue, 5); d.Seq != 5 {
		t.Errorf("what it has comes as %d", d.Seq)
	}
	queue <- &state.Delivery{Seq: 6, Body: []byte(`{"changes":[{"remove":3}]}`)}
	if d := merged(ticket, queue, 5); d.Seq != 6 || string(d.Body) != `{"changes":[{"ticket":"AQ=="},{"remove":3}]}` {
		t.Errorf("with what is new it is told %d %s", d.Seq, d.Body)
	}
}

func TestWhatIsMergedIsBounded(t *testing.T) {
	queue := make(chan *state.Delivery, queueLength)
	big := append(append(append([]byte{}, changesBegin...), make([]byte, maxMerged/4)...), changesEnd...)
	for i := range queueLength {
		queue <- &state.Delivery{Seq: uint64(i + 2), Body: big}
	}
	d := merged(&state.Delivery{Seq: 1, Body: big}, queue, 0)
	if len(d.Body) > maxMerged+len(big) || d.Seq < 4 || len(queue) == 0 {
		t.Errorf("%d bytes up to number %d; %d left", len(d.Body), d.Seq, len(queue))
	}
	alone := &state.Delivery{Seq: 1, Body: big}
	if merged(alone, make(chan *state.Delivery), 0) != alone {
		t.Error("one that is alone is copied")
	}
}
