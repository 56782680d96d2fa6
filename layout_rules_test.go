package warren_test

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// TestRules shows each rule its offender and its innocent neighbour: a rule that
// cannot fail protects nothing.
func TestRules(t *testing.T) {
	const us = module + "/"
	for _, c := range []struct {
		file, imp string
		breaks    string // part of a broken rule's name; empty if the import is fine
	}{
		{"util/util.go", "fmt", "known top-level folders"},
		{"warren.go", "fmt", "known top-level folders"},
		{"layout_test.go", "fmt", ""},

		{"coord/key/key.go", us + "assets", "coord/key imports nothing"},
		{"coord/key/key.go", "crypto/ed25519", ""},
		{"ipc/ipc.go", us + "coord", "a vocabulary imports"},
		{"coord/client.go", us + "coord/internal/state", "a vocabulary imports"},
		{"coord/netmap.go", us + "coord/key", ""},
		{"relay/ticket.go", us + "coord/key", ""},
		{"relay/client.go", us + "relay/internal/udpbatch", ""},
		{"relay/client.go", us + "relay/server", "a vocabulary imports"},

		{"daemon/internal/sock/sock.go", us + "relay/server", "only vocabulary crosses"},
		{"daemon/internal/sock/sock_test.go", us + "relay/server", ""},
		{"daemon/internal/relaying/relaying.go", us + "relay/server", ""},
		{"daemon/internal/sock/sock.go", us + "relay", ""},
		{"coord/warren-coord/main.go", us + "relay/server", ""},
		{"coord/server/server.go", us + "relay/server", "only vocabulary crosses"},
		{"coord/server/server.go", us + "coord/internal/state", ""},

		{"app/warren/main.go", us + "coord/key", "app imports only"},
		{"app/warren/main_test.go", us + "coord/server", "app imports only"},
		{"app/warren/main.go", us + "ipc", ""},
		{"app/warren/main.go", us + "packaging/manual", ""},
		{"coord/server/certificate.go", us + "relay/certificate", ""},
		{"daemon/internal/sock/sock.go", us + "relay/certificate", "only vocabulary crosses"},
		{"app/warren/main.go", us + "packaging/other", "only vocabulary crosses"},
		{"app/warren/main.go", us + "packaging/manual/documents", "only vocabulary crosses"},
		{"app/warren/pages_test.go", us + "packaging/manual/documents", ""},
		{"relay/warren-relay/main.go", us + "assets/wording", ""},
		{"app/warren-tray/main.go", us + "app/internal/ui", ""},

		{"relay/server/server.go", us + "coord", "relay takes only"},
		{"relay/server/server.go", us + "coord/key", ""},
		{"coord/server/server.go", us + "daemon/e2e/lab", "nothing outside imports"},
		{"ipc/client.go", us + "app/internal/view", "nothing outside imports"},

		{"daemon/internal/core/core.go", us + "daemon/internal/engine", "of ours, only vocabulary"},
		{"daemon/internal/core/core.go", us + "daemon/internal/peerpath", ""},
		{"daemon/internal/core/core.go", us + "coord", ""},
		{"daemon/internal/peerpath/path.go", "net", "know no net"},
		{"daemon/internal/peerpath/path.go", "net/http", "know no net"},
		{"daemon/internal/peerpath/path.go", "net/netip", ""},
		{"daemon/internal/peerpath/path_test.go", "os", ""},
		{"coord/internal/state/state.go", "sync/atomic", "know no net"},
		{"app/internal/view/view.go", "os/exec", "know no net"},

		{"relay/server/server.go", "golang.zx2c4.com/wireguard/device", "third-party module"},
		{"daemon/internal/tunnel/tunnel.go", "golang.zx2c4.com/wireguard/device", ""},
		{"daemon/internal/sock/sock.go", "golang.zx2c4.com/wireguard/wgctrl", "third-party module"},
		{"daemon/internal/router/router.go", "github.com/google/nftables", "third-party module"},
		{"daemon/internal/firewall/tables.go", "github.com/google/nftables", ""},
		{"daemon/internal/firewall/look.go", "github.com/vishvananda/netlink", ""},
		{"daemon/internal/engine/engine.go", "github.com/vishvananda/netlink", "third-party module"},
		{"coord/server/server.go", "database/sql", "third-party module"},
		{"coord/internal/store/store.go", "database/sql", ""},
		{"app/warren/main.go", "fyne.io/fyne/v2/widget", "third-party module"},
		{"app/internal/ui/ui.go", "fyne.io/fyne/v2/widget", ""},
		{"coord/server/server.go", "example.com/unheard/of", "third-party module"},
		{"coord/server/server.go", "pgregory.net/rapid", "third-party module"},
		{"coord/server/server_test.go", "pgregory.net/rapid", ""},
	} {
		s := source{dir: path.Dir(c.file), name: path.Base(c.file), imports: []string{c.imp}}
		found := broken(s)
		switch {
		case c.breaks == "" && len(found) > 0:
			t.Errorf("%s may import %s, but: %v", c.file, c.imp, found)
		case c.breaks != "" && !slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, c.breaks) }):
			t.Errorf("%s imports %s: want it to break %q, got %v", c.file, c.imp, c.breaks, found)
		}
	}
}

func TestAnUnlistedModuleSaysHowToListIt(t *testing.T) {
	s := source{dir: "coord/server", name: "server.go", imports: []string{"example.com/unheard/of"}}
	if found := broken(s); len(found) != 1 || !strings.Contains(found[0], "add it to modules in layout_modules_test.go") {
		t.Errorf("got %q", found)
	}
}

// TestGoroutinesAndClocksAreSeen reads real text, since these are found in the syntax tree.
func TestGoroutinesAndClocksAreSeen(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
	}{
		{"package p\nfunc f() { go f() }", 1},
		{"package p\nimport \"time\"\nfunc f() { _ = time.Now() }", 1},
		{"package p\nimport \"time\"\nvar now = time.Now", 1},
		{"package p\nimport clk \"time\"\nfunc f() { clk.Sleep(1); <-clk.After(1) }", 2},
		{"package p\nimport \"time\"\nfunc f(t time.Time) time.Time { return t.Add(time.Second) }", 0},
		{"package p\nfunc f(time interface{ Now() int }) { time.Now() }", 0},
	} {
		for dir, want := range map[string]int{"daemon/internal/core": c.want, "daemon/internal/engine": 0} {
			s, err := parse(dir+"/file.go", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if found := broken(s); len(found) != want {
				t.Errorf("%s in %s: want %d findings, got %v", c.text, dir, want, found)
			}
		}
	}
}
