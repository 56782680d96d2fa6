package dns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/daemon/internal/journal"
)

const (
	kindResolvconf journal.Kind = "dns-resolvconf"

	// resolvconfName is under which resolvconf keeps our nameservers. Debian's ranks what begins with tun before
	// networks (interface-order(5)).
	resolvconfName = "tun-warren"
	resolvconfTime = 5 * time.Second // its scripts may restart a cache
)

// Where resolvconf keeps what it was told: Debian's, openresolv until 3.13, and openresolv since.
var resolvconfRecords = []string{"/run/resolvconf/interface", "/run/resolvconf/interfaces", "/run/resolvconf/keys"}

// resolvconf is the host's DNS with the command of that name.
type resolvconf struct {
	records
	flavour string
}

type resolvconfData struct {
	Name    string `json:"name"`
	Flavour string `json:"flavour"`
}

// resolvconfCommand finds the command, and says whose it is. It is not run for that.
func resolvconfCommand() (path, flavour string) {
	for _, path := range []string{"/usr/sbin/resolvconf", "/sbin/resolvconf", "/usr/bin/resolvconf", "/usr/local/sbin/resolvconf"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		switch {
		case !bytes.HasPrefix(raw, []byte("#!")):
			return path, "resolvectl"
		case bytes.Contains(raw, []byte("openresolv")) || bytes.Contains(raw, []byte("Roy Marples")):
			return path, "openresolv"
		}
		return path, "debian"
	}
	return "", ""
}

func runResolvconf(ctx context.Context, input string, args ...string) error {
	path, _ := resolvconfCommand()
	if path == "" {
		return fmt.Errorf("resolvconf is not installed any more")
	}
	ctx, cancel := context.WithTimeout(ctx, resolvconfTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("resolvconf %s: %w: %.200s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// resolvconfText is what resolvconf is told.
func resolvconfText(p hostmode.Plan) string {
	var b strings.Builder
	for _, s := range p.Servers {
		b.WriteString("nameserver " + s.String() + "\n")
	}
	if len(p.Search) > 0 {
		b.WriteString("search " + strings.Join(p.Search, " ") + "\n")
	}
	return b.String()
}

// behind is the error of a host whose programs ask a DNS server of its own first: resolvconf puts one that listens on this host
// before all others.
func behind(p hostmode.Plan) error {
	text, _, err := readConf(confPath)
	servers := hostmode.Parse(text).Servers
	if err != nil || len(servers) == 0 || !servers[0].IsLoopback() {
		return err
	}
	domain, us := "the network's names", p.Servers[0].String()
	if len(p.Search) > 0 {
		domain = p.Search[0]
	}
	return fmt.Errorf("they ask this host's own DNS server at %s, whatever resolvconf is told. Let that one ask %s for %s (dnsmasq: server=/%s/%s), and leave the host's DNS alone then",
		servers[0], us, domain, domain, us)
}

func (r *resolvconf) set(ctx context.Context, p hostmode.Plan) error {
	if err := behind(p); err != nil {
		return errors.Join(err, r.unset(ctx))
	}
	if err := r.record(journal.Change{Kind: kindResolvconf, Data: resolvconfData{resolvconfName, r.flavour}}); err != nil {
		return err
	}
	r.step()
	if r.flavour == "openresolv" {
		return runResolvconf(ctx, resolvconfText(p), "-m", "0", "-x", "-a", resolvconfName) // first, and alone
	}
	return runResolvconf(ctx, resolvconfText(p), "-a", resolvconfName)
}

func (r *resolvconf) isSet(_ context.Context, p hostmode.Plan) (bool, error) {
	told := false
	for _, dir := range resolvconfRecords {
		raw, err := os.ReadFile(filepath.Join(dir, resolvconfName))
		told = told || err == nil && strings.TrimSpace(string(raw)) == strings.TrimSpace(resolvconfText(p))
	}
	text, _, err := readConf(confPath)
	servers := hostmode.Parse(text).Servers
	return told && len(servers) > 0 && servers[0] == p.Servers[0], err
}

func (r *resolvconf) unset(ctx context.Context) error { return r.undo(ctx, undoing()) }

// others are what resolvconf was told of the other interfaces.
func (r *resolvconf) others(context.Context) []netip.AddrPort {
	var addrs []netip.Addr
	for _, dir := range resolvconfRecords {
		names, _ := filepath.Glob(dir + "/*") // sorted, as good an order as any
		for _, name := range names {
			if filepath.Base(name) == resolvconfName {
				continue
			}
			text, _, err := readConf(name)
			if err != nil {
				continue
			}
			for _, a := range hostmode.Parse(text).Servers {
				if !slices.Contains(addrs, a) {
					addrs = append(addrs, a)
				}
			}
		}
	}
	if text, _, err := readConf(confPath); err == nil { // and what stands in it anyway: resolv.conf.d/base, name_servers
		for _, a := range hostmode.Parse(text).Servers {
			if !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
	}
	return port53(addrs)
}

func undoResolvconf(ctx context.Context, raw json.RawMessage) error {
	var d resolvconfData
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	told := false
	for _, dir := range resolvconfRecords {
		_, err := os.Lstat(filepath.Join(dir, d.Name))
		told = told || err == nil
	}
	if path, _ := resolvconfCommand(); path == "" || !told {
		return nil
	}
	if d.Flavour == "openresolv" {
		return runResolvconf(ctx, "", "-f", "-d", d.Name)
	}
	return runResolvconf(ctx, "", "-d", d.Name)
}
