package account

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// The vectors are RFC 6238's (appendix B, SHA-1), cut to six digits.
func TestCodesAreThoseOfTheStandard(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		if got := TOTPCode(secret, TOTPStep(time.Unix(at, 0))); got != want {
			t.Errorf("at %d: %s, not %s", at, got, want)
		}
	}
}

func TestACodeServesOnceAndNearItsTime(t *testing.T) {
	secret, now := NewTOTP(), time.Unix(1_700_000_000, 0)
	at := TOTPStep(now)
	for off, want := range map[int64]bool{-2: false, -1: true, 0: true, 1: true, 2: false} {
		if step, ok := CheckTOTP(secret, TOTPCode(secret, at+off), now, 0); ok != want || (ok && step != at+off) {
			t.Errorf("a code %d steps off: %v", off, ok)
		}
	}
	code := TOTPCode(secret, at)
	if _, ok := CheckTOTP(secret, code[:3]+" "+code[3:], now, at-1); !ok {
		t.Error("a code with a blank in it is not taken")
	}
	for _, last := range []int64{at, at + 1} {
		if _, ok := CheckTOTP(secret, code, now, last); ok {
			t.Error("a code was taken that had been used, or after a later one")
		}
	}
	for _, bad := range []string{"", "0", code + "0", code[:5], "１２３４５６", strings.Repeat("1", 10_000)} {
		if _, ok := CheckTOTP(secret, bad, now, 0); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestTheLinkForAppsIsWhole(t *testing.T) {
	secret := NewTOTP()
	u, err := url.Parse(TOTPLink(secret, "my home & garden", "anna@example.org"))
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/my home & garden:anna@example.org" ||
		u.Query().Get("secret") != TOTPText(secret) || u.Query().Get("issuer") != "my home & garden" || strings.Contains(u.RawQuery, "+") {
		t.Errorf("%v, %v", u, err)
	}
}

func TestRecoveryCodesAreReadHoweverTheyAreTyped(t *testing.T) {
	codes := NewRecoveryCodes()
	if len(codes) != RecoveryCodes || codes[0] == codes[1] {
		t.Fatalf("codes %v", codes)
	}
	want := CleanRecoveryCode(codes[0])
	for _, typed := range []string{strings.ToUpper(codes[0]), strings.ReplaceAll(codes[0], "-", " "), " " + codes[0] + " "} {
		if got := CleanRecoveryCode(typed); got != want || got == "" {
			t.Errorf("%q is read as %q", typed, got)
		}
	}
	if CleanRecoveryCode("123456") != "" || CleanRecoveryCode(strings.Repeat("a", 10_000)) != "" {
		t.Error("what is no recovery code is taken for one")
	}
}
