// Package localapi is the engine as people's programs see it: an ipc.Backend.
package localapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/ipc"
)

// Bounds of a ping.
const (
	pingDefault = 5 * time.Second
	pingLongest = 30 * time.Second
)

// Engine is what a Backend stands on; *engine.Engine is one.
type Engine interface {
	Status(ctx context.Context) (*ipc.Status, error)
	Watch(ctx context.Context, f func(*ipc.Status) error) error
	WatchLive(ctx context.Context, f func(*ipc.Status) error) error
	Prefs(ctx context.Context) (ipc.Prefs, error)
	EditPrefs(ctx context.Context, e ipc.PrefsEdit) (ipc.Prefs, error)
	Up(ctx context.Context, r ipc.UpRequest) (*ipc.UpReply, error)
	Down(ctx context.Context) error
	LoginWait(ctx context.Context, r ipc.LoginWait) (*ipc.UpReply, error)
	LoginFinish(ctx context.Context, r ipc.LoginFinish) (*ipc.UpReply, error)
	Logout(ctx context.Context) error
	Profiles(ctx context.Context) (*ipc.Profiles, error)
	Switch(ctx context.Context, r ipc.SwitchRequest) (*ipc.UpReply, error)
	Ping(ctx context.Context, k key.NodePublic) (ipc.Path, error)
	Netcheck(ctx context.Context) (*ipc.Netcheck, error)
	Explain(ctx context.Context, k key.NodePublic, online bool) (tried []ipc.PathTry, advice []ipc.Advice, err error)
	QueryDNS(ctx context.Context, q ipc.DNSQuery) (*ipc.DNSAnswer, error)
	Portal(ctx context.Context, r ipc.PortalRequest) (*ipc.PortalReply, error)
	Access(ctx context.Context, peer key.NodePublic, s *coord.Service) (ipc.Access, []ipc.RouteAccess, error)
}

// Backend answers for an engine.
type Backend struct{ Engine }

var _ ipc.Backend = Backend{}

// find finds a peer by what people type, where this machine is on its network.
func (b Backend) find(ctx context.Context, name string) (*ipc.Peer, error) {
	s, err := b.Status(ctx)
	if err != nil {
		return nil, err
	}
	if err := ready(s); err != nil {
		return nil, err
	}
	p := core.Find(s, name)
	if p == nil {
		return nil, unknownPeer(s, name)
	}
	return p, nil
}

// Ping asks one peer, found by what people type, for an answer.
func (b Backend) Ping(ctx context.Context, r ipc.PingRequest) (*ipc.PingReply, error) {
	p, err := b.find(ctx, r.Peer)
	if err != nil {
		return nil, err
	}
	wait := pingDefault
	if r.Timeout > 0 {
		wait = min(r.Timeout.Duration(), pingLongest)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	path, err := b.Engine.Ping(ctx, p.Key)
	if err != nil {
		return nil, silent(p, wait, err)
	}
	return &ipc.PingReply{Name: p.Name, Addr: p.Addrs[0], Latency: path.Latency, Path: path}, nil
}

// Why says how this machine and a peer may talk.
func (b Backend) Why(ctx context.Context, r ipc.WhyRequest) (*ipc.Why, error) {
	p, err := b.find(ctx, r.Peer)
	if err != nil {
		return nil, err
	}
	service, err := parseService(r.Service)
	if err != nil {
		return nil, err
	}
	w := &ipc.Why{Name: p.Name, Online: p.Online, Path: p.Path}
	if service != nil {
		w.Service = service.String()
	}
	if w.Tried, w.Advised, err = b.Explain(ctx, p.Key, p.Online); err != nil {
		return nil, err
	}
	w.Advice = ipc.Texts(w.Advised)
	w.In, w.Routes, err = b.Access(ctx, p.Key, service)
	return w, err
}

// Netcheck finds out what the network lets through. Where that cannot be asked, the state says why.
func (b Backend) Netcheck(ctx context.Context) (*ipc.Netcheck, error) {
	n, err := b.Engine.Netcheck(ctx)
	if !errors.Is(err, &ipc.Error{Code: ipc.CodeNotUp}) {
		return n, err
	}
	s, failed := b.Status(ctx)
	if failed != nil {
		return nil, err
	}
	return nil, cmp.Or(ready(s), err)
}

// ready refuses what needs a network where there is none.
func ready(s *ipc.Status) error {
	switch s.State {
	case ipc.StateRunning:
		return nil
	case ipc.StateNoServer, ipc.StateNeedsLogin:
		return &ipc.Error{Status: http.StatusConflict, Code: ipc.CodeNeedsLogin, Message: "This machine is not logged in to a network.", Fix: "warren up"}
	case ipc.StatePending:
		return &ipc.Error{Status: http.StatusConflict, Code: ipc.CodeNotUp, Reason: ipc.ReasonApproval, Message: "This machine waits for an admin's approval: it is not on its network yet."}
	case ipc.StateStarting:
		return &ipc.Error{
			Status: http.StatusConflict, Code: ipc.CodeNotUp, Reason: ipc.ReasonStarting, Message: "This machine is still connecting to its network.",
			Fix: "Try again in a few seconds. What it waits for: warren status",
		}
	default:
		return &ipc.Error{Status: http.StatusConflict, Code: ipc.CodeNotUp, Message: "This machine is not connected to its network.", Fix: "warren up"}
	}
}

func unknownPeer(s *ipc.Status, name string) error {
	for _, own := range append([]string{s.Self.Name, s.Self.DNSName}, addrs(s)...) {
		if name == own {
			return &ipc.Error{
				Status: http.StatusBadRequest, Code: ipc.CodeNoPeer, Reason: ipc.ReasonSelf, About: []string{name},
				Message: fmt.Sprintf("%s is this machine itself.", name),
			}
		}
	}
	return &ipc.Error{
		Status: http.StatusNotFound, Code: ipc.CodeNoPeer, Reason: ipc.ReasonUnknownPeer, About: []string{name},
		Message: fmt.Sprintf("No machine of the network is called %q.", name),
		Fix:     "warren status lists them",
	}
}

func addrs(s *ipc.Status) (out []string) {
	for _, a := range s.Self.Addrs {
		out = append(out, a.String())
	}
	return out
}

func silent(p *ipc.Peer, wait time.Duration, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	e := &ipc.Error{
		Status: http.StatusGatewayTimeout, Code: ipc.CodeTimeout, Reason: ipc.ReasonSilent, About: []string{p.Name, wait.String()},
		Message: fmt.Sprintf("%s did not answer within %s.", p.Name, wait),
	}
	if !p.Online {
		e.Reason, e.Fix = ipc.ReasonSilentOffline, "It is offline, as the coordination server last saw it."
	}
	return e
}

// parseService reads what people write for a service: "22" (TCP), "udp:53", "icmp". Nothing is none in particular.
func parseService(text string) (*coord.Service, error) {
	if text == "" {
		return nil, nil
	}
	text = strings.ToLower(text)
	if _, _, isPort := coord.ParsePorts(text); isPort {
		text = "tcp:" + text
	}
	s := &coord.Service{}
	if err := s.UnmarshalText([]byte(text)); err != nil {
		return nil, &ipc.Error{
			Status: http.StatusBadRequest, Code: ipc.CodeBadRequest, Message: fmt.Sprintf("%q is no port or service.", text),
			Fix: "Write a TCP port as 22, others as udp:53 or icmp",
		}
	}
	return s, nil
}
