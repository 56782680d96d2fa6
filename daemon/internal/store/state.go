package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/ipc"
)

// schema is the version of state.json that this program writes. A reader takes every version up to its own.
const schema = 1

// maxState bounds state.json in bytes; what is longer was not written by us.
const maxState = 1 << 20

// MaxLogins bounds State.Logins.
const MaxLogins = 64

// State is what the daemon keeps over restarts. Load never gives one without keys.
type State struct {
	Machine key.Machine
	Node    key.Node
	Prefs   ipc.Prefs
	Port    uint16 // the random UDP port of the first start, kept; Prefs.Port goes before it
	Current string // ID of the login in use; empty: none
	Logins  []Login
}

// Login is what the machine has of one server. There may be several, one of them current.
type Login struct {
	ID        string           `json:"id"`     // NewLoginID; names the login's files
	Server    string           `json:"server"` // URL, as configured
	ServerKey key.ServerPublic `json:"serverKey,omitzero"`
	Cert      []byte           `json:"cert,omitempty"` // SHA-256 of the TLS certificate that an invite link pinned
	Node      coord.NodeID     `json:"node,omitempty"` // 0: not registered yet
	User      string           `json:"user,omitempty"`

	// AuthKey is a pre-auth key from before the first request that shows it until the server's answer is in
	// state.json too: a machine that is killed between the two asks again, and completes.
	AuthKey string `json:"authKey,omitempty"`
}

// Login finds the current login, or returns nil. The pointer is into s.
func (s *State) Login() *Login {
	for i := range s.Logins {
		if s.Current != "" && s.Logins[i].ID == s.Current {
			return &s.Logins[i]
		}
	}
	return nil
}

// file is state.json.
type file struct {
	Version int       `json:"version"`
	Machine string    `json:"machine"` // as Reveal writes it
	Node    string    `json:"node"`
	Prefs   ipc.Prefs `json:"prefs"`
	Port    uint16    `json:"port,omitempty"`
	Current string    `json:"current,omitempty"`
	Logins  []Login   `json:"logins,omitempty"`
}

func encode(s *State) ([]byte, error) {
	if s.Machine.IsZero() || s.Node.IsZero() {
		return nil, errors.New("a state without keys is not to be saved")
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(file{
		Version: schema, Machine: s.Machine.Reveal(), Node: s.Node.Reveal(),
		Prefs: s.Prefs, Port: s.Port, Current: s.Current, Logins: s.Logins,
	}, "", "\t")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// decode reads state.json. Its errors never repeat the text, which holds secrets.
func decode(text []byte) (*State, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("it is empty")
	}
	var v struct{ Version int }
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, describe(err)
	}
	if v.Version > schema {
		return nil, fmt.Errorf("%w: its version is %d, this one reads up to %d", ErrNewer, v.Version, schema)
	}
	if v.Version < 1 {
		return nil, fmt.Errorf("it states no version")
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, describe(err)
	}
	s := &State{Prefs: f.Prefs, Port: f.Port, Current: f.Current, Logins: f.Logins}
	var err error
	if s.Machine, err = key.ParseMachine(f.Machine); err != nil {
		return nil, fmt.Errorf("its machine key: %w", err)
	}
	if s.Node, err = key.ParseNode(f.Node); err != nil {
		return nil, fmt.Errorf("its node key: %w", err)
	}
	if s.Machine.IsZero() || s.Node.IsZero() {
		return nil, fmt.Errorf("a key in it is zero")
	}
	return s, s.check()
}

// check holds the logins against what their readers rely on.
func (s *State) check() error {
	if len(s.Logins) > MaxLogins {
		return fmt.Errorf("there are %d logins, %d at the most", len(s.Logins), MaxLogins)
	}
	ids := make(map[string]bool, len(s.Logins))
	for _, l := range s.Logins {
		if !validID(l.ID) {
			return fmt.Errorf("the id of a login is not one of ours")
		}
		if ids[l.ID] {
			return fmt.Errorf("two logins have the id %s", l.ID)
		}
		ids[l.ID] = true
	}
	if s.Current != "" && !ids[s.Current] {
		return fmt.Errorf("the current login is none of those listed")
	}
	return nil
}

// describe says what is wrong with JSON text without repeating any of it.
func describe(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "unexpected end"):
		return errors.New("it ends in the middle")
	case errors.As(err, &syntax):
		return fmt.Errorf("it is not JSON from byte %d on", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("its field %q holds a JSON %s", kind.Field, kindName(kind.Value))
	case errors.Is(err, key.ErrInvalid):
		return err // never repeats the text
	}
	return errors.New("it is not what was written")
}

// kindName is the first word of UnmarshalTypeError.Value, which may go on with the value itself ("number 17").
func kindName(value string) string {
	name, _, _ := strings.Cut(value, " ")
	return name
}
