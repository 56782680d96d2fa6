package policy

import (
	"strings"
	"testing"

	"github.com/warren-mesh/warren/packaging/manual/documents"
)

// TestThePagesPoliciesAreRight reads each policy that the documents have, in fences of hujson. Those that are shown as
// refused must be.
func TestThePagesPoliciesAreRight(t *testing.T) {
	all, err := documents.Read("../../..")
	if err != nil {
		t.Fatal(err)
	}
	right, refused := 0, 0
	for _, page := range all {
		for _, f := range page.Fences() {
			if !strings.HasPrefix(f.Info, "hujson") {
				continue
			}
			file, err := Parse([]byte(f.Text))
			switch f.Info {
			case "hujson":
				right++
				if err != nil {
					t.Errorf("%s, line %d: %v", page.Path, f.Line, err)
				} else if file.Rules() == 0 {
					t.Errorf("%s, line %d: it has no rules", page.Path, f.Line)
				}
			case "hujson refused":
				refused++
				if err == nil {
					t.Errorf("%s, line %d: it is not refused", page.Path, f.Line)
				}
			default:
				t.Errorf("%s, line %d: a fence of %q is neither", page.Path, f.Line, f.Info)
			}
		}
	}
	if right < 3 || refused < 1 {
		t.Errorf("only %d policies and %d refused ones were found", right, refused)
	}
}
