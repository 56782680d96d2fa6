package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testAudit(t *testing.T, s Store) {
	subjects := []string{"nas", "50%_\\off", "NAS-2", "anna", "nas"}
	actions := []string{"machine.rename", "machine.remove", "machines", "user.role", "machine"}
	do(t, s, func(tx Tx) error {
		for i, subject := range subjects {
			a := Audit{
				Time: start.Add(time.Duration(i) * time.Hour), User: int64(i), Login: fmt.Sprint("u", i%2), Via: []string{"console", "host"}[i%2],
				Address: "192.0.2.1", Action: actions[i], Subject: subject, Details: `{"a":1}`,
			}
			id, err := tx.AddAudit(a)
			if err != nil || id != int64(i+1) {
				return fmt.Errorf("line %d got id %d: %w", i, id, err)
			}
		}
		return nil
	})
	ask := func(q AuditQuery) (ids []int64) {
		q.Limit = max(q.Limit, 3)
		err := s.Read(t.Context(), func(tx Tx) error {
			all, err := tx.AuditLines(q)
			for _, a := range all {
				ids = append(ids, a.ID)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return ids
	}
	for _, c := range []struct {
		q    AuditQuery
		want []int64
	}{
		{AuditQuery{}, []int64{5, 4, 3}},
		{AuditQuery{Forward: true}, []int64{1, 2, 3}},
		{AuditQuery{Forward: true, After: 3}, []int64{4, 5}},
		{AuditQuery{Before: 3}, []int64{2, 1}},
		{AuditQuery{Login: "u1"}, []int64{4, 2}},
		{AuditQuery{Login: "u"}, nil},
		{AuditQuery{Via: "host"}, []int64{4, 2}},
		{AuditQuery{Action: "machine"}, []int64{5, 2, 1}},
		{AuditQuery{Action: "machine.rename"}, []int64{1}},
		{AuditQuery{Action: "machine_"}, nil},
		{AuditQuery{Subject: "Nas"}, []int64{5, 3, 1}},
		{AuditQuery{Subject: `%_\`}, []int64{2}},
		{AuditQuery{Subject: "%"}, []int64{2}},
		{AuditQuery{Since: start.Add(time.Hour), Until: start.Add(3 * time.Hour)}, []int64{3, 2}},
		{AuditQuery{Login: "u0", Action: "machine", Subject: "nas", Since: start.Add(time.Minute)}, []int64{5}},
	} {
		if d := cmp.Diff(c.want, ask(c.q)); d != "" {
			t.Errorf("%+v: %s", c.q, d)
		}
	}
	do(t, s, func(tx Tx) error {
		first, err := tx.AuditLines(AuditQuery{Forward: true, Limit: 1})
		want := []Audit{{
			ID: 1, Time: start, Login: "u0", Via: "console", Address: "192.0.2.1", Action: "machine.rename", Subject: "nas", Details: `{"a":1}`,
		}}
		if d := cmp.Diff(want, first); d != "" {
			t.Error(d)
		}
		return err
	})
	purge := func(action string, before time.Time, keep int, want ...int64) {
		do(t, s, func(tx Tx) error { return tx.PurgeAudit(action, before, keep) })
		if d := cmp.Diff(want, ask(AuditQuery{Limit: 10})); d != "" {
			t.Errorf("after purging %q: %s", action, d)
		}
	}
	purge("user.role", start, 0, 5, 3, 2, 1)
	purge("", start.Add(time.Minute), 10, 5, 3, 2)
	purge("", start, 3, 5, 3, 2)
	purge("", start, 2, 5, 3)
	purge("machine", start.Add(100*time.Hour), 5, 3)
}
