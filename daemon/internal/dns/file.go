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
	path  string
	watch func(*os.File) // has the loop look again, now and when that file is written
	last  *replaced      // nil: nobody can write to it any more
}

// replaced is the file that ours took the place of. A program that had it open writes its settings there.
type replaced struct {
	*conf
	by string // what took its place
}

// read gives what the host's file says: late is what another program wrote to the one that ours took the place of.
func (f *file) read() (text string, missing, late bool, err error) {
	text, missing, err = readConf(f.path)
	if err != nil || f.last == nil {
		return text, missing, false, err
	}
	ended := !f.last.written() // before it is read
	now, err := f.last.now()
	switch {
	case err == nil && text == f.last.by && now != f.last.text:
		return now, false, true, nil
	case ended || text != f.last.by: // what stands there now is newer
		f.drop()
	}
	return text, missing, false, nil
}

// writing reports whether another program is in the middle of writing what read would give.
func (f *file) writing() bool {
	_, _, late, _ := f.read()
	return late && f.last.written()
}

func (f *file) drop() {
	if f.last != nil {
		f.last.close()
		f.last = nil
	}
}

func (f *file) set(_ context.Context, p hostmode.Plan) error {
	text, missing, late, err := f.read()
	if err != nil {
		return err
	}
	target := follow(f.path)
	if err := f.record(journal.Change{Kind: kindFile, Data: fileData{f.path, target, missing}}); err != nil {
		return err
	}
	edited := hostmode.Edit(text, p)
	if edited == text && !late { // of an earlier daemon: ours all the same
		return nil
	}
	f.step()
	old, err := exchange(target, edited)
	if err != nil {
		return err
	}
	stood := text // in the file that was replaced
	if late {
		stood, f.last.text = f.last.by, text
	}
	f.keep(old, stood, edited)
	return nil
}

// keep keeps the file that was replaced as long as another program may write to it, which has had it open.
func (f *file) keep(old *conf, stood, by string) {
	if f.last != nil && f.last.due() { // still the one before
		f.last.by = by
		old.close()
		return
	}
	f.drop()
	if old == nil {
		return
	}
	if old.text = stood; !old.due() {
		old.close()
		return
	}
	f.last = &replaced{old, by}
	f.watch(old.file)
}

func (f *file) isSet(_ context.Context, p hostmode.Plan) (bool, error) {
	text, _, late, err := f.read()
	return err == nil && !late && hostmode.Edit(text, p) == text, err
}

func (f *file) unset(ctx context.Context) error {
	var err error
	if f.last != nil {
		f.last.await()
		if text, _, late, _ := f.read(); late {
			err = writeConf(follow(f.path), text)
		}
		f.drop()
	}
	return errors.Join(err, f.undo(ctx, undoing()))
}

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
	_ = os.Remove(aside(path))            // of a writer that was killed
	if c, _ := openConf(path); c != nil { // what another program writes may have our block
		c.await()
		c.close()
	}
	old, err := openConf(path)
	if old == nil {
		return err
	}
	text := old.text
	switch theirs := hostmode.Strip(text); {
	case theirs == text:
		old.close()
		return nil
	case theirs == "" && remove:
		err = os.Remove(path)
	default:
		old.close()
		old, err = exchange(path, theirs)
	}
	if err != nil || old == nil {
		old.close()
		return err
	}
	defer old.close()
	old.await()
	if now, err := old.now(); err == nil && now != text { // written since
		return writeConf(path, hostmode.Strip(now))
	}
	return nil
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

func aside(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".warren")
}

// writeConf replaces a file's text so that readers see the old or the new, with its owner and mode. Where it cannot be
// replaced (a bind mount, as in containers, or a directory that is read-only) it is written in place.
func writeConf(path, text string) error {
	old, err := exchange(path, text)
	old.close()
	return err
}

// exchange is writeConf. It gives the file that was replaced, open; nil if there was none.
func exchange(path, text string) (old *conf, err error) {
	old, err = replace(path, text)
	if err == nil {
		return old, nil
	}
	inPlace := overwrite(path, text)
	if inPlace == nil {
		return nil, nil
	}
	if dir := filepath.Dir(path); errors.Is(inPlace, fs.ErrNotExist) {
		if _, gone := os.Stat(dir); errors.Is(gone, fs.ErrNotExist) {
			return nil, fmt.Errorf("/etc/resolv.conf is a link to %s, where there is no folder; start the program that makes it, or put a file in the link's place: %w", path, err)
		}
		return nil, fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil, fmt.Errorf("cannot write %s: %w", path, inPlace)
}

func replace(path, text string) (old *conf, err error) {
	var attrs unix.Stat_t
	mode, uid, gid := uint32(0o644), 0, 0
	if err := unix.Lstat(path, &attrs); err == nil {
		mode, uid, gid = attrs.Mode&0o777, int(attrs.Uid), int(attrs.Gid)
	}
	tmp := aside(path)
	_ = os.Remove(tmp)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(f, text)
	err = errors.Join(err, f.Chown(uid, gid), f.Chmod(fs.FileMode(mode)), f.Sync(), f.Close())
	if err == nil {
		old, _ = openConf(path) // now, and not when it was read: what is written until then can be seen
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		old.close()
		return nil, err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return old, nil
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
