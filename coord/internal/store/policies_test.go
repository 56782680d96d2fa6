package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testPolicies(t *testing.T, s Store) {
	do(t, s, func(tx Tx) error {
		p, err := tx.Policy()
		if p != (PolicyVersion{}) {
			t.Errorf("a network without a file has %+v", p)
		}
		return err
	})
	before := newest(t, s)
	want := PolicyVersion{Text: "{} // ü", User: 7, By: "anna", Note: "restore", Created: start}
	do(t, s, func(tx Tx) (err error) { want.ID, err = tx.AddPolicy(want); return err })
	got, log := news(t, s, before)
	if d := cmp.Diff([]Change{{Kind: PolicyChanged}}, log); d != "" || got.Policy != want.Text {
		t.Errorf("it is in the log as %q\n%s", got.Policy, d)
	}
	do(t, s, func(tx Tx) error {
		p, err := tx.Policy()
		if d := cmp.Diff(want, p); d != "" {
			t.Error(d)
		}
		if _, err := tx.PolicyVersion(want.ID + 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("a version that is not there: %v", err)
		}
		return err
	})
	do(t, s, func(tx Tx) error {
		for i := range PolicyHistory + 2 {
			if _, err := tx.AddPolicy(PolicyVersion{Text: fmt.Sprint(i), Created: start}); err != nil {
				return err
			}
		}
		all, err := tx.PolicyVersions()
		if len(all) != PolicyHistory || all[0].ID < all[1].ID || all[0].Text != "" {
			t.Errorf("the history has %d versions, the first %+v", len(all), all[0])
		}
		return err
	})
}
