package view

import (
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

func TestTheMachinesPageIsNeverBlank(t *testing.T) {
	for _, in := range []Input{{}, {Missing: &ipc.Error{Code: ipc.CodeNotRunning, Message: "warrend is not running"}}} {
		if w := DrawWindow(&in); w.Machines.Search == "" || w.Machines.None != w.State || w.State == "" {
			t.Errorf("%q: %+v", w.State, w.Machines)
		}
	}
}
