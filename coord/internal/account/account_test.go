package account

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
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
	for _, bad := range []string{"", "Anna", "-anna", "an na", "anna\u202e", "<b>", strings.Repeat("a", 64)} {
		if CheckNew(bad, "correct horse") == nil {
			t.Errorf("the name %q was accepted", bad)
		}
	}
	for password, why := range map[string]string{
		"short":                   "10 characters",
		"ümlaütüü":                "10 characters", // 12 bytes
		strings.Repeat("ab", 300): "512 bytes",
		"basketball":              "guessed first",
		"Sunshine2024!":           "guessed first",
		"P@ssw0rd!!":              "guessed first",
		"123-password-123":        "guessed first",
		"Hello Kitty":             "guessed first",
		"dragondragondragon":      "guessed first",
		"aaaaaaaaaa":              "over and over",
		"xyzxyzxyzxy":             "over and over",
		"1212121212":              "over and over",
		"lkjhgfdsapoi":            "neighbours",
		"8901234567":              "neighbours",
		"annabella-1970":          "a name",
		"ANNABELLAannabella":      "a name",
		"allebanna2024":           "a name",
		"Lighthouse99":            "a name",
		"warren.net.12":           "a name",
	} {
		err := CheckNew("annabella@example.org", password, "lighthouse")
		if err == nil || !strings.Contains(err.Error(), why) || !errors.Is(err, ErrPassword) {
			t.Errorf("%q: %v, not %q", password, err, why)
		}
	}
	for _, good := range []string{"correct horse", "battery staple", "lighthouse keeper", "Tr0ub4dor&3x", "zq-4471-mmru", "пароль на замке", "home sweet home 7", "7061 8834 2259"} {
		if err := CheckNew("anna", good, "home"); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

func TestTheListOfCommonPasswordsIsWhole(t *testing.T) {
	if n := len(common()); n < 3000 || !common()["password"] || common()[""] {
		t.Errorf("it has %d words", n)
	}
	for w := range common() {
		if w != strings.ToLower(strings.TrimSpace(w)) {
			t.Errorf("%q is compared with lower-case words", w)
		}
	}
}

func TestGuessesAreSlowedDownButNeverLockedOut(t *testing.T) {
	th, now := NewThrottle(), time.Unix(1000, 0)
	try := func(free int, keys ...string) time.Duration {
		var bounds []Bound
		for _, k := range keys {
			bounds = append(bounds, Bound{k, free})
		}
		return th.Try(now, bounds...)
	}
	for i := range 5 {
		if w := try(5, "anna"); w != 0 {
			t.Fatalf("guess %d waits %v", i, w)
		}
	}
	if w := try(5, "bob", "anna"); w != firstWait {
		t.Errorf("waits %v, not %v", w, firstWait)
	}
	if th.keys["bob"] != nil {
		t.Error("a guess that had to wait was counted")
	}
	for range 100 {
		now = now.Add(try(5, "anna"))
		if w := try(5, "anna"); w != 0 {
			t.Fatalf("after its wait a guess waits %v", w)
		}
	}
	if w := try(5, "anna"); w != longestWait {
		t.Errorf("waits %v, not %v", w, longestWait)
	}
	th.Right(Bound{Key: "anna"})
	if w := try(5, "anna"); w != 0 {
		t.Errorf("waits %v after the right one", w)
	}
	for range 4 {
		_ = try(5, "address")
	}
	for range 20 { // somebody who knows their own password
		if w := try(5, "address"); w != 0 {
			t.Fatalf("right guesses wait %v", w)
		}
		th.TakeBack(Bound{Key: "address"})
	}
	_ = try(5, "address")
	if w := try(5, "address"); w == 0 {
		t.Error("right guesses wiped out the wrong ones of others at the address")
	}
	for i := range 3 * maxKeys {
		_ = try(5, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String())
	}
	if len(th.keys) > maxKeys {
		t.Errorf("%d keys are remembered", len(th.keys))
	}
	if a, b := AddressKey(netip.MustParseAddr("2001:db8::1")), AddressKey(netip.MustParseAddr("2001:db8::ffff:1")); a != b {
		t.Errorf("one /64 has two keys, %s and %s", a, b)
	}
}

func TestAddressesAreCountedByTheSiteToo(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2::3": "2001:db8:1:2::/64 2001:db8:1::/48", "fe80::1%eth0": "fe80::/64 fe80::/48",
	} {
		if got := strings.Join(AddressKeys(netip.MustParseAddr(text)), " "); got != want {
			t.Errorf("%s is %s", text, got)
		}
	}
	if got := AddressKeys(netip.Addr{}); len(got) != 1 {
		t.Errorf("no address is %q", got)
	}
}

func TestWhoKnowsOnePasswordWipesNothingOfOthersOut(t *testing.T) {
	th, now := NewThrottle(), time.Unix(1000, 0)
	own, shared := Bound{"own", 5}, Bound{"address", 5}
	for range 4 {
		_ = th.Try(now, shared)
	}
	for range 9 { // somebody at the same address signs in again and again
		if w := th.Try(now, own, shared); w != 0 {
			t.Fatalf("right guesses wait %v", w)
		}
		th.Right(own, shared)
	}
	_ = th.Try(now, shared)
	if w := th.Try(now, shared); w == 0 {
		t.Error("the wrong guesses of others at the address are forgotten")
	}
}

func TestGuessesAtOnceAllCount(t *testing.T) {
	th, now := NewThrottle(), time.Unix(1000, 0)
	var passed atomic.Int32
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if th.Try(now, Bound{"anna", 5}, Bound{"address", 50}) == 0 {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 5 {
		t.Errorf("of guesses at once, %d passed", passed.Load())
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
