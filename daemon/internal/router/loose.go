package router

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/ipc"
)

// rpFilter is the reverse path filter of all interfaces: 1 drops what comes by another interface than an answer would take,
// 2 only what no answer could reach (RFC 3704; the greater of this and an interface's own counts). While an exit node is used,
// an answer to anybody would take the tunnel, and while subnets are, one to a server or peer that is in one: with 1 nothing of
// theirs would reach our own sockets.
const rpFilter = "/proc/sys/net/ipv4/conf/all/rp_filter"

const loose = "2"

// loosen makes the filter loose where it is strict and packets are wished to take a detour, and puts it back where none are.
func (r *Router) loosen(ctx context.Context, detour bool) ([]ipc.Problem, error) {
	key := change{kind: kindSetting}
	id, done := r.records[key]
	switch {
	case detour && !strict():
		return nil, nil
	case detour:
		was, err := readSetting(rpFilter)
		if err != nil {
			return nil, explain("read the reverse path filter", err)
		}
		if !done {
			ids, err := r.journal.Record(journal.Change{Kind: kindSetting, Data: settingData{rpFilter, was, loose}})
			if err != nil {
				return nil, err
			}
			r.records[key] = ids[0]
		}
		r.step()
		if err := os.WriteFile(rpFilter, []byte(loose), 0); err != nil {
			return []ipc.Problem{{
				Code: ipc.ProblemStrictFilter, Level: ipc.ProblemUrgent, Text: "This host's reverse path filter is strict and drops the tunnel's own packets while an exit node or others' subnets are used.",
				Fix: "sudo sysctl net.ipv4.conf.all.rp_filter=2",
			}}, nil
		}
	case done:
		r.step()
		for _, e := range r.journal.Live() {
			if e.ID == id {
				if err := undoSetting(ctx, e.Data); err != nil {
					return nil, err
				}
			}
		}
		delete(r.records, key)
		return nil, r.journal.Done(id)
	}
	return nil, nil
}

// strict reports whether the filter of some interface is.
func strict() bool {
	all, err := readSetting(rpFilter)
	if err != nil || all == loose {
		return false
	}
	files, _ := filepath.Glob("/proc/sys/net/ipv4/conf/*/rp_filter")
	for _, f := range files {
		if v, err := readSetting(f); err == nil && (v == "1" || all == "1" && v == "0") {
			return true
		}
	}
	return false
}

func readSetting(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return strings.TrimSpace(string(text)), nil
}
