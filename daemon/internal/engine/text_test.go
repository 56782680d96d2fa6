package engine

import (
	"errors"
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

func TestAFailureOfTheHostIsOneLineWithWhatToDo(t *testing.T) {
	full := errors.New("the disk is full")
	p := problem(errors.Join(full, errors.New("no interface"), errors.Join(full)))
	if p.Code != ipc.ProblemHost || p.Text != "the disk is full; no interface" || p.Fix == "" {
		t.Errorf("got %+v", p)
	}
}
