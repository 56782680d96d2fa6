package warren_test

import (
	"fmt"
	"strings"
	"testing"
)

// allowance says where a module (or a package of the standard library that we
// keep in one place) may be imported.
type allowance struct {
	module    string   // import path, with all below it
	in        []string // folders, with all below them; "" is everywhere
	testsOnly bool     // only in _test.go files, there in every folder
	why       string
}

// everywhere is for what extends the standard library.
var everywhere = []string{""}

// modules lists every third-party module that the product may import. To add one:
// state the folders that need it, as few as can be, and what it does for us that
// the standard library cannot.
var modules = []allowance{
	// WireGuard and the kernel.
	{
		module: "golang.zx2c4.com/wireguard", in: []string{"daemon/internal/tunnel", "daemon/internal/sock", "daemon/e2e"},
		why: "which WireGuard is inside is the tunnel's secret; sock is its conn.Bind, e2e measures against the plain one",
	},
	{
		module: "golang.zx2c4.com/wireguard/wgctrl", in: []string{"daemon/internal/tunnel", "daemon/e2e"},
		why: "configures the kernel's WireGuard, behind the same interface as our own",
	},
	{
		module: "github.com/vishvananda/netlink", in: []string{"daemon/internal/router", "daemon/internal/firewall", "daemon/e2e"},
		why: "addresses, routes and rules are changed in one place, which journals them; the packet filter is made after them",
	},
	{
		module: "github.com/google/nftables", in: []string{"daemon/internal/firewall"},
		why: "the host's packet filter is changed in one place, which journals it",
	},
	{
		module: "github.com/mdlayher/netlink", in: []string{"daemon/internal/firewall"},
		why: "google/nftables is told through it how large a transaction may be",
	},
	{
		module: "golang.org/x/sys", in: []string{"daemon", "relay", "ipc", "coord/server", "app/warren"},
		why: "socket options, peer credentials, batches and a terminal's width, which package syscall does not have",
	},

	// On the wire.
	{
		module: "github.com/pion/stun/v3", in: []string{"daemon/internal/sock", "daemon/internal/netcheck", "relay"},
		why: "STUN messages are built and read at the sockets only",
	},
	{
		module: "github.com/coder/websocket", in: []string{"relay"},
		why: "carries relay frames through networks without UDP",
	},
	{
		module: "golang.org/x/crypto", in: []string{"coord/key", "coord/internal/account"},
		why: "sealing is done with typed keys only, password hashing by accounts only",
	},

	{
		module: "github.com/miekg/dns", in: []string{"daemon/internal/dns", "daemon/e2e"},
		why: "reads and writes DNS messages with every record type that is in use, which net/dns/dnsmessage does not; " +
			"its first major version: that one is complete and stays maintained, the second still changes with each release",
	},
	{
		module: "github.com/godbus/dbus/v5", in: []string{"daemon/internal/dns", "daemon/internal/localapi", "daemon/internal/sleep", "daemon/e2e", "app/internal/item", "app/internal/desktop", "app/internal/notify", "app/internal/panel"},
		why: "the host's resolvers (systemd-resolved, NetworkManager) are told over D-Bus, polkit is asked who sits at the machine, logind tells when it has slept, and a desktop shows the tray's icon, menu and notifications; " +
			"without cgo",
	},

	// Signing in.
	{
		module: "github.com/coreos/go-oidc/v3", in: []string{"coord/internal/idp"},
		why: "providers' descriptions, keys and signed tokens are read in one place",
	},
	{
		module: "golang.org/x/oauth2", in: []string{"coord/internal/idp"},
		why: "the code flow under OpenID Connect; go-oidc stands on it",
	},

	{
		module: "github.com/go-webauthn/webauthn", in: []string{"coord/internal/passkey"},
		why: "what authenticators sign is read and checked in one place",
	},

	// Storage.
	{
		module: "database/sql", in: []string{"coord/internal/store"},
		why: "SQL appears behind the store's interface only, so that either database serves",
	},
	{
		module: "modernc.org/sqlite", in: []string{"coord/internal/store"},
		why: "the embedded database, without cgo",
	},
	{
		module: "github.com/jackc/pgx/v5", in: []string{"coord/internal/store"},
		why: "PostgreSQL, for those who run one already",
	},
	{
		module: "github.com/pressly/goose/v3", in: []string{"coord/internal/store"},
		why: "numbered migrations",
	},
	{
		module: "github.com/google/renameio/v2", in: []string{"daemon/internal/store", "coord", "relay/warren-relay"},
		why: "files that are whole or old after a power cut, written by those who own state",
	},

	// The programs' faces.
	{
		module: "fyne.io/fyne/v2", in: []string{"app/internal/ui", "app/warren-tray"},
		why: "needs cgo and a display; everything else must build and run without",
	},
	{
		module: "github.com/go-gl/glfw/v3.3/glfw", in: []string{"app/warren-tray"},
		why: "what Fyne draws with: its loop waits for events there, in place of looking sixty times a second",
	},
	{
		module: "github.com/spf13/cobra", in: []string{"app/warren", "coord/warren-coord", "relay/warren-relay", "daemon/warrend", "packaging/manual", "assets/wording"},
		why: "command lines belong to main packages, the command that writes their man pages to what packages them, and what all of them say of mistakes to one place",
	},
	{
		module: "github.com/spf13/pflag", in: []string{"app/warren", "relay/warren-relay", "assets/wording"},
		why: "cobra's flags: settings from a file and from variables fill them too, and mistakes in them are said in sentences",
	},
	{
		module: "github.com/coreos/go-systemd/v22", in: []string{"daemon/warrend"},
		why: "systemd's notify and watchdog protocol, spoken by the program that systemd starts, and its word whether that one is stopped or restarted",
	},
	{
		module: "github.com/prometheus/client_golang", in: []string{"relay/server", "coord/server"},
		why: "the servers' metrics pages; the packages below count in plain integers",
	},
	{
		module: "github.com/caddyserver/certmagic", in: []string{"relay/certificate"},
		why: "certificates from a public authority, got and renewed by the servers that serve them",
	},
	{
		module: "go.uber.org/zap", in: []string{"relay/certificate"},
		why: "certmagic's logger, of which it gets the silent one",
	},

	{
		module: "rsc.io/qr", in: []string{"app/internal/login", "coord/server"},
		why: "QR codes of links: drawn on the terminal by the command line, and on pages by the server",
	},

	{
		module: "github.com/klauspost/compress", in: []string{"coord"},
		why: "what many machines are told is compressed once (Zstandard), to a fifth; the standard library's gzip takes ten times as long",
	},
	{
		module: "github.com/danielgtaylor/huma/v2", in: []string{"coord/server"},
		why: "describes the admin API in OpenAPI from the types that it reads, and holds requests to them",
	},

	{
		module: "github.com/tailscale/hujson", in: []string{"coord/internal/policy"},
		why: "reads policy files: JSON with comments and trailing commas, each value with its place in the text; it needs nothing itself",
	},

	// Extensions of the standard library.
	{module: "golang.org/x/net", in: everywhere, why: "the standard library's own extension for the network"},
	{module: "golang.org/x/sync", in: everywhere, why: "the standard library's own extension for goroutines"},
	{
		module: "golang.org/x/time", in: []string{"coord", "relay"},
		why: "rate limits, where strangers can call",
	},

	// Tests.
	{module: "github.com/rogpeppe/go-internal", testsOnly: true, why: "scripts test the command lines (testscript)"},
	{module: "pgregory.net/rapid", testsOnly: true, why: "properties and random histories"},
	{module: "go.uber.org/goleak", testsOnly: true, why: "goroutines that outlive their owner"},
	{module: "github.com/google/go-cmp", testsOnly: true, why: "differences that can be read"},
	{module: "github.com/makiuchi-d/gozxing", testsOnly: true, why: "reads QR codes back"},
	{module: "github.com/chromedp/chromedp", testsOnly: true, why: "pages are tested in a real browser"},
	{module: "github.com/chromedp/cdproto", testsOnly: true, why: "the browser's protocol, for chromedp"},
}

// allowanceFor returns the most specific entry for an import path.
func allowanceFor(imp string) (best allowance, ok bool) {
	for _, a := range modules {
		if within(imp, a.module) && len(a.module) > len(best.module) {
			best, ok = a, true
		}
	}
	return best, ok
}

// moduleBreaks is the rule on third-party modules.
func moduleBreaks(s source) []string {
	var found []string
	for _, imp := range s.imports {
		a, listed := allowanceFor(imp)
		switch {
		case within(imp, module):
		case !listed && strings.Contains(top(imp), "."): // the standard library has no dots there
			found = append(found, fmt.Sprintf(
				"imports %s, which is not listed: add it to modules in layout_modules_test.go, with its folders and its reason", imp))
		case listed && a.testsOnly && !s.isTest():
			found = append(found, fmt.Sprintf("imports %s outside of a test (%s)", imp, a.why))
		case listed && !a.testsOnly && !withinAny(s.dir, a.in):
			found = append(found, fmt.Sprintf("imports %s, which is for %s only (%s); if it is needed here too, add the folder in layout_modules_test.go",
				imp, strings.Join(a.in, ", "), a.why))
		}
	}
	return found
}

func TestEveryModuleHasPlacesAndAReason(t *testing.T) {
	for _, a := range modules {
		if a.why == "" || a.testsOnly == (len(a.in) > 0) {
			t.Errorf("%s: state why, and either folders or testsOnly", a.module)
		}
	}
}
