package coord

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/coord/key"
)

// PathJoin is the page of an invite link: scheme, host and PathJoin, then "#" and the server's key. Browsers never
// send what follows "#" to a server.
const PathJoin = "/join"

// ParseServer reads what a person gives as a coordination server: "host", "host:port", "https://host:port", or an
// invite link, which also carries the server's key (otherwise pin is zero). The URL that it returns is scheme and
// host alone. Errors wrap ErrInvalid.
func ParseServer(text string) (server string, pin key.ServerPublic, err error) {
	text = strings.TrimSpace(text)
	bad := func(why string) (string, key.ServerPublic, error) {
		return "", key.ServerPublic{}, fmt.Errorf("%w server address: %s; give https://host:port or an invite link", ErrInvalid, why)
	}
	if len(text) > 512 {
		return bad("it is too long")
	}
	for _, c := range []byte(text) {
		switch {
		case c > 0x7f:
			return bad("it has a letter that is not of a-z; write such a name in the form that begins with xn--")
		case c < 0x21 || c > 0x7e:
			return bad("it has a character that no address has")
		}
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return bad("it cannot be read")
	case u.Scheme == "http":
		return bad("it must be https, http is not safe")
	case u.Scheme != "https" || u.Opaque != "":
		return bad("it must start with https://")
	case u.User != nil:
		return bad("it must hold no user name")
	case u.RawQuery != "" || u.ForceQuery:
		return bad(`it must hold no "?"`)
	case u.Path != "" && u.Path != "/" && u.Path != PathJoin:
		return bad("it must have no path")
	case !validHost(u.Hostname()):
		return bad("its host is none")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return bad("its port is none")
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return bad("its port is missing")
	}
	if u.Fragment != "" {
		if pin, err = key.ParseServerPublic(u.Fragment); err != nil || pin.IsZero() {
			return bad(`what follows "#" is no server key`)
		}
	}
	return canonical(u), pin, nil
}

// canonical gives one text to all the ways to write one server: a machine knows a server by this text.
func canonical(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	} else if bare := strings.TrimSuffix(host, "."); strings.Contains(bare, ".") { // a single label may mean another without
		host = bare
	}
	if n, _ := strconv.ParseUint(u.Port(), 10, 16); n != 0 && n != 443 {
		return "https://" + net.JoinHostPort(host, strconv.FormatUint(n, 10))
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "https://" + host
}

// validHost takes an IP address or a DNS name.
func validHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == ""
	}
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(strings.ToLower(host), "."), ".") {
		if !ValidName(label) {
			return false
		}
	}
	return true
}

// FormatInvite makes the invite link that ParseServer reads.
func FormatInvite(server string, pin key.ServerPublic) string {
	return strings.TrimSuffix(server, "/") + PathJoin + "#" + pin.String()
}
