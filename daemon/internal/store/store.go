package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/warren-mesh/warren/coord/key"
)

// DefaultDir is where the daemon keeps its state.
const DefaultDir = "/var/lib/warren"

// Errors that callers tell apart.
var (
	ErrLocked  = errors.New("in use by another warrend")
	ErrDamaged = errors.New("damaged")
	ErrNewer   = errors.New("written by a newer warrend")
)

const (
	lockFile  = "lock"
	stateFile = "state.json"
)

// Store is an open state directory. Its methods may be called from several goroutines.
type Store struct {
	dir  string
	log  *slog.Logger
	lock *os.File
	step func(string) error // tests fail or die between the steps of a write

	mu   sync.Mutex
	sick error // why state.json must not be written: it could not be read
	skip bool  // the saved netmaps are not used: they may be why the last starts crashed
}

// Open makes the directory where it is missing, and takes its lock. It fails with ErrLocked while another process has it.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the state directory: %w", explain(filepath.Join(dir, stateFile), err))
	}
	// The directory may be systemd's (StateDirectory) or an older one: the keys in it are nobody else's to read.
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, explain(filepath.Join(dir, stateFile), err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explain(filepath.Join(dir, lockFile), err)
	}
	if err := flock(lock); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is %w: stop that one first (systemctl stop warrend), or give this one another state directory", dir, ErrLocked)
		}
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	s := &Store{dir: dir, log: log, lock: lock}
	s.sweep()
	return s, nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// sweep removes what a killed write left beside its file.
func (s *Store) sweep() {
	for _, pattern := range []string{".*.json[0-9]*", ".journal[0-9]*"} {
		left, _ := filepath.Glob(filepath.Join(s.dir, pattern))
		for _, path := range left {
			_ = os.Remove(path)
		}
	}
}

// Close gives the lock back.
func (s *Store) Close() error { return s.lock.Close() }

// Path names a file of the state directory, for the rooms that keep their own (the journal).
func (s *Store) Path(name string) string { return filepath.Join(s.dir, name) }

// Load reads the state. At the first start it makes the machine's keys, and returns when they are on disk: a key that
// a server has seen is never lost to a crash. A damaged file is left as it is, and Load fails with ErrDamaged or ErrNewer.
func (s *Store) Load() (*State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.Path(stateFile)
	text, err := readFile(path, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		st := &State{Machine: key.NewMachine(), Node: key.NewNode()}
		s.sick = nil
		return st, s.save(st)
	}
	if err != nil {
		s.sick = explainRead(path, err)
		return nil, s.sick
	}
	st, version, err := decode(text)
	switch {
	case errors.Is(err, ErrNewer):
		s.sick = fmt.Errorf("%s was %w; it was left as it is: install that version again, or move the file away to start as a new machine", path, err)
		return nil, s.sick
	case err != nil:
		s.sick = fmt.Errorf("%s is %w (%w); it was left as it is: restore it from a backup, or move it away to start as a new machine", path, ErrDamaged, err)
		return nil, s.sick
	}
	if version < schema {
		err = s.migrate(text, version, st)
	}
	if s.sick = err; err != nil {
		return nil, err
	}
	return st, nil
}

// migrate keeps an older version's state.json beside, for who goes back to it, and writes what was made of it. A kill at
// any point leaves one of the two as state.json, and the same is made of the older one again, but for keys that no
// server has seen.
func (s *Store) migrate(text []byte, version int, st *State) error {
	kept := s.Path(fmt.Sprintf("state-%d.json", version))
	if err := replace(kept, text, s.step); err != nil {
		return err
	}
	if err := s.save(st); err != nil {
		return err
	}
	s.log.Info("the state was brought up to date", "from", version, "to", schema, "kept", kept)
	return nil
}

// Save writes the state, and returns when it is on disk. It refuses while Load fails.
func (s *Store) Save(st *State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sick != nil {
		return s.sick
	}
	return s.save(st)
}

func (s *Store) save(st *State) error {
	text, err := encode(st)
	if err != nil {
		return err
	}
	return replace(s.Path(stateFile), text, s.step)
}

// NewLoginID makes the id of a new login.
func NewLoginID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// validID holds an id to what NewLoginID makes, since it becomes part of a file's name.
func validID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == 8
}

// readFile reads a regular file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block the start
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: it is no regular file", ErrDamaged)
	case info.Size() > limit:
		return nil, fmt.Errorf("%w: it has %d bytes, %d at the most", ErrDamaged, info.Size(), limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

func explainRead(path string, err error) error {
	switch {
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%s is %w; it was left as it is: restore it from a backup, or move it away to start as a new machine", path, err)
	case errors.Is(err, fs.ErrPermission):
		return explain(path, err)
	}
	return fmt.Errorf("cannot read %s: %w", path, err)
}
