package server

import "time"

// Bounds of the pace.
const (
	gather        = 10 * time.Millisecond // changes that come together are told together
	breath        = 3                     // times as long as telling took nothing is told after it
	longestBreath = 2 * time.Second
	longestWrite  = time.Second // the longest wait for streams to write before more is told
)

// pace says when what is new is told. Telling costs by the line, and hardly by the change: alone a change is told after
// gather. While machines come by the hundred, each to be told to all that are there already, telling gets a quarter of
// the time, and a line then holds what came in the other three.
//
//	came            told        wrote                              due
//	──┴── gather ────┴── took ────┴────────── breath × took ─────────┴──▶
//
// It knows no clock; the zero value has nothing to tell.
type pace struct {
	first time.Time // the oldest change that is untold; zero: there is none
	began time.Time // the last telling
	free  time.Time // no telling before this
	busy  bool      // streams are still writing what was told
}

// came notes that there is something to tell.
func (p *pace) came(now time.Time) {
	if p.first.IsZero() {
		p.first = now
	}
}

// told notes that all there is has been put into the streams' queues, which began then.
func (p *pace) told(began time.Time) {
	p.first, p.began, p.busy = time.Time{}, began, true
}

// wrote notes whether streams are still writing. A few that are slow keep nobody waiting.
func (p *pace) wrote(now time.Time, writing bool) {
	if !p.busy || writing && now.Before(p.began.Add(longestWrite)) {
		return
	}
	p.busy = false
	p.free = now.Add(min(breath*now.Sub(p.began), longestBreath))
}

// ready reports whether it is time to tell.
func (p *pace) ready(now time.Time) bool {
	return !p.busy && !p.first.IsZero() && !now.Before(p.due(now))
}

// due is when to look again: to tell, or whether the streams have written; zero: when something comes.
func (p *pace) due(now time.Time) time.Time {
	switch {
	case p.busy:
		return now.Add(gather / 2)
	case p.first.IsZero():
		return time.Time{}
	}
	if t := p.first.Add(gather); t.After(p.free) {
		return t
	}
	return p.free
}
