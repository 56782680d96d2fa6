package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// netmapFile is netmap-ID.json.
type netmapFile struct {
	Version int           `json:"version"`
	Netmap  *coord.Netmap `json:"netmap"`
}

func (s *Store) netmapPath(login string) (string, error) {
	if !validID(login) {
		return "", fmt.Errorf("%q is no id of a login", login)
	}
	return s.Path("netmap-" + login + ".json"), nil
}

// SaveNetmap keeps the login's last netmap, for a start without its server.
func (s *Store) SaveNetmap(login string, m *coord.Netmap) error {
	path, err := s.netmapPath(login)
	if err != nil {
		return err
	}
	text, err := json.Marshal(netmapFile{Version: schema, Netmap: m})
	if err != nil {
		return err
	}
	return replace(path, text, s.step)
}

// LoadNetmap gives the login's last netmap, validated, or nil where there is none. A damaged one is set aside and
// counts as none: nothing of it is used.
func (s *Store) LoadNetmap(login string) (*coord.Netmap, error) {
	path, err := s.netmapPath(login)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	skip := s.skip
	s.mu.Unlock()
	if skip {
		return nil, nil
	}
	text, err := readFile(path, coord.MaxLine)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, ErrDamaged):
		return nil, s.setAside(path, err)
	case err != nil:
		return nil, explainRead(path, err)
	}
	var f netmapFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, s.setAside(path, describe(err))
	}
	switch {
	case f.Version != schema: // another version's cache: there is nothing to mend
		return nil, s.setAside(path, fmt.Errorf("its version is %d, not %d", f.Version, schema))
	case f.Netmap == nil:
		return nil, s.setAside(path, errors.New("it holds no netmap"))
	}
	if err := f.Netmap.Validate(); err != nil {
		return nil, s.setAside(path, err)
	}
	return f.Netmap, nil
}

// setAside renames a damaged cache, so that it can be looked at; the last one stays.
func (s *Store) setAside(path string, why error) error {
	aside := strings.TrimSuffix(path, ".json") + ".damaged"
	s.log.Warn("the saved netmap is damaged: set aside, the server will send a new one", "file", path, "aside", aside, "err", why)
	if err := os.Rename(path, aside); err != nil {
		return explain(path, err)
	}
	return nil
}

// DropNetmap forgets the login's netmap.
func (s *Store) DropNetmap(login string) error {
	path, err := s.netmapPath(login)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return explain(path, err)
	}
	return nil
}

// The crash loop breaker's measure: a cached netmap that crashes the daemon would crash it at every start.
const (
	crashes     = 3
	crashWindow = time.Minute
)

// RecordStart notes a start at now. After 3 starts within 60 s of which none proved healthy it has LoadNetmap give none,
// for this start only, and reports true: the files stay, since it may as well have been somebody's kill -9 while the
// server is away, and then they are all that there is. Call it before LoadNetmap.
func (s *Store) RecordStart(now time.Time) (skipped bool, err error) {
	starts := s.starts(now)
	if len(starts) >= crashes {
		s.log.Warn("the last starts all crashed: starting without the saved netmaps, the server will send new ones", "starts", len(starts))
		starts, skipped = nil, true
	}
	s.mu.Lock()
	s.skip = skipped
	s.mu.Unlock()
	text, err := json.Marshal(append(starts, now.UTC()))
	if err != nil {
		return skipped, err
	}
	return skipped, replace(s.Path("starts.json"), text, s.step)
}

// RecordHealthy notes that this start is no crash: it ran for a while, or ended as it was told to.
func (s *Store) RecordHealthy() error {
	path := s.Path("starts.json")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return explain(path, err)
	}
	return nil
}

// starts reads the unhealthy starts of the last window. A file that cannot be read is as none: it guards, it must not harm.
func (s *Store) starts(now time.Time) []time.Time {
	text, err := readFile(s.Path("starts.json"), maxState)
	if err != nil {
		return nil
	}
	var starts []time.Time
	if json.Unmarshal(text, &starts) != nil {
		return nil
	}
	return slices.DeleteFunc(starts, func(t time.Time) bool { return t.After(now) || now.Sub(t) > crashWindow })
}
