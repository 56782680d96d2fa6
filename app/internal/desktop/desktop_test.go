package desktop

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestWithoutASessionBusPeopleReadWhatToDo(t *testing.T) {
	for _, environ := range [][]string{
		nil, {"XDG_RUNTIME_DIR=relative"}, {"XDG_RUNTIME_DIR=" + t.TempDir()}, {"DBUS_SESSION_BUS_ADDRESS=unix:path=/no/such/bus"}, {"DBUS_SESSION_BUS_ADDRESS=nonsense"},
	} {
		d, err := Connect(context.Background(), environ)
		if !errors.Is(err, ErrNoBus) || !strings.Contains(err.Error(), "dbus-run-session") {
			t.Errorf("%q: %v, %v", environ, d, err)
		}
	}
}
