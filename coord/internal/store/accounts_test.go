package store

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

func testInvitations(t *testing.T, s Store) {
	i := Invitation{Hash: [32]byte{7}, Role: account.Auditor, Created: start, Expires: start.Add(time.Hour)}
	do(t, s, func(tx Tx) (err error) {
		if i.User, err = tx.AddUser(User{Login: "inviting", Password: "$x", Role: account.Admin, Created: start}); err != nil {
			return err
		}
		i.ID, err = tx.AddInvitation(i)
		return err
	})
	do(t, s, func(tx Tx) error {
		got, err := tx.InvitationByHash(i.Hash)
		all, err2 := tx.Invitations()
		if d := cmp.Diff([]Invitation{i, i}, append(all, got)); d != "" {
			t.Error(d)
		}
		return errors.Join(err, err2, tx.PurgeInvitations(start))
	})
	do(t, s, func(tx Tx) error { return tx.RemoveInvitation(i.ID) })
	wants(t, s.Write(t.Context(), func(tx Tx) error { return tx.RemoveInvitation(i.ID) }), ErrNotFound)
	do(t, s, func(tx Tx) error {
		_, err := tx.AddInvitation(i)
		return errors.Join(err, tx.RemoveUser(i.User))
	})
	wants(t, s.Read(t.Context(), func(tx Tx) error { _, err := tx.InvitationByHash(i.Hash); return err }), ErrNotFound)
}

func testWebSessions(t *testing.T, s Store) {
	var user int64
	do(t, s, func(tx Tx) (err error) {
		if user, err = tx.AddUser(User{Login: "signed-in", Password: "$x", Role: account.Member, Created: start}); err != nil {
			return err
		}
		for i := range 3 {
			at := start.Add(time.Duration(i) * time.Hour)
			if err := tx.AddWebSession(WebSession{Hash: [32]byte{8, byte(i)}, User: user, Created: at, Seen: at}); err != nil {
				return err
			}
		}
		return nil
	})
	do(t, s, func(tx Tx) error {
		all, err := tx.WebSessions(user)
		if len(all) != 3 || all[0].Hash[1] != 2 {
			t.Errorf("sessions %+v", all)
		}
		return errors.Join(err, tx.RemoveWebSessions(user, [32]byte{8, 1}))
	})
	do(t, s, func(tx Tx) error {
		all, err := tx.WebSessions(user)
		if len(all) != 1 || all[0].Hash[1] != 1 {
			t.Errorf("what is left: %+v", all)
		}
		return err
	})
}
