package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/warren-mesh/warren/coord/internal/account"
)

func testTokens(t *testing.T, s Store) {
	k := Token{Hash: [32]byte{6}, Name: "ci", Scopes: []string{"machines", "read"}, Created: start, Expires: start.Add(time.Hour)}
	var other int64
	do(t, s, func(tx Tx) (err error) {
		if k.User, err = tx.AddUser(User{Login: "programs", Password: "$x", Role: account.Admin, Created: start}); err != nil {
			return err
		}
		if k.ID, err = tx.AddToken(k); err != nil {
			return err
		}
		if other, err = tx.AddUser(User{Login: "others", Password: "$x", Role: account.Admin, Created: start}); err != nil {
			return err
		}
		_, err = tx.AddToken(Token{Hash: [32]byte{7}, User: other, Created: start, Expires: start.Add(2 * time.Hour)})
		return err
	})
	wants(t, s.Write(t.Context(), func(tx Tx) error { _, err := tx.AddToken(k); return err }), ErrTaken)
	k.Used = start.Add(time.Minute)
	do(t, s, func(tx Tx) error {
		if err := tx.TouchToken(k.ID, k.Used); err != nil {
			return err
		}
		byHash, err1 := tx.TokenByHash(k.Hash)
		byID, err2 := tx.Token(k.ID)
		own, err3 := tx.Tokens(k.User)
		if d := cmp.Diff([]Token{k, k, k}, append(own, byHash, byID)); d != "" {
			t.Error(d)
		}
		all, err4 := tx.Tokens(0)
		if len(all) != 2 {
			t.Errorf("tokens %+v", all)
		}
		return errors.Join(err1, err2, err3, err4, tx.PurgeTokens(start.Add(90*time.Minute)))
	})
	do(t, s, func(tx Tx) error {
		_, err := tx.TokenByHash(k.Hash)
		wants(t, err, ErrNotFound)
		return tx.RemoveUser(other) // and with it its tokens
	})
	wants(t, s.Write(t.Context(), func(tx Tx) error { return tx.RemoveToken(k.ID + 1) }), ErrNotFound)
}

func testWebhooks(t *testing.T, s Store) {
	w := Webhook{URL: "https://hooks.example/a", Events: []string{"machine", "user.add"}, Secret: []byte{1, 0, 255}, Created: start, Delivery: Delivery{Position: 7}}
	do(t, s, func(tx Tx) (err error) { w.ID, err = tx.AddWebhook(w); return err })
	w.URL, w.Events, w.Secret = "https://hooks.example/b", []string{}, []byte{2}
	w.Delivery = Delivery{
		Position: 9, Tries: 3, Next: start.Add(time.Minute), Status: 500, Problem: "it answered 500", Tried: start, Sent: start.Add(-time.Hour), Dropped: 4,
	}
	do(t, s, func(tx Tx) error {
		return errors.Join(tx.SetWebhook(w), tx.SetDelivery(w.ID, w.Delivery))
	})
	n := ExpiryNotice{Expires: start, Said: "machine.expiring"}
	do(t, s, func(tx Tx) (err error) {
		one, err := tx.Webhook(w.ID)
		if err != nil {
			return err
		}
		all, err := tx.Webhooks()
		if d := cmp.Diff([]Webhook{w, w}, append(all, one)); d != "" {
			t.Error(d)
		}
		if err != nil {
			return err
		}
		if n.ID, err = tx.AddNode(someNode(83)); err != nil {
			return err
		}
		return errors.Join(tx.SetExpiryNotice(n), tx.RemoveWebhook(w.ID))
	})
	n.Said = "machine.expired"
	do(t, s, func(tx Tx) error {
		if err := tx.SetExpiryNotice(n); err != nil {
			return err
		}
		all, err := tx.ExpiryNotices()
		if d := cmp.Diff([]ExpiryNotice{n}, all); d != "" {
			t.Error(d)
		}
		return errors.Join(err, tx.RemoveNode(n.ID, start))
	})
	do(t, s, func(tx Tx) error {
		all, err := tx.ExpiryNotices()
		if len(all) > 0 {
			t.Errorf("notices of machines that are gone: %+v", all)
		}
		return err
	})
	wants(t, s.Write(t.Context(), func(tx Tx) error { return tx.SetDelivery(w.ID, w.Delivery) }), ErrNotFound)
}
