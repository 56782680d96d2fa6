package sock

import (
	"net/netip"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/disco"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
	"github.com/warren-mesh/warren/relay"
)

var boxAt = netip.MustParseAddrPort("192.0.2.7:41642")

func box(addrs ...netip.AddrPort) NodeRelay {
	return NodeRelay{Node: 7, Name: "box", Key: key.NewRelay().Public(), Addrs: addrs}
}

// meetLoop is a loop that does not run, with a peer that it meets at a machine. Nothing is sent by its links.
type meetLoop struct {
	loopTest
	peer        *peer
	server, box *link
	null        *nullBind
}

func newMeetLoop() *meetLoop {
	l := &meetLoop{loopTest: testLoop(), null: &nullBind{}}
	l.bind.Bind = l.null
	l.bind.port.Store(1000)
	l.peer = l.peers[l.first]
	l.peer.Relay = 1
	l.setNodeRelays([]NodeRelay{box(boxAt)})
	client := relay.NewClient(relay.ClientConfig{Node: l.cfg.Node, Log: l.log})
	l.server = &link{relay: coord.Relay{ID: 1}, client: client, up: true, cancel: func() {}}
	l.box = &link{relay: coord.Relay{ID: nodeRelayID(7)}, client: client, up: true, cancel: func() {}, node: boxAt}
	l.slots[0].fill(l.server)
	l.slots[nodeSlot].fill(l.box)
	l.peer.meeting = meeting{at: 7, used: true, relayed: l.now, began: l.now.Add(-proveFor), proofs: meetProofs, answered: l.now}
	l.step(l.peer, peerpath.Relay{ID: l.box.relay.ID, Up: true})
	l.setPath(l.peer)
	return l
}

func (l *meetLoop) over() *link { return l.peer.ep.path.Load().link }

func TestPacketsWaitAtTheServerWhenThePairIsIdle(t *testing.T) {
	l := newMeetLoop()
	if l.over() != l.box {
		t.Fatal("the machine is not used")
	}
	l.meetings() // nothing has been sent
	if l.over() != l.server || l.peer.meeting.used {
		t.Error("packets go through a machine that nobody watches any more")
	}
}

func TestPacketsLeaveAMachineThatThePeerNamesNoMore(t *testing.T) {
	l := newMeetLoop()
	if l.heardMeet(l.peer, disco.Meet{}); l.over() != l.server {
		t.Error("it is used still")
	}
}

func TestPacketsLeaveAMachineThatCarriesProbesAlone(t *testing.T) {
	l := newMeetLoop()
	l.heedPeer(l.peer, note{kind: noteInitiation, ep: l.peer.ep})
	if l.over() != l.box {
		t.Error("one handshake says nothing")
	}
	l.now = l.now.Add(5 * time.Second)
	l.heedPeer(l.peer, note{kind: noteInitiation, ep: l.peer.ep})
	if l.over() != l.server {
		t.Error("it is used still")
	}
	if l.setNodeRelays(nil); l.peer.meeting.shunned == nil {
		t.Error("it is forgotten")
	}
}

func TestWhatOthersSayLeavesALinkAlone(t *testing.T) {
	l := newMeetLoop()
	mine := l.nodes.list[0]
	other := NodeRelay{Node: 8, Name: "other", Key: key.NewRelay().Public(), Addrs: []netip.AddrPort{boxAt}}
	l.setNodeRelays([]NodeRelay{mine, other})
	mine.Addrs = append([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.8:41642")}, mine.Addrs...)
	l.setNodeRelays([]NodeRelay{mine})
	if l.slots[nodeSlot].link.Load() != l.box || l.over() != l.box {
		t.Error("the link is closed, though the machine is where it was")
	}
	mine.Addrs = mine.Addrs[:1]
	l.setNodeRelays([]NodeRelay{mine})
	if l.slots[nodeSlot].link.Load() != nil || l.over() != l.server {
		t.Error("the link stays, though the machine is there no more")
	}
	if l.peer.meeting.judge(l.now, false, true); l.peer.meeting.at != 7 || len(l.peer.meeting.shunned) > 0 {
		t.Error("it is left for having moved")
	}
}

// Whatever a machine says of itself, nobody can aim others at an address with it.
func TestAnAddressIsAskedSeldomHoweverOftenTheListChanges(t *testing.T) {
	l := newMeetLoop()
	begun, is := l.now, l.nodes.list[0]
	for most := 0; l.now.Sub(begun) < 2*time.Minute; l.now = l.now.Add(meetTick) {
		if d := l.now.Sub(begun); d%(30*time.Second) == 0 {
			if most = max(most, l.null.sent); most > 5 {
				t.Fatalf("asked %d times in 30 s", most)
			}
			l.null.sent = 0
		}
		is.Name, is.Addrs = l.now.String(), []netip.AddrPort{boxAt, boxAt}
		l.setNodeRelays([]NodeRelay{is})
		l.heardMeet(l.peer, disco.Meet{})
		l.nodes.next = l.now
		l.meetings()
	}
	if l.nodes.rounds == 0 && l.null.sent == 0 {
		t.Error("never asked")
	}
}

// A peer that names another machine each time has no link opened each time.
func TestAPeersWordsOpenALinkSeldom(t *testing.T) {
	l := newMeetLoop()
	l.bind.closed = make(chan struct{})
	other := NodeRelay{Node: 8, Name: "other", Key: key.NewRelay().Public(), Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.8:41642")}}
	l.setNodeRelays(append(l.nodes.list, other))
	l.nodes.found = map[coord.NodeID]nodeFound{7: {boxAt, ms(1), l.now}, 8: {other.Addrs[0], ms(1), l.now}}
	l.peer.meeting.mine = []disco.MeetRelay{{Node: 7}, {Node: 8}}
	opened, last := 0, l.box
	for i := range 1000 {
		l.now = l.now.Add(10 * time.Millisecond)
		l.heardMeet(l.peer, disco.Meet{Relays: []disco.MeetRelay{{Node: int64(7 + i/10%2)}}})
		l.meetings()
		if is := l.slots[nodeSlot].link.Load(); is != nil && is != last {
			opened, last = opened+1, is
		}
	}
	if opened == 0 || opened > 11 {
		t.Errorf("%d links in 10 s", opened)
	}
}
