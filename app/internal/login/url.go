package login

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/ipc"
)

// maxURL bounds a server's URL, in bytes.
const maxURL = 512

// ErrUnsafe says that an address cannot be given to a browser.
var ErrUnsafe = errors.New("not safe to open")

var (
	loginID  = regexp.MustCompile(`^[A-Za-z0-9_-]{22,64}$`)
	hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9.])?$`)
)

// Secret ties one login to this program.
type Secret struct {
	Verifier  string // PKCE; for the daemon only
	Challenge string // its S256
	State     string // what the browser must bring back
}

// NewSecret makes one.
func NewSecret() Secret {
	verifier := random(32)
	sum := sha256.Sum256([]byte(verifier))
	return Secret{
		Verifier:  verifier,
		Challenge: base64.RawURLEncoding.EncodeToString(sum[:]),
		State:     random(24),
	}
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Page is a login's page.
type Page struct {
	origin string // scheme and host
	id     string
}

// NewPage checks a login's server and id. asked is the server that the person named, or "": a page of another
// one is refused.
func NewPage(l *ipc.Login, asked string) (Page, error) {
	origin, err := Origin(l.Server)
	if err != nil {
		return Page{}, err
	}
	if asked != "" {
		if asked = strings.TrimSpace(asked); !strings.Contains(asked, "://") {
			asked = "https://" + asked
		}
		u, err := url.Parse(asked)
		if err != nil || hostPort(u) != hostPort(must(url.Parse(origin))) {
			return Page{}, fmt.Errorf("%w: the login's page is at another server than the one you named", ErrUnsafe)
		}
	}
	if !loginID.MatchString(l.ID) {
		return Page{}, fmt.Errorf("%w: the login's id is malformed", ErrUnsafe)
	}
	return Page{origin: origin, id: l.ID}, nil
}

// Elsewhere is the page on another device.
func (p Page) Elsewhere() string { return p.origin + "/login/" + p.id }

// ByCode is the page that asks for a code alone.
func (p Page) ByCode() string { return p.origin + "/login" }

// Here is the page on this device, where a Listener waits.
func (p Page) Here(port uint16, state string) string {
	return p.Elsewhere() + "?" + url.Values{"port": {strconv.Itoa(int(port))}, "state": {state}}.Encode()
}

// Done is where the browser goes at the end.
func (p Page) Done() string { return p.Elsewhere() + "/done" }

// Origin is the strict reading of a server's URL: https (http on this machine alone), a host, perhaps a port, and
// nothing else. What it returns is put together anew: it starts with the scheme, so that no program can take it
// for an option, a file or a script.
func Origin(server string) (string, error) {
	refuse := func(why string) (string, error) {
		return "", fmt.Errorf("%w: the server's address %s", ErrUnsafe, why)
	}
	if len(server) > maxURL {
		return refuse("is too long")
	}
	for _, c := range []byte(server) {
		if c < 0x21 || c > 0x7e {
			return refuse("has a character that no address has")
		}
	}
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return refuse("cannot be read")
	case u.Scheme != "https" && u.Scheme != "http":
		return refuse("does not start with https://")
	case u.Opaque != "" || u.Host == "":
		return refuse("has no host")
	case u.User != nil:
		return refuse("holds a user name")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(server, "#") || u.Path != "" && u.Path != "/":
		return refuse("has more than a host")
	}
	host, ok := cleanHost(u)
	if !ok {
		return refuse("has no proper host")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return refuse("is http, which others can read; it must be https")
	}
	return u.Scheme + "://" + host, nil
}

// cleanHost returns host and port in their one spelling.
func cleanHost(u *url.URL) (string, bool) {
	host := strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return "", false
		}
		if host = ip.String(); ip.Is6() {
			host = "[" + host + "]"
		}
	} else if !hostName.MatchString(host) || strings.Contains(host, "..") {
		return "", false
	}
	port := u.Port()
	if port == "" {
		return host, !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return host + ":" + strconv.FormatUint(n, 10), err == nil && n > 0
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// hostPort compares servers, in whatever way their addresses are written.
func hostPort(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Port() == "" && u.Scheme == "http":
		port = 80
	case u.Port() == "":
		port = 443
	case err != nil || port == 0:
		return u.Host // no server's
	}
	return strings.TrimSuffix(host, ".") + " " + strconv.FormatUint(port, 10)
}

func must(u *url.URL, err error) *url.URL {
	if err != nil {
		panic(err) // Origin gives none that cannot be parsed
	}
	return u
}
