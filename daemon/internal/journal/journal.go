package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/warren-mesh/warren/daemon/internal/store"
)

// MaxLive bounds how many changes may be live at once. A host with more routes than that from one network is no host.
const MaxLive = 16384

// compactAt is the size in bytes at which the file is rewritten if most of it is past.
const compactAt = 256 << 10

// ErrFull is returned by Record when MaxLive changes are live.
var ErrFull = errors.New("the journal of changes to this host is full")

// ID numbers an entry.
type ID uint64

// Kind names what undoes an entry: a key of Handlers.
type Kind string

// Entry is a change to the host that has to be undone.
type Entry struct {
	ID   ID              `json:"id,omitempty"`
	Kind Kind            `json:"kind,omitempty"`
	Data json.RawMessage `json:"data,omitempty"` // what its Handler needs
	Boot string          `json:"boot,omitempty"` // in which the change was made
}

// Change is what is going to be changed: Data is marshalled as JSON.
type Change struct {
	Kind Kind
	Data any
}

// Journal is an open journal. Its methods may be called from several goroutines.
type Journal struct {
	path string
	log  *slog.Logger
	boot string

	mu      sync.Mutex
	file    *os.File
	size    int64
	last    ID
	live    []Entry
	damaged int   // lines, when it was opened
	sick    error // a write failed: what follows it could not be told from a torn line
}

// Open reads the journal, or makes an empty one.
func Open(path string, log *slog.Logger) (*Journal, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	j := &Journal{path: path, log: log, boot: bootID()}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the journal of changes to this host: %w", err)
	}
	whole := 0
	j.live, j.last, j.damaged, whole = replay(text)
	if j.damaged > 0 {
		log.Warn("the journal of changes to this host is damaged; what can be read of it holds", "file", path, "lines", j.damaged)
	}
	if j.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600); err != nil {
		return nil, fmt.Errorf("cannot open the journal of changes to this host: %w", err)
	}
	// What is torn would run together with the next line.
	err = errors.Join(j.file.Truncate(int64(whole)), seekEnd(j.file), j.file.Sync(), store.SyncDir(filepath.Dir(path)))
	if err != nil {
		_ = j.file.Close()
		return nil, fmt.Errorf("cannot write the journal of changes to this host: %w", err)
	}
	j.size = int64(whole)
	return j, nil
}

func seekEnd(f *os.File) error {
	_, err := f.Seek(0, io.SeekEnd)
	return err
}

// bootID tells this boot from others; empty where the kernel does not say.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// Close closes the file. What is live stays so.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}

// Live lists what is to be undone, in the order of recording.
func (j *Journal) Live() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.live)
}

// Record puts undo records on disk, with one sync for all. Make the changes after it returns, and not if it fails.
func (j *Journal) Record(changes ...Change) ([]ID, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.live)+len(changes) > MaxLive {
		return nil, ErrFull
	}
	var text []byte
	entries := make([]Entry, len(changes))
	ids := make([]ID, len(changes))
	for i, c := range changes {
		data, err := json.Marshal(c.Data)
		if err != nil {
			return nil, err
		}
		ids[i] = j.last + 1 + ID(i)
		entries[i] = Entry{ID: ids[i], Kind: c.Kind, Data: data, Boot: j.boot}
		if text, err = appendLine(text, line{Entry: entries[i]}); err != nil {
			return nil, err
		}
	}
	if len(text) == 0 {
		return nil, nil
	}
	if err := j.append(text); err != nil {
		return nil, err
	}
	j.last += ID(len(ids))
	j.live = append(j.live, entries...)
	return ids, nil
}

// Done notes that the changes were undone. Unknown IDs are fine.
func (j *Journal) Done(ids ...ID) error {
	if len(ids) == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	gone := make(map[ID]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	left := slices.DeleteFunc(slices.Clone(j.live), func(e Entry) bool { return gone[e.ID] })
	if len(left) > 0 { // else the file is emptied, for which also a full disk has room
		text, err := appendLine(nil, line{Done: ids})
		if err != nil {
			return err
		}
		if err := j.append(text); err != nil {
			return err
		}
	}
	j.live = left
	return j.shrink()
}

// append writes and syncs. After a failure the end of the file is unknown: it is cut back, and if even that fails,
// nothing more is written.
func (j *Journal) append(text []byte) error {
	if j.sick != nil {
		return j.sick
	}
	_, err := j.file.Write(text)
	if err == nil {
		err = j.file.Sync()
	}
	if err == nil {
		j.size += int64(len(text))
		return nil
	}
	why := ""
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		why = "the disk is full; make room on the file system of " + filepath.Dir(j.path) + ": "
	}
	err = fmt.Errorf("cannot write %s, without which this host is not changed: %s%w", j.path, why, err)
	if undo := errors.Join(j.file.Truncate(j.size), seekEnd(j.file)); undo != nil {
		j.sick = err
	}
	return err
}

// shrink rewrites the file with what is live: at once where that is nothing, else when it grew.
func (j *Journal) shrink() error {
	if len(j.live) == 0 {
		if err := errors.Join(j.file.Truncate(0), seekEnd(j.file), j.file.Sync()); err != nil {
			return fmt.Errorf("cannot empty %s: %w", j.path, err)
		}
		j.size = 0
		return nil
	}
	if j.size < compactAt {
		return nil
	}
	var text []byte
	for _, e := range j.live {
		var err error
		if text, err = appendLine(text, line{Entry: e}); err != nil {
			return err
		}
	}
	if int64(len(text)) > j.size/2 {
		return nil
	}
	if err := store.Replace(j.path, text); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if err != nil {
		j.sick = fmt.Errorf("cannot open %s again: %w", j.path, err)
		return j.sick
	}
	_ = j.file.Close()
	j.file, j.size = f, int64(len(text))
	return seekEnd(f)
}
