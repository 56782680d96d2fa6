package coord

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
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

// errCertChanged marks a connection whose certificate is not the one that the session's hello attested.
var errCertChanged = errors.New("it presents another certificate than before")

// maxServerText bounds what is shown of a server's message, in bytes.
const maxServerText = 300

func sayProxySwap(host string) error {
	return fmt.Errorf("%s: something between here and the server replaces its certificate "+
		"(a proxy that reads along?); not connected: %w", host, ErrForged)
}

func sayForgedHello(host string) error {
	return fmt.Errorf("%s: its answer to the greeting is %w", host, ErrForged)
}

func sayWrongServer(host, got, want string) error {
	return fmt.Errorf("%s: %w (it shows %s, known is %s)", host, ErrWrongServer, got, want)
}

func sayClock(host string, off time.Duration, cause error) error {
	days := int(off.Abs().Hours() / 24)
	which := "behind"
	if off < 0 {
		which = "ahead of"
	}
	return fmt.Errorf("%s: this machine's clock is %d days %s the server's, so its certificate cannot be checked: set the clock: %w",
		host, days, which, cause)
}

// sayTransport makes one sentence of what went wrong on the way to the server.
func sayTransport(host string, err error) error {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var timeout net.Error
	say := func(what string) error { return fmt.Errorf("%s %w: %s: %w", host, ErrUnreachable, what, bare(err)) }
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, ErrForged), errors.Is(err, errCertChanged), errors.Is(err, ErrUnverified):
		return fmt.Errorf("%s: %w", host, bare(err))
	case errors.As(err, &dns) && dns.IsNotFound:
		return say("there is no such name, check the address")
	case errors.As(err, &dns):
		return say("its name cannot be looked up, check this machine's network and DNS")
	case errors.Is(err, syscall.ECONNREFUSED):
		return say("nothing listens there, is warren-coord running and is the port right?")
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return say("there is no way to it, is this machine online?")
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s does not speak TLS: %w (%w)", host, ErrNotWarren, bare(err))
	case errors.As(err, &alert), strings.Contains(err.Error(), "protocol version"):
		return say("it refuses a TLS 1.3 connection")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return say("no answer in time")
	default:
		return say("the connection broke")
	}
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
