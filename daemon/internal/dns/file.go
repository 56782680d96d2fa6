package dns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/daemon/internal/journal"
)

const kindFile journal.Kind = "dns-file"

// fileData names a resolv.conf that has a block of ours.
type fileData struct {
	Path    string `json:"path"`              // as programs open it
	Target  string `json:"target"`            // where it led
	Missing bool   `json:"missing,omitempty"` // there was none
}

// file is the host's DNS in the mode of the marked block.
type file struct {
	records
	path string
}

func (f *file) set(_ context.Context, p hostmode.Plan) error {
	text, missing, err := readConf(f.path)
	if err != nil {
		return err
	}
	target := follow(f.path)
	if err := f.record(journal.Change{Kind: kindFile, Data: fileData{f.path, target, missing}}); err != nil {
		return err
	}
	edited := hostmode.Edit(text, p)
	if edited == text { // of an earlier daemon: ours all the same
		return nil
	}
	f.step()
	return writeConf(target, edited)
}

func (f *file) isSet(_ context.Context, p hostmode.Plan) (bool, error) {
	text, _, err := readConf(f.path)
	return err == nil && hostmode.Edit(text, p) == text, err
}

func (f *file) unset(ctx context.Context) error { return f.undo(ctx, undoing()) }

func (f *file) others(context.Context) []netip.AddrPort {
	text, _, _ := readConf(f.path)
	return port53(hostmode.Theirs(text).Servers)
}

func port53(addrs []netip.Addr) []netip.AddrPort {
	out := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		out[i] = netip.AddrPortFrom(a, 53)
	}
	return out
}

// undoFile takes our block out, where the path leads now and where it led then.
func undoFile(_ context.Context, raw json.RawMessage) error {
	var d fileData
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	err := stripConf(d.Target, d.Missing)
	if now := follow(d.Path); now != d.Target {
		err = errors.Join(err, stripConf(now, d.Missing))
	}
	return err
}

func stripConf(path string, remove bool) error {
	_ = os.Remove(aside(path)) // of a writer that was killed
	text, missing, err := readConf(path)
	if err != nil || missing {
		return err
	}
	switch theirs := hostmode.Strip(text); {
	case theirs == text:
		return nil
	case theirs == "" && remove:
		return os.Remove(path)
	default:
		return writeConf(path, theirs)
	}
}

// follow gives the file that a path leads to, existing or not.
func follow(path string) string {
	for range 10 {
		to, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = filepath.Clean(to)
	}
	return path
}

// readConf reads a resolv.conf whole.
func readConf(path string) (text string, missing bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would block
	if errors.Is(err, fs.ErrNotExist) {
		return "", true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("cannot read %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", false, fmt.Errorf("%s is no ordinary file", path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, hostmode.MaxConf+1))
	if err != nil {
		return "", false, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if len(raw) > hostmode.MaxConf {
		return "", false, fmt.Errorf("%s has more than %d bytes", path, hostmode.MaxConf)
	}
	return string(raw), false, nil
}

func aside(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".warren")
}

// writeConf replaces a file's text so that readers see the old or the new, with its owner and mode. Where it cannot be
// replaced (a bind mount, as in containers, or a directory that is read-only) it is written in place.
func writeConf(path, text string) error {
	err := replace(path, text)
	if err == nil {
		return nil
	}
	inPlace := overwrite(path, text)
	if inPlace == nil {
		return nil
	}
	if dir := filepath.Dir(path); errors.Is(inPlace, fs.ErrNotExist) {
		if _, gone := os.Stat(dir); errors.Is(gone, fs.ErrNotExist) {
			return fmt.Errorf("/etc/resolv.conf is a link to %s, where there is no folder; start the program that makes it, or put a file in the link's place: %w", path, err)
		}
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return fmt.Errorf("cannot write %s: %w", path, inPlace)
}

func replace(path, text string) error {
	var attrs unix.Stat_t
	mode, uid, gid := uint32(0o644), 0, 0
	if err := unix.Lstat(path, &attrs); err == nil {
		mode, uid, gid = attrs.Mode&0o777, int(attrs.Uid), int(attrs.Gid)
	}
	tmp := aside(path)
	_ = os.Remove(tmp)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	err = errors.Join(err, f.Chown(uid, gid), f.Chmod(fs.FileMode(mode)), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

// overwrite writes first and cuts then: a reader in between sees all that counts.
func overwrite(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	return errors.Join(err, f.Sync(), f.Close())
}
