package localapi

import (
	"context"
	"testing"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/ipc"
)

// explainer is an engine that has tried a path in vain, and knows advice.
type explainer struct {
	Engine
	online bool
}

func (e *explainer) Status(context.Context) (*ipc.Status, error) {
	return &ipc.Status{State: ipc.StateRunning, Peers: []ipc.Peer{{ID: 2, Name: "bob", Online: e.online, Path: ipc.Path{Kind: ipc.PathRelay}}}}, nil
}

func (e *explainer) Explain(_ context.Context, _ key.NodePublic, online bool) ([]ipc.PathTry, []ipc.Advice, error) {
	if !online {
		return []ipc.PathTry{{Tried: true}}, nil, nil
	}
	return []ipc.PathTry{{Tried: true}}, []ipc.Advice{{Code: ipc.AdviceSilent, Text: "Open a port."}}, nil
}

func (e *explainer) Access(context.Context, key.NodePublic, *coord.Service) (ipc.Access, []ipc.RouteAccess, error) {
	return ipc.Access{}, nil, nil
}

func TestWhoIsAwayIsNotToBeReachedByOpeningPorts(t *testing.T) {
	for _, online := range []bool{false, true} {
		w, err := Backend{&explainer{online: online}}.Why(t.Context(), ipc.WhyRequest{Peer: "bob"})
		if err != nil || len(w.Tried) != 1 || len(w.Advice) > 0 != online || len(w.Advised) > 0 != online {
			t.Errorf("online %t: %+v, %v", online, w, err)
		}
	}
}
