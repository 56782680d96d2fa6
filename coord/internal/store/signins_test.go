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

// someSignIns gives a user one of each.
func someSignIns(tx Tx, user int64) error {
	_, err1 := tx.AddPasskey(Passkey{User: user, Credential: []byte{1, 0}, Name: "phone", Data: "{}", Created: start})
	if err1 != nil {
		return err1
	}
	if _, err := tx.AddProvider(Provider{Name: "Work", Issuer: "https://a.example", Client: "c", Secret: []byte{2}, Options: "{}", Created: start}); err != nil {
		return err
	}
	if _, err := tx.AddIdentity(Identity{User: user, Issuer: "https://a.example", Subject: "s", Name: "anna", Created: start}); err != nil {
		return err
	}
	if err := tx.SetSecondFactor(SecondFactor{User: user, Secret: []byte{3}, Step: 7, Created: start}); err != nil {
		return err
	}
	if err := tx.SetRecoveryCodes(user, [][32]byte{{1}, {2}}); err != nil {
		return err
	}
	return tx.Spend([32]byte{4}, start, start.Add(time.Hour))
}

func testSignIns(t *testing.T, s Store) {
	var user, other int64
	do(t, s, func(tx Tx) (err error) {
		if user, err = tx.AddUser(User{Login: "proving", Password: "$x", Role: account.Member, Created: start}); err != nil {
			return err
		}
		if other, err = tx.AddUser(User{Login: "other", Password: "", Role: account.Member, Created: start}); err != nil {
			return err
		}
		return someSignIns(tx, user)
	})
	for what, again := range map[string]func(Tx) error{
		"a passkey": func(tx Tx) error { _, err := tx.AddPasskey(Passkey{User: other, Credential: []byte{1, 0}}); return err },
		"a provider": func(tx Tx) error {
			_, err := tx.AddProvider(Provider{Name: "Work", Issuer: "https://b.example", Secret: []byte{}})
			return err
		},
		"an issuer": func(tx Tx) error {
			_, err := tx.AddProvider(Provider{Name: "B", Issuer: "https://a.example", Secret: []byte{}})
			return err
		},
		"an identity": func(tx Tx) error {
			_, err := tx.AddIdentity(Identity{User: other, Issuer: "https://a.example", Subject: "s"})
			return err
		},
		"what is spent": func(tx Tx) error { return tx.Spend([32]byte{4}, start, start.Add(time.Hour)) },
	} {
		if err := s.Write(t.Context(), again); !errors.Is(err, ErrTaken) {
			t.Errorf("%s twice: %v", what, err)
		}
	}
	var took atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		for _, use := range []func(Tx) error{
			func(tx Tx) error { return tx.UseStep(user, 8) },
			func(tx Tx) error { return tx.UseRecoveryCode(user, [32]byte{1}) },
			func(tx Tx) error { return tx.Spend([32]byte{5}, start, start.Add(time.Hour)) },
		} {
			wg.Go(func() {
				switch err := s.Write(t.Context(), use); {
				case err == nil:
					took.Add(1)
				case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrTaken):
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if took.Load() != 3 {
		t.Errorf("three things that serve once served %d times", took.Load())
	}
	wants(t, s.Write(t.Context(), func(tx Tx) error { return tx.UseStep(user, 7) }), ErrNotFound)
	wants(t, s.Write(t.Context(), func(tx Tx) error { return tx.UseRecoveryCode(other, [32]byte{2}) }), ErrNotFound)
	do(t, s, func(tx Tx) error { // after its end, what was spent is forgotten
		if err := tx.Spend([32]byte{6}, start.Add(2*time.Hour), start.Add(3*time.Hour)); err != nil {
			return err
		}
		return tx.Spend([32]byte{4}, start.Add(2*time.Hour), start.Add(3*time.Hour))
	})
	testSignInsChange(t, s, user, other)
}

func testSignInsChange(t *testing.T, s Store, user, other int64) {
	t.Helper()
	do(t, s, func(tx Tx) error {
		p, err := tx.Passkey([]byte{1, 0})
		if err != nil {
			return err
		}
		p.Name, p.Data, p.Used = "old phone", `{"a":1}`, start.Add(time.Minute)
		i, err := tx.Identity("https://a.example", "s")
		if err != nil {
			return err
		}
		i.Name, i.Used = "Anna", start.Add(time.Minute)
		providers, err := tx.Providers()
		if err != nil || len(providers) != 1 {
			t.Fatalf("providers %v, %v", providers, err)
		}
		v := providers[0]
		v.Name, v.Secret, v.Options = "Home", []byte{9, 0}, `{"b":2}`
		for _, set := range []error{tx.SetPasskey(p), tx.SetIdentity(i), tx.SetProvider(v)} {
			if set != nil {
				return set
			}
		}
		keys, err1 := tx.Passkeys(user)
		ids, err2 := tx.Identities(user)
		got, err3 := tx.Provider(v.ID)
		if d := cmp.Diff([]any{[]Passkey{p}, []Identity{i}, v}, []any{keys, ids, got}); d != "" {
			t.Error(d)
		}
		wants(t, tx.RemovePasskey(other, p.ID), ErrNotFound)
		wants(t, tx.RemoveIdentity(other, i.ID), ErrNotFound)
		wants(t, tx.RemoveSecondFactor(other), ErrNotFound)
		return errors.Join(err1, err2, err3)
	})
	do(t, s, func(tx Tx) error {
		f, err := tx.SecondFactor(user)
		left, err2 := tx.RecoveryCodes(user)
		if f.Step != 8 || left != 1 || len(f.Secret) != 1 {
			t.Errorf("second factor %+v, %d codes", f, left)
		}
		f.Step, f.Secret = 0, []byte{8}
		return errors.Join(err, err2, tx.SetSecondFactor(f), tx.SetRecoveryCodes(user, [][32]byte{{7}, {8}, {9}}))
	})
	do(t, s, func(tx Tx) error {
		if left, err := tx.RecoveryCodes(user); err != nil || left != 3 {
			t.Errorf("%d codes are left, %v", left, err)
		}
		return errors.Join(tx.UseStep(user, 1), tx.RemoveSecondFactor(user))
	})
	do(t, s, func(tx Tx) error { return tx.RemoveUser(user) }) // and with it all that proves it
	do(t, s, func(tx Tx) error {
		_, err := tx.Passkey([]byte{1, 0})
		wants(t, err, ErrNotFound)
		_, err = tx.Identity("https://a.example", "s")
		wants(t, err, ErrNotFound)
		left, err := tx.RecoveryCodes(user)
		if left != 0 {
			t.Errorf("%d codes are left", left)
		}
		return err
	})
}
