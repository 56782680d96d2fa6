package coord

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/warren-mesh/warren/coord/key"
)

// What the client says to people stands here, one sentence for each thing that can go wrong. The cause is wrapped.

// Errors of Client that callers may want to tell apart.
var (
	// ErrWrongServer: the server proved another identity than the pinned one.
	ErrWrongServer = errors.New("its identity changed: this is not the server that this machine knows; " +
		"if it was set up anew, log in with its new invite link")
	// ErrUnverified: neither a public authority nor a pinned key vouches for the server.
	ErrUnverified = errors.New("nobody vouches for its certificate: use its invite link, or compare its key with what 'warren-coord invite' prints there and give it with --server-key")
	// ErrNotWarren: something else answers at the address.
	ErrNotWarren = errors.New("what answers there is no Warren coordination server: check the address and the port")
	// ErrUnreachable: nothing answers.
	ErrUnreachable = errors.New("cannot be reached")
	// ErrSilent: the netmap stream was silent for too long.
	ErrSilent = errors.New("the server has been silent for too long")
)

// Trouble is what stands between a Client and its server: Err for people, the rest for programs that say it in another language.
type Trouble struct {
	Code  string   // one of the constants below
	Host  string   // the server, with its port where that is not 443
	About []string // what else the sentence is about, as the constants have it
	Err   error    // the sentence for people, which wraps the cause
}

// The Troubles' codes. They are stable.
const (
	TroubleNoHost      = "no-such-host"
	TroubleNoDNS       = "no-dns"       // the name cannot be looked up
	TroubleRefused     = "refused"      // nothing listens there
	TroubleNoWay       = "no-way"       // no route leads there
	TroubleTLS         = "tls"          // it takes no TLS 1.3
	TroubleTimeout     = "timeout"      //
	TroubleDropped     = "dropped"      // it closed the connection without an answer
	TroubleBroken      = "broken"       // the connection
	TroubleAway        = "away"         // a proxy answers in its place
	TroubleNotWarren   = "not-warren"   // ErrNotWarren
	TroubleWrongServer = "wrong-server" // ErrWrongServer; About: the fingerprint that it shows, the one that is known
	TroubleUnverified  = "unverified"   // ErrUnverified; About: the key that it shows
	TroubleForged      = "forged"       // something in between changes what is said
	TroubleClock       = "clock"        // this machine's is wrong; About: by how many days
)

// Error implements error.
func (t *Trouble) Error() string { return t.Err.Error() }

// Unwrap is for errors.Is.
func (t *Trouble) Unwrap() error { return t.Err }

// trouble makes one of the sentence, which names the host.
func trouble(code, host string, said error, about ...string) error {
	return &Trouble{Code: code, Host: host, About: about, Err: said}
}

func sayNotWarren(host string) error {
	return trouble(TroubleNotWarren, host, fmt.Errorf("%s: %w", host, ErrNotWarren))
}

// errCertChanged marks a connection whose certificate is not the one that the session's hello attested.
var errCertChanged = errors.New("it presents another certificate than before")

// maxServerText bounds what is shown of a server's message, in bytes.
const maxServerText = 300

func sayProxySwap(host string) error {
	return trouble(TroubleForged, host, fmt.Errorf("%s: something between here and the server replaces its certificate "+
		"(a proxy that reads along?); not connected: %w", host, ErrForged))
}

func sayForgedHello(host string) error {
	return trouble(TroubleForged, host, fmt.Errorf("%s: its answer to the greeting is %w", host, ErrForged))
}

func sayWrongServer(host, got, want string) error {
	return trouble(TroubleWrongServer, host, fmt.Errorf("%s: %w (it shows %s, known is %s)", host, ErrWrongServer, got, want), got, want)
}

func sayUnverified(host string, shows key.ServerPublic, cause error) error {
	said := fmt.Errorf("%s: %w (it shows %s, fingerprint %s): %w", host, ErrUnverified, shows, shows.Short(), cause)
	return trouble(TroubleUnverified, host, said, shows.String())
}

func sayClock(host string, off time.Duration, cause error) error {
	days := int(off.Abs().Hours() / 24)
	which := "behind"
	if off < 0 {
		which = "ahead of"
	}
	return trouble(TroubleClock, host, fmt.Errorf("%s: this machine's clock is %d days %s the server's, so its certificate cannot be checked: set the clock: %w",
		host, days, which, cause), strconv.Itoa(days))
}

// sayTransport makes one sentence of what went wrong on the way to the server.
func sayTransport(host string, err error) error {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var timeout net.Error
	say := func(code, what string) error {
		return trouble(code, host, fmt.Errorf("%s %w: %s: %w", host, ErrUnreachable, what, bare(err)))
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, ErrForged), errors.Is(err, errCertChanged), errors.Is(err, ErrUnverified):
		return trouble(TroubleForged, host, fmt.Errorf("%s: %w", host, bare(err)))
	case errors.As(err, &dns) && dns.IsNotFound:
		return say(TroubleNoHost, "there is no such name, check the address")
	case errors.As(err, &dns):
		return say(TroubleNoDNS, "its name cannot be looked up, check this machine's network and DNS")
	case errors.Is(err, syscall.ECONNREFUSED):
		return say(TroubleRefused, "nothing listens there, is warren-coord running and is the port right?")
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return say(TroubleNoWay, "there is no way to it, is this machine online?")
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return trouble(TroubleNotWarren, host, fmt.Errorf("%s does not speak TLS: %w (%w)", host, ErrNotWarren, bare(err)))
	case errors.As(err, &alert), strings.Contains(err.Error(), "protocol version"):
		return say(TroubleTLS, "it refuses a TLS 1.3 connection")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return say(TroubleTimeout, "no answer in time")
	default:
		return say(TroubleBroken, "the connection broke")
	}
}

// sayUnanswered is sayTransport for a request that nothing of an answer came to.
func sayUnanswered(host string, err error) error {
	if !dropped(err) {
		return sayTransport(host, err)
	}
	return trouble(TroubleDropped, host, fmt.Errorf("%s %w: it closed the connection without an answer (%w): "+
		"it may have more to do than it can just now, or be starting again. Try again in a minute", host, ErrUnreachable, bare(err)))
}

// dropped reports whether a server closed a connection before it answered, as it does with one whose TLS or request it did not come
// to in time. Package tls does not export the type of an alert that came over TCP.
func dropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		strings.HasSuffix(err.Error(), "remote error: tls: internal error")
}

// bare takes the method and URL off an error of package http: the sentence around it names the host, and a URL may
// hold a login id.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// printable makes a server's text fit for a terminal.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text)
	if len(text) > maxServerText {
		text = strings.ToValidUTF8(text[:maxServerText], "") + "…"
	}
	return text
}
