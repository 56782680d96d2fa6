package firewall

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// message is the type of an nf_tables message.
func message(kind int) int { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

const headerLen = 4 // struct nfgenmsg

// generation numbers the packet filter's states: each transaction, by whomever, makes the next.
func generation() (uint32, error) {
	req := nl.NewNetlinkRequest(message(unix.NFT_MSG_GETGEN), 0)
	req.AddData(&nl.Nfgenmsg{})
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return 0, err
	}
	for _, m := range msgs {
		if gen, _, ok := parseGen(m); ok {
			return gen, nil
		}
	}
	return 0, errors.New("the kernel does not number its packet filter's states")
}

// parseGen reads NFT_MSG_NEWGEN: the new generation, and whose transaction made it.
func parseGen(m []byte) (gen, pid uint32, ok bool) {
	if len(m) < headerLen {
		return 0, 0, false
	}
	attrs, err := nl.ParseRouteAttr(m[headerLen:])
	if err != nil {
		return 0, 0, false
	}
	for _, a := range attrs {
		if len(a.Value) != 4 {
			continue
		}
		switch a.Attr.Type {
		case unix.NFTA_GEN_ID:
			gen, ok = binary.BigEndian.Uint32(a.Value), true
		case unix.NFTA_GEN_PROC_PID:
			pid = binary.BigEndian.Uint32(a.Value)
		}
	}
	return gen, pid, ok
}

// ours gives the handles of the rules in a chain that carry our comment.
func ours(d ruleData) ([]uint64, error) {
	req := nl.NewNetlinkRequest(message(unix.NFT_MSG_GETRULE), unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: d.Family})
	req.AddData(nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(d.Table)))
	req.AddData(nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(d.Chain)))
	var handles []uint64
	msgs, err := again(func() ([][]byte, error) { return req.Execute(unix.NETLINK_NETFILTER, 0) })
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		if len(m) < headerLen {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[headerLen:])
		if err != nil {
			return nil, fmt.Errorf("a rule of %s %s: %w", d.Table, d.Chain, err)
		}
		handle, mine := uint64(0), false
		for _, a := range attrs {
			switch {
			case a.Attr.Type == unix.NFTA_RULE_HANDLE && len(a.Value) == 8:
				handle = binary.BigEndian.Uint64(a.Value)
			case a.Attr.Type == unix.NFTA_RULE_USERDATA:
				mine = bytes.Equal(a.Value, comment())
			case a.Attr.Type == unix.NFTA_RULE_TABLE && string(bytes.TrimRight(a.Value, "\x00")) != d.Table,
				a.Attr.Type == unix.NFTA_RULE_CHAIN && string(bytes.TrimRight(a.Value, "\x00")) != d.Chain:
				mine, handle = false, 0 // older kernels give all rules
			}
		}
		if mine && handle != 0 {
			handles = append(handles, handle)
		}
	}
	return handles, nil
}

// comment is a rule's comment with our name, as nft writes it.
func comment() []byte { return userdata.AppendString(nil, userdata.TypeComment, name) }

// settle is how long Watch gathers changes before it tells of them: programs that rewrite the filter do so in steps.
const settle = 50 * time.Millisecond

// calm is how far apart Watch's events are at the least: a program that changes the filter all the time gets no fight.
const calm = time.Second

// Watch tells when another process changed the packet filter, until ctx ends; then the channel is closed. Changes that
// come faster than they are taken come as one.
func (l *Lockdown) Watch(ctx context.Context) (<-chan struct{}, error) {
	const group = 7 // NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h
	sock, err := nl.Subscribe(unix.NETLINK_NETFILTER, group)
	if err != nil {
		return nil, explain("watch the packet filter", err)
	}
	events := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, sock.Close)
	go func() {
		var told time.Time
		defer close(events)
		defer stop()
		defer sock.Close()
		for {
			msgs, from, err := sock.Receive()
			changed := errors.Is(err, unix.ENOBUFS) // messages were lost: anything may have changed
			switch {
			case ctx.Err() != nil:
				return
			case changed, errors.Is(err, unix.EINTR):
			case err != nil:
				l.cfg.Log.Warn("the packet filter's changes are not watched any more", "err", err)
				return
			case from.Pid != 0: // not from the kernel
				continue
			}
			for _, m := range msgs {
				if int(m.Header.Type) == message(unix.NFT_MSG_NEWGEN) {
					_, pid, ok := parseGen(m.Data)
					changed = changed || ok && !own(pid)
				}
			}
			if !changed {
				continue
			}
			if !tell(ctx, events, max(settle, calm-time.Since(told))) {
				return
			}
			told = time.Now()
		}
	}()
	return events, nil
}

// own reports whether a transaction was this process's: the kernel names the thread. Where it does not know threads by the
// same numbers (in a container), our own changes are told too: Apply then finds nothing to do.
func own(thread uint32) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", thread))
	return err == nil
}

// tell waits until the dust has settled, and leaves word; false if ctx ended.
func tell(ctx context.Context, events chan<- struct{}, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	select {
	case events <- struct{}{}:
	default:
	}
	return true
}
