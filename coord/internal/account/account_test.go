package account

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestOnlyThePasswordOpens(t *testing.T) {
	h := NewHasher()
	stored, err := h.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stored, "correct") {
		t.Fatal("the password is in its hash")
	}
	for _, c := range []struct {
		password, stored string
		want             bool
	}{{"correct horse", stored, true}, {"correct house", stored, false}, {"", stored, false}, {"correct horse", "", false}} {
		if got, err := h.Check(t.Context(), c.password, c.stored); err != nil || got != c.want {
			t.Errorf("Check(%q) = %v, %v", c.password, got, err)
		}
	}
	if _, err := h.Check(t.Context(), "x", "$argon2id$v=19$m=65536,t=3,p=1$AA$AA"); err == nil {
		t.Error("a damaged hash was taken")
	}
}

// The time is the hash's: an account that does not exist costs one as well, so it waits for its turn like any other.
func TestAnUnknownAccountTakesAsLong(t *testing.T) {
	h := NewHasher()
	stored, _ := h.Hash(t.Context(), "correct horse")
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, encoded := range map[string]string{"known": stored, "unknown": ""} {
		if _, err := h.Check(ctx, "wrong guess", encoded); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: answered without a hash: %v", name, err)
		}
	}
	if salt, hash, err := decode(h.dummy); err != nil || len(salt) != saltSize || len(hash) != hashSize {
		t.Errorf("the hash in place of an unknown account's is none: %v", err)
	}
}

func TestNewLoginsAndPasswordsAreHeldToBounds(t *testing.T) {
	for _, bad := range [][2]string{
		{"", "longenough1"},
		{"Anna", "longenough1"},
		{"-anna", "longenough1"},
		{"an na", "longenough1"},
		{"anna\u202e", "longenough1"},
		{"<b>", "longenough1"},
		{strings.Repeat("a", 64), "longenough1"},
		{"anna", "short"},
		{"anna", strings.Repeat("ab", 300)},
		{"annaanna", "ANNAanna"},
		{"anna", "aaaaaaaaaa"},
	} {
		if CheckNew(bad[0], bad[1]) == nil {
			t.Errorf("%q with %q was accepted", bad[0], bad[1])
		}
	}
	if err := CheckNew("anna.b@example", "correct horse"); err != nil {
		t.Error(err)
	}
}

func TestGuessesAreSlowedDownButNeverLockedOut(t *testing.T) {
	th, now := NewThrottle(5), time.Unix(1000, 0)
	for i := range 5 {
		if w := th.Wait(now, "anna"); w != 0 {
			t.Fatalf("guess %d waits %v", i, w)
		}
		th.Fail(now, "anna")
	}
	if w := th.Wait(now, "bob", "anna"); w != firstWait {
		t.Errorf("waits %v, not %v", w, firstWait)
	}
	for range 100 {
		th.Fail(now, "anna")
	}
	if w := th.Wait(now, "anna"); w != longestWait {
		t.Errorf("waits %v, not %v", w, longestWait)
	}
	th.Succeed("anna")
	if w := th.Wait(now, "anna"); w != 0 {
		t.Errorf("waits %v after success", w)
	}
	for i := range 3 * maxKeys {
		th.Fail(now, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String())
	}
	if len(th.keys) > maxKeys {
		t.Errorf("%d keys are remembered", len(th.keys))
	}
	if a, b := AddressKey(netip.MustParseAddr("2001:db8::1")), AddressKey(netip.MustParseAddr("2001:db8::ffff:1")); a != b {
		t.Errorf("one /64 has two keys, %s and %s", a, b)
	}
}

func FuzzStoredPassword(f *testing.F) {
	f.Add(encode(make([]byte, saltSize), make([]byte, hashSize)))
	f.Add("$argon2id$v=19$m=99999999,t=3,p=1$AA$AA")
	f.Fuzz(func(t *testing.T, text string) {
		salt, hash, err := decode(text)
		if err == nil && encode(salt, hash) != text {
			t.Errorf("%q read as another", text)
		}
	})
}
