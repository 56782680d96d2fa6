package account

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6238's own; HMAC does not need collision resistance
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// One-time codes by the clock (TOTP, RFC 6238) with what every app understands: SHA-1, 6 digits, 30 seconds. The whole
// of it is one HMAC, which is less to keep than a library.
const (
	totpSecret = 20 // bytes: as long as the hash (RFC 4226, section 4, R6)
	totpPeriod = 30 * time.Second
	totpDigits = 6
	totpSkew   = 1 // steps that a phone's clock may be off, either way (RFC 6238, section 5.2)
)

// NewTOTP makes the secret that an app and the server share.
func NewTOTP() []byte {
	secret := make([]byte, totpSecret)
	_, _ = rand.Read(secret)
	return secret
}

// TOTPText is the secret as people type it.
func TOTPText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// TOTPLink is what an app reads from a QR code (otpauth URI, as apps have agreed on it).
func TOTPLink(secret []byte, issuer, login string) string {
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + login}
	q := url.Values{"secret": {TOTPText(secret)}, "issuer": {issuer}}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // apps show a plus as it is
	return u.String()
}

// TOTPCode is the code of one step.
func TOTPCode(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	_ = binary.Write(mac, binary.BigEndian, step)
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf // dynamic truncation (RFC 4226, section 5.3)
	n := binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", totpDigits, n%1_000_000)
}

// TOTPStep is the step at a time.
func TOTPStep(now time.Time) int64 { return now.Unix() / int64(totpPeriod/time.Second) }

// CheckTOTP finds the step whose code it is. No step up to the last one that was taken is found: a code serves once.
func CheckTOTP(secret []byte, code string, now time.Time, last int64) (step int64, ok bool) {
	code = strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, code)
	at := TOTPStep(now)
	for s := at - totpSkew; s <= at+totpSkew; s++ {
		if subtle.ConstantTimeCompare([]byte(code), []byte(TOTPCode(secret, s))) == 1 && s > last {
			step, ok = s, true
		}
	}
	return step, ok
}

// Recovery codes, for the day on which the phone is gone.
const (
	RecoveryCodes  = 10
	recoveryLength = 16 // base32 characters, 80 random bits
)

// NewRecoveryCodes makes codes in groups of four letters and digits.
func NewRecoveryCodes() []string {
	codes := make([]string, RecoveryCodes)
	for i := range codes {
		t := strings.ToLower(rand.Text()[:recoveryLength])
		codes[i] = strings.Join([]string{t[:4], t[4:8], t[8:12], t[12:]}, "-")
	}
	return codes
}

// CleanRecoveryCode is a recovery code as it is compared, however it was typed. What cannot be one is empty.
func CleanRecoveryCode(typed string) string {
	code := strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, strings.ToLower(typed))
	if len(code) != recoveryLength {
		return ""
	}
	return code
}
