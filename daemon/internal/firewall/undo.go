package firewall

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/journal"
)

// The kinds of changes that the journal holds of us.
const (
	kindTable  journal.Kind = "nft-table"
	kindRule   journal.Kind = "nft-rule"
	kindSysctl journal.Kind = "sysctl"
)

// change is the data of a record.
type change interface {
	undo(ctx context.Context) error
}

// tableData is a table of ours.
type tableData struct {
	Family byte   `json:"family"` // NFPROTO_*
	Name   string `json:"name"`
}

// ruleData are our rules in a chain of others: those that carry our comment.
type ruleData struct {
	Family byte   `json:"family"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
}

// sysctlData is a setting below /proc/sys.
type sysctlData struct {
	Path string `json:"path"`
	Was  string `json:"was"`
	Set  string `json:"set"` // only if it still is this, it becomes what it was
	// Unless names another setting: if that is 1 now, somebody else wants this one too.
	Unless string `json:"unless,omitempty"`
}

// Undo gives the handlers that take our changes back, in the network namespace of the thread that calls them.
func Undo() journal.Handlers {
	return journal.Handlers{
		kindTable:  {Undo: undo[tableData], Volatile: true},
		kindRule:   {Undo: undo[ruleData], Volatile: true},
		kindSysctl: {Undo: undo[sysctlData], Volatile: true},
	}
}

func undo[T change](ctx context.Context, text json.RawMessage) error {
	var data T
	if err := json.Unmarshal(text, &data); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return data.undo(ctx)
}

func (d tableData) undo(context.Context) error {
	nft, err := nftables.New()
	if err != nil {
		return err
	}
	nft.DelTable(&nftables.Table{Family: nftables.TableFamily(d.Family), Name: d.Name})
	return gone(nft.Flush())
}

func (d ruleData) undo(context.Context) error {
	handles, err := ours(d)
	if err != nil || len(handles) == 0 {
		return gone(err)
	}
	nft, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamily(d.Family), Name: d.Table}
	for _, h := range handles {
		if err := nft.DelRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Name: d.Chain, Table: table}, Handle: h}); err != nil {
			return err
		}
	}
	return gone(nft.Flush())
}

func (d sysctlData) undo(context.Context) error {
	if sysctl(d.Path) != d.Set || d.Set == d.Was || d.Unless != "" && sysctl(d.Unless) == "1" {
		return nil
	}
	return gone(setSysctl(d.Path, d.Was))
}

// gone makes no error of having nothing to take back.
func gone(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
