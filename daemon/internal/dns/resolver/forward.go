package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// hedge is how long an upstream has before the next one is asked too.
const hedge = 500 * time.Millisecond

// reply is what an upstream said, reduced to what is believable.
type reply struct {
	msg  *dns.Msg
	from string
}

// forward asks the upstreams in their order, each again once, and takes the first that answers. One that refuses or
// fails makes room for the next at once; one that is slow has hedge.
func forward(ctx context.Context, ups []Upstream, q *dns.Msg) (reply, error) {
	ctx, cancel := context.WithCancel(ctx)
	type result struct {
		reply
		err error
	}
	results := make(chan result, 2*len(ups))
	started, pending := 0, 0
	start := func() {
		u := ups[started%len(ups)]
		started, pending = started+1, pending+1
		go func() {
			m, err := u.Exchange(ctx, question(q))
			if err == nil {
				m, err = usable(q, m)
			}
			results <- result{reply{m, u.String()}, err}
		}()
	}
	defer func() {
		cancel()
		for ; pending > 0; pending-- { // Exchange ends with its context
			<-results
		}
	}()
	timer := time.NewTimer(hedge)
	defer timer.Stop()
	var failures []error
	var poor *reply
	start()
	for {
		select {
		case res := <-results:
			pending--
			switch {
			case res.err != nil:
				failures = append(failures, fmt.Errorf("%s: %w", res.from, res.err))
			case res.msg.Rcode != dns.RcodeSuccess && res.msg.Rcode != dns.RcodeNameError:
				failures = append(failures, fmt.Errorf("%s says %s", res.from, dns.RcodeToString[res.msg.Rcode]))
				poor = &res.reply
			default:
				return res.reply, nil
			}
			if started < len(ups) {
				start()
			} else if pending == 0 && (poor != nil || started == cap(results)) {
				if poor != nil {
					return *poor, nil
				}
				return reply{}, errors.Join(failures...)
			}
		case <-timer.C:
			if started < cap(results) {
				start()
				timer.Reset(hedge)
			}
		case <-ctx.Done():
			if poor != nil {
				return *poor, nil
			}
			return reply{}, errors.Join(append(failures, ctx.Err())...)
		}
	}
}

// question makes of a program's question ours: nothing of it goes on but name, type and the DNSSEC bits.
func question(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.RecursionDesired = true
	m.CheckingDisabled = q.CheckingDisabled
	m.Question = []dns.Question{q.Question[0]}
	do := false
	if opt := q.IsEdns0(); opt != nil {
		do = opt.Do()
	}
	m.SetEdns0(askUDP, do)
	return m
}
