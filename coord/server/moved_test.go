package server

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store"
)

func TestADatabaseThatWasMovedIsSaid(t *testing.T) {
	r := serve(t)
	path := filepath.Join(r.dir, fileDatabase)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.CreateKey(t.Context(), KeyOptions{})
	if got := refusal(err); got.Code != coord.CodeStorage || !strings.Contains(got.Message, "removed or replaced") {
		t.Errorf("without its file it says %q", got.Message)
	}
	if why := r.unready(t.Context()); why != "database" {
		t.Errorf("it is unready for %q", why)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.CreateKey(t.Context(), KeyOptions{}); err != nil {
		t.Errorf("put back: %v", err)
	}
}

// Who hears that nothing was changed makes the change again.
func TestWhatIsNotKnownIsNotDenied(t *testing.T) {
	got := refusal(fmt.Errorf("%w: %w", store.ErrUnsure, errors.New("broke")))
	if got.Status != http.StatusServiceUnavailable || strings.Contains(got.Message, "nothing was changed") {
		t.Errorf("a change that may have been made: %q", got.Message)
	}
}
