package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
)

// loginFor gives the login that a request means: the current one where it names nothing, or the one that it names, known
// or new.
func (e *Engine) loginFor(r ipc.UpRequest) (store.Login, error) {
	server, serverKey := "", r.ServerKey
	if r.Server != "" {
		s, k, err := coord.ParseServer(r.Server)
		if err != nil {
			return store.Login{}, &ipc.Error{Status: 400, Code: ipc.CodeBadRequest, Reason: ipc.ReasonAddress, Message: err.Error()}
		}
		if server = s; serverKey == "" && !k.IsZero() {
			serverKey = k.String()
		}
	}
	var login store.Login
	var err error
	switch {
	case r.Profile != "":
		login, err = e.profileFor(r.Profile, server)
	case server != "":
		login, err = e.loginAt(server)
	default:
		current := e.state.Login()
		if current == nil {
			return login, errNoServer
		}
		login = *current
	}
	if err != nil {
		return login, err
	}
	return login, pin(&login, serverKey)
}

var errNoServer = &ipc.Error{
	Status: 400, Code: ipc.CodeNoServer, Message: "This machine does not know its coordination server yet.",
	Fix: "Name it once: warren up https://coord.example, or paste an invite link: warren up LINK",
}

// profileFor is the profile of that name, or a new one: at the server, or where none is named at the current one's.
func (e *Engine) profileFor(name, server string) (store.Login, error) {
	if l := e.state.Find(name); l != nil {
		if server != "" && server != l.Server {
			return store.Login{}, &ipc.Error{
				Status: 409, Code: ipc.CodeBadRequest, Message: fmt.Sprintf("The profile %s is a login at %s, not at %s.", l.Name, l.Server, server),
				Fix: "Leave one of the two out, or give the new login another name.",
			}
		}
		return *l, nil
	}
	if !store.ValidProfile(name) {
		return store.Login{}, errProfileName
	}
	if current := e.state.Login(); server == "" && current != nil {
		server = current.Server
	}
	if server == "" {
		return store.Login{}, errNoServer
	}
	if e.state.Full() {
		return store.Login{}, errManyLogins
	}
	login := e.state.NewLogin(server)
	login.Name = name
	return login, nil
}

// errManyLogins comes before any server hears of the login.
var errManyLogins = &ipc.Error{
	Status: 409, Code: ipc.CodeHost, Reason: ipc.ReasonManyLogins, About: []string{strconv.Itoa(store.MaxLogins)},
	Message: fmt.Sprintf("This machine has %d logins, and cannot have more.", store.MaxLogins),
	Fix:     "Give up one that is not needed: warren switch NAME, warren logout, and warren switch to one that stays",
}

var errProfileName = &ipc.Error{
	Status: 400, Code: ipc.CodeBadRequest, Message: "That cannot be a profile's name.",
	Fix: "Use up to 64 letters, digits, and the signs - _ . : @",
}

// loginAt is the login at a server: the current one, the only one, one that was given up, or a new one.
func (e *Engine) loginAt(server string) (store.Login, error) {
	if current := e.state.Login(); current != nil && current.Server == server {
		return *current, nil
	}
	var there, former []store.Login
	var names []string
	for _, l := range e.state.Logins {
		switch {
		case l.Server != server:
		case l.Former:
			former = append(former, l)
		default:
			there, names = append(there, l), append(names, l.Name)
		}
	}
	switch {
	case len(there) > 1:
		return store.Login{}, &ipc.Error{
			Status: 409, Code: ipc.CodeBadRequest, Message: "This machine has several logins at " + server + ": " + strings.Join(names, ", ") + ".",
			Fix: "Name one: warren switch NAME; or make another: warren login --profile NAME",
		}
	case len(there) == 1:
		return there[0], nil
	case len(former) > 0: // its keys have the machine's name and addresses there
		return former[len(former)-1], nil
	case e.state.Full():
		return store.Login{}, errManyLogins
	}
	return e.state.NewLogin(server), nil
}

// pin holds a login to a server's identity. While the machine is a member there, it cannot be changed in passing.
func pin(l *store.Login, text string) error {
	if text == "" {
		return nil
	}
	k, err := key.ParseServerPublic(text)
	if err != nil {
		return &ipc.Error{Status: 400, Code: ipc.CodeBadRequest, Message: "The server's key cannot be read: " + err.Error()}
	}
	if l.Node != 0 && !l.ServerKey.IsZero() && l.ServerKey != k {
		return &ipc.Error{
			Status: 409, Code: ipc.CodeIdentity, Reason: ipc.ReasonPinned, About: []string{l.Server, l.ServerKey.Short(), k.Short()},
			Message: "This machine knows " + l.Server + " by another identity (" + l.ServerKey.Short() + ") than the one given (" + k.Short() + ").",
			Fix:     "If the server was really set up anew, leave the old one first: warren logout",
		}
	}
	l.ServerKey = k
	return nil
}

// Profiles lists the logins.
func (e *Engine) Profiles(ctx context.Context) (*ipc.Profiles, error) {
	all := &ipc.Profiles{Profiles: []ipc.Profile{}}
	err := e.look(ctx, func() {
		for _, l := range e.state.Logins {
			if l.Former {
				continue
			}
			p := ipc.Profile{
				ID: l.ID, Name: l.Name, Server: l.Server, User: l.User, Network: l.Network,
				Current: l.ID == e.state.Current, NeedsLogin: l.Node == 0, Pending: l.Pending,
			}
			p.NeedsLogin = p.NeedsLogin || p.Current && e.net.expired
			all.Profiles = append(all.Profiles, p)
		}
	})
	slices.SortFunc(all.Profiles, func(a, b ipc.Profile) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// Switch makes another login the current one. Whether the machine should be on the network stays as it is: if so, the
// old one's interface, addresses and routes are gone before the new one's come. A daemon that is killed in between comes
// up with the new one, and undoes first what was left of the old.
func (e *Engine) Switch(ctx context.Context, r ipc.SwitchRequest) (*ipc.UpReply, error) {
	release, err := e.exclusive(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	var failed error
	err = e.do(ctx, func() {
		l := e.state.FindOf(r.Profile)
		switch {
		case l == nil:
			failed = &ipc.Error{
				Status: 404, Code: ipc.CodeNoProfile, Reason: ipc.ReasonUnknownProfile, About: []string{r.Profile},
				Message: fmt.Sprintf("No login of this machine is called %q.", r.Profile),
				Fix:     "warren switch --list shows them; warren login SERVER adds one",
			}
			return
		case l.ID == e.state.Current:
			return
		}
		next := *e.state
		next.Current = l.ID
		next.DropAuthKeys()
		if failed = e.cfg.Store.Save(&next); failed != nil {
			return
		}
		*e.state = next
		e.use(e.state.Login(), nil)
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, hostError(err)
	}
	return e.arrived(ctx)
}
