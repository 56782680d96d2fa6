package store

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warren-mesh/warren/coord/internal/account"
)

func testOwners(t *testing.T, s Store) {
	var ids [8]int64
	do(t, s, func(tx Tx) (err error) {
		for i := range ids {
			u := User{Login: "owner" + string(rune('a'+i)), Password: "$x", Role: account.Owner, Created: start}
			if ids[i], err = tx.AddUser(u); err != nil {
				return err
			}
		}
		return nil
	})
	last := errors.New("last owner")
	var refused atomic.Int32
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			err := s.Write(t.Context(), func(tx Tx) error {
				if n, err := tx.Owners(); err != nil || n <= 1 {
					return errors.Join(last, err)
				}
				return tx.SetRole(id, account.Member)
			})
			if errors.Is(err, last) {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if refused.Load() != 1 {
		t.Errorf("of %d owners at once, %d stayed", len(ids), refused.Load())
	}
	do(t, s, func(tx Tx) error {
		if n, err := tx.Owners(); err != nil || n != 1 {
			t.Errorf("there are %d owners, %v", n, err)
		}
		wants(t, tx.RemoveMeta("kept not"), ErrNotFound)
		wants(t, tx.SetRole(9999, account.Member), ErrNotFound)
		return nil
	})
}
