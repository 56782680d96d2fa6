package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
)

// What lies in a state directory. All is for the server's user alone.
const (
	fileIdentity = "identity"
	fileDatabase = "warren.db"
	fileCert     = "tls.crt"
	fileKey      = "tls.key"
	fileLock     = "lock"
	// FileSocket is where the admin API answers.
	FileSocket = "admin.sock"
	// FileRelay keeps the embedded relay's key.
	FileRelay = "relay.key"
)

// Names in the store's meta table.
const (
	metaNetwork = store.MetaNetwork
	metaURL     = "url"
	metaChosen  = "url-chosen" // there, if nobody has said the URL
	metaServer  = "server"     // the public identity; older databases do not have it
)

// Defaults of a new network.
const (
	DefaultNetwork = "home"
	DefaultSuffix  = "warren.internal"
)

// DefaultIPv4 is shared address space (RFC 6598), which home routers do not use.
var DefaultIPv4 = netip.MustParsePrefix("100.64.0.0/10")

// InitOptions says what a new network is to be. The zero value will do.
type InitOptions struct {
	URL     string       // where machines reach the server; empty: at what OwnHost says, port 443
	Chosen  bool         // nobody has said the URL: a start on a host with another address may change it
	Network string       // DefaultNetwork
	IPv4    netip.Prefix // DefaultIPv4
	// Database is the URL of a PostgreSQL database; empty: SQLite in the state directory.
	Database string
}

// place says where the database of the server in the directory is.
func place(dir, database string) store.Place {
	return store.Place{File: filepath.Join(dir, fileDatabase), URL: database}
}

// present refuses an SQLite database that is not there, or that Init did not fill: another that is made in its place
// would be empty, and the network's lie somewhere else.
func present(p store.Place) error {
	if p.URL != "" {
		return nil
	}
	if info, err := os.Stat(p.File); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return fmt.Errorf("%s: %w", p.File, ErrNoDatabase)
	}
	return nil
}

// Init sets up a server in the directory: identity, certificate, database. It changes nothing where there is one.
func Init(ctx context.Context, dir string, o InitOptions) (err error) {
	network, address, err := o.check(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the state directory: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, fileIdentity)); err == nil {
		return fmt.Errorf("%s: %w", dir, ErrInitialized)
	}
	db, err := store.Open(ctx, place(dir, o.Database))
	if err != nil {
		return err
	}
	identity := key.NewServer()
	text, _ := json.Marshal(network) // prefixes and names
	err = db.Write(ctx, func(tx store.Tx) error {
		if used, err := inUse(tx); err != nil || used {
			return cmp.Or(err, notOurs(dir, o.Database))
		}
		if o.Chosen || o.URL == "" {
			if err := tx.SetMeta(metaChosen, "yes"); err != nil {
				return err
			}
		}
		return errors.Join(tx.SetMeta(metaNetwork, string(text)), tx.SetMeta(metaURL, address), tx.SetMeta(metaServer, identity.Public().String()))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := makeCertificate(dir, address); err != nil {
		return err
	}
	// The identity comes last: with it the server is set up.
	return writeFile(dir, fileIdentity, []byte(identity.Reveal()+"\n"))
}

// notOurs is what is wrong with a database that is in use, where no identity is.
func notOurs(dir, database string) error {
	if database != "" {
		return ErrForeign
	}
	return fmt.Errorf("%s: %w", dir, ErrNoIdentity)
}

// inUse reports whether somebody has used the network in the database. What an Init left that did not get to its end
// nobody has.
func inUse(tx store.Tx) (bool, error) {
	users, err1 := tx.Users()
	nodes, err2 := tx.Nodes()
	keys, err3 := tx.AuthKeys()
	return len(users)+len(nodes)+len(keys) > 0, errors.Join(err1, err2, err3)
}

func (o InitOptions) check(ctx context.Context) (coord.Network, string, error) {
	n := coord.Network{Name: o.Network, Suffix: DefaultSuffix, IPv4: o.IPv4, IPv6: randomULA()}
	if n.Name == "" {
		n.Name = DefaultNetwork
	}
	if n.Name != strings.TrimSpace(n.Name) || len(n.Name) > coord.MaxNameLength || strings.ContainsFunc(n.Name, func(r rune) bool { return r < ' ' || r > '~' }) {
		return n, "", fmt.Errorf("%w network name: use up to %d plain letters and digits", coord.ErrInvalid, coord.MaxNameLength)
	}
	if !n.IPv4.IsValid() {
		n.IPv4 = DefaultIPv4
	}
	if b := n.IPv4.Bits(); !n.IPv4.Addr().Is4() || b < 8 || b > 29 {
		return n, "", fmt.Errorf("%w address range %s: give an IPv4 prefix from /8 to /29, such as %s", coord.ErrInvalid, n.IPv4, DefaultIPv4)
	}
	n.IPv4 = n.IPv4.Masked()
	if o.URL == "" {
		host, _ := OwnHost(ctx)
		o.URL = "https://" + net.JoinHostPort(host, "443")
	}
	address, _, err := coord.ParseServer(o.URL)
	return n, address, err
}

// randomULA makes a /48 that no other network has (RFC 4193, section 3.2.2).
func randomULA() netip.Prefix {
	a := [16]byte{0: 0xfd}
	_, _ = rand.Read(a[1:6])
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}

func writeFile(dir, name string, text []byte) error {
	if err := renameio.WriteFile(filepath.Join(dir, name), text, 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("cannot write %s: %w", filepath.Join(dir, name), err)
	}
	return nil
}

// lock keeps a second process out of the directory.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, fileLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot use the state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	return func() { _ = f.Close() }, nil
}

func readIdentity(dir string) (key.Server, error) {
	path := filepath.Join(dir, fileIdentity)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return key.Server{}, fmt.Errorf("%s: %w", dir, ErrNotInitialized)
	}
	if err != nil {
		return key.Server{}, fmt.Errorf("cannot read the server's identity: %w", err)
	}
	k, err := key.ParseServer(strings.TrimSpace(string(text)))
	if err != nil {
		return key.Server{}, fmt.Errorf("%s is damaged, restore it from a backup (machines pin this key): %w", path, err)
	}
	return k, nil
}

// inDir is a path to a socket in the directory that is short enough for any directory: the address of a Unix socket
// may have only 108 bytes (unix(7)). The file must stay open meanwhile.
func inDir(dir *os.File, name string) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), name)
}

func (s *Server) listenAdmin() (net.Listener, error) {
	dir, err := os.Open(s.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	_ = os.Remove(filepath.Join(s.dir, FileSocket)) // of a server that was killed: the directory's lock is ours
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: inDir(dir, FileSocket), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot make the admin socket: %w", err)
	}
	ln.SetUnlinkOnClose(false) // its path is gone by then; the next server removes it
	if err := os.Chmod(filepath.Join(s.dir, FileSocket), 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// DialAdmin connects to the admin API of the server that runs on the directory.
func DialAdmin(ctx context.Context, dir string) (net.Conn, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", inDir(d, FileSocket))
}
