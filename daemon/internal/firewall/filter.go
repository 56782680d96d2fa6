package firewall

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/google/nftables"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/journal"
)

// filterTableName is that of the table that decides what comes in from the network.
const filterTableName = "warren-filter"

// Filter decides what comes in from the network, to this machine and through it, by the rules that the coordination server
// made of the network's policy. It has a table of its own for both versions of IP:
//
//	incoming    prerouting, after connection tracking and before any translation of addresses: a packet is judged as its
//	            sender meant it, so that a container's published port is the port that was published, and what no rule
//	            grants is neither delivered nor forwarded
//	outgoing    postrouting, after all translation: answers to what is granted no more stay here
//
// Connection tracking says only who began a flow. Answers to what this machine began come in; so do ICMP errors about flows
// that are known, and no others. All else is judged anew at each packet, by three look-ups, whatever the number of rules. So
// an edit holds from the next packet on, for old flows too: nothing has to be found and flushed, no mark is taken that
// others may use, and no packet of our own can make a flow that was cut begin anew the other way round.
//
// An edit changes the elements of sets that differ, in one transaction; the rules stay as they are, and so do the counters.
// Its methods may be called from several goroutines.
type Filter struct {
	link    string
	journal *journal.Journal
	log     *slog.Logger
	step    func() // tests die before the next change

	mu    sync.Mutex
	id    journal.ID // of the record of our table; 0: none
	made  *filterTable
	print string // of the rules when they were made
	gen   uint32 // of the packet filter when the table was whole; 0: it may not be

	counted time.Time // when counts were read
	counts  map[string]uint64
}

// Admission is what is let in.
type Admission struct {
	// Rules are the rules; nil is a server without any: then everything comes in that the tunnel lets through.
	Rules *coord.Filter
	// Self are this machine's addresses in the network.
	Self []netip.Addr
}

// NewFilter makes a Filter for the network namespace of the thread that calls its methods. It changes nothing yet.
func NewFilter(cfg Config) *Filter {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Filter{link: cfg.Interface, journal: cfg.Journal, log: cfg.Log, step: func() {}}
}

// Apply makes the table as wished. After an error what stood before stands.
func (f *Filter) Apply(ctx context.Context, a Admission) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if a.Rules == nil {
		return f.remove(ctx)
	}
	gen, err := generation()
	if err != nil {
		return explain("look at the packet filter", err)
	}
	next := newFilterTable(f.link, a)
	whole := f.made != nil && (gen == f.gen || f.intact())
	if whole && next.equal(f.made) {
		f.gen = gen
		return nil
	}
	f.gen = 0
	if whole && next.parts == f.made.parts {
		err := f.commit(func(nft *nftables.Conn) error { return next.amend(nft, f.made) })
		if err == nil {
			f.stand(next, gen+1)
			return nil
		}
		f.log.Warn("could not amend the access rules; making them anew", "err", err)
	}
	if err := f.record(); err != nil {
		return err
	}
	counts, err := readCounts()
	if err != nil {
		counts = nil // there is no table yet
	}
	if err := f.commit(func(nft *nftables.Conn) error { return next.write(nft, counts) }); err != nil {
		return explain("load the access rules", err)
	}
	f.stand(next, gen+1)
	return nil
}

// stand takes note of what is loaded now.
func (f *Filter) stand(t *filterTable, gen uint32) {
	var err error
	if f.made, f.gen = t, gen; f.gen == gen {
		f.print, err = fingerprint()
	}
	if err != nil {
		f.gen = 0 // looked at once more the next time
	}
}

// Stands reports whether access rules are in force, of whatever date.
func (f *Filter) Stands() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made != nil
}

// Close takes the table away.
func (f *Filter) Close(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.remove(ctx)
}

// filterData names the table for the journal.
func filterData() tableData {
	return tableData{Family: byte(nftables.TableFamilyINet), Name: filterTableName}
}

func (f *Filter) record() error {
	if f.id != 0 {
		return nil
	}
	ids, err := f.journal.Record(journal.Change{Kind: kindTable, Data: filterData()})
	if err != nil {
		return err
	}
	f.id = ids[0]
	return nil
}

func (f *Filter) remove(ctx context.Context) error {
	if f.id == 0 {
		return nil
	}
	f.step()
	if err := filterData().undo(ctx); err != nil {
		return explain("take the access rules away", err)
	}
	id := f.id
	f.id, f.made, f.gen, f.counts = 0, nil, 0, nil
	return f.journal.Done(id)
}

// commit makes a transaction of what write says.
func (f *Filter) commit(write func(*nftables.Conn) error) error {
	nft, err := roomy()
	if err != nil {
		return err
	}
	if err := write(nft); err != nil {
		return err
	}
	f.step()
	return nft.Flush()
}

// countsAge is how old counts may be: to read them costs a question to the kernel.
const countsAge = time.Second

// The reasons why packets are dropped.
const (
	DropDenied  = "denied"  // no rule lets it in
	DropSpoofed = "spoofed" // its source cannot be another machine's
	DropUnasked = "unasked" // an ICMP error about nothing that this machine knows
	DropEnded   = "ended"   // an answer to what is granted no more
)

var dropReasons = []string{DropDenied, DropSpoofed, DropUnasked, DropEnded}

// Drops says how many packets were dropped, by reason, since the interface came up. It is nil while there are no rules.
func (f *Filter) Drops() map[string]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made == nil {
		return nil
	}
	if time.Since(f.counted) < countsAge {
		return f.counts
	}
	counts, err := readCounts()
	if err != nil {
		f.log.Debug("cannot count what was dropped", "err", err)
		return f.counts
	}
	f.counts, f.counted = counts, time.Now()
	return counts
}

func readCounts() (map[string]uint64, error) {
	nft, err := nftables.New()
	if err != nil {
		return nil, err
	}
	objs, err := nft.GetNamedObjects(&nftables.Table{Family: nftables.TableFamilyINet, Name: filterTableName})
	if err != nil {
		return nil, err
	}
	counts := make(map[string]uint64)
	for _, o := range objs {
		named, ok := o.(*nftables.NamedObj)
		if !ok || named.Table == nil || named.Table.Name != filterTableName {
			continue
		}
		if packets, ok := countOf(named); ok {
			counts[named.Name] = packets
		}
	}
	if len(counts) == 0 {
		return nil, errors.New("there are no counters")
	}
	return counts, nil
}
