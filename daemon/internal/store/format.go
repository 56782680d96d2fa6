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
)

// schema is the version of state.json that this program writes. A reader takes every version up to its own:
//
//	1  one machine key and node key for all logins, the hostname in prefs
//	2  keys, a name and a hostname for each login; the keys beside them wait for the next one
const schema = 2

// maxState bounds state.json in bytes; what is longer was not written by us.
const maxState = 1 << 20

// file is state.json.
type file struct {
	Version int         `json:"version"`
	Machine string      `json:"machine"` // as Reveal writes it
	Node    string      `json:"node"`
	Prefs   filePrefs   `json:"prefs"`
	Port    uint16      `json:"port,omitempty"`
	Current string      `json:"current,omitempty"`
	Logins  []fileLogin `json:"logins,omitempty"`
}

type filePrefs struct {
	Up       bool   `json:"up"`
	Hostname string `json:"hostname,omitempty"`
	Port     uint16 `json:"port,omitempty"`
	NoDNS    bool   `json:"noDNS,omitempty"`
	Lockdown bool   `json:"lockdown,omitempty"`
	Shields  bool   `json:"shieldsUp,omitempty"`
}

type fileLogin struct {
	ID         string           `json:"id"`
	Name       string           `json:"name,omitempty"`
	Server     string           `json:"server"`
	ServerKey  key.ServerPublic `json:"serverKey,omitzero"`
	Cert       []byte           `json:"cert,omitempty"`
	MachineKey string           `json:"machineKey,omitempty"`
	NodeKey    string           `json:"nodeKey,omitempty"`
	Node       coord.NodeID     `json:"node,omitempty"`
	User       string           `json:"user,omitempty"`
	Network    string           `json:"network,omitempty"`
	Hostname   string           `json:"hostname,omitempty"`
	Pending    bool             `json:"pending,omitempty"`
	Former     bool             `json:"former,omitempty"`
	AuthKey    string           `json:"authKey,omitempty"`
	Routing    Routing          `json:"routing,omitzero"`
}

func encode(s *State) ([]byte, error) {
	if s.Machine.IsZero() || s.Node.IsZero() {
		return nil, errors.New("a state without keys is not to be saved")
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	f := file{
		Version: schema, Machine: s.Machine.Reveal(), Node: s.Node.Reveal(), Port: s.Port, Current: s.Current,
		Prefs: filePrefs{Up: s.Up, Hostname: s.Hostname, Port: s.WantPort, NoDNS: s.NoDNS, Lockdown: s.Lockdown, Shields: s.ShieldsUp},
	}
	for _, l := range s.Logins {
		f.Logins = append(f.Logins, fileLogin{
			ID: l.ID, Name: l.Name, Server: l.Server, ServerKey: l.ServerKey, Cert: l.Cert,
			MachineKey: l.Machine.Reveal(), NodeKey: l.Key.Reveal(), Node: l.Node, User: l.User, Network: l.Network,
			Hostname: l.Hostname, Pending: l.Pending, Former: l.Former, AuthKey: l.AuthKey, Routing: l.Routing,
		})
	}
	text, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// decode reads state.json, and says of which version it is. Its errors never repeat the text, which holds secrets.
func decode(text []byte) (_ *State, version int, err error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, 0, fmt.Errorf("it is empty")
	}
	var v struct{ Version int }
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, 0, describe(err)
	}
	if v.Version > schema {
		return nil, 0, fmt.Errorf("%w: its version is %d, this one reads up to %d", ErrNewer, v.Version, schema)
	}
	if v.Version < 1 {
		return nil, 0, fmt.Errorf("it states no version")
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, 0, describe(err)
	}
	s, err := f.state()
	if err != nil {
		return nil, 0, err
	}
	return s, v.Version, s.check()
}

// state makes of the file what it stands for.
func (f *file) state() (*State, error) {
	s := &State{Up: f.Prefs.Up, Hostname: f.Prefs.Hostname, WantPort: f.Prefs.Port, NoDNS: f.Prefs.NoDNS, Lockdown: f.Prefs.Lockdown, ShieldsUp: f.Prefs.Shields, Port: f.Port, Current: f.Current}
	var err error
	if s.Machine, s.Node, err = parseKeys(f.Machine, f.Node); err != nil {
		return nil, err
	}
	for _, l := range f.Logins {
		login := Login{
			ID: l.ID, Name: l.Name, Server: l.Server, ServerKey: l.ServerKey, Cert: l.Cert, Node: l.Node, User: l.User,
			Network: l.Network, Hostname: l.Hostname, Pending: l.Pending, Former: l.Former, AuthKey: l.AuthKey, Routing: l.Routing,
		}
		if f.Version == 1 { // what was all logins' is each one's
			login.Name, login.Hostname = s.freeName(l.Server), f.Prefs.Hostname
			login.Machine, login.Key = s.Machine, s.Node
			login.Former = l.Node == 0 && l.AuthKey == "" && l.ID != f.Current
		} else if login.Machine, login.Key, err = parseKeys(l.MachineKey, l.NodeKey); err != nil {
			return nil, err
		}
		s.Logins = append(s.Logins, login)
	}
	if f.Version == 1 && len(s.Logins) > 0 {
		s.Machine, s.Node, s.Hostname = key.NewMachine(), key.NewNode(), ""
	}
	return s, nil
}

func parseKeys(machine, node string) (m key.Machine, n key.Node, err error) {
	if m, err = key.ParseMachine(machine); err != nil {
		return m, n, fmt.Errorf("a machine key in it: %w", err)
	}
	if n, err = key.ParseNode(node); err != nil {
		return m, n, fmt.Errorf("a node key in it: %w", err)
	}
	if m.IsZero() || n.IsZero() {
		return m, n, fmt.Errorf("a key in it is zero")
	}
	return m, n, nil
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
