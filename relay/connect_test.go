package relay

import (
	"errors"
	"testing"
)

// A relay may have four addresses. Why none of them answers is shown in tables and logs, a line for each relay.
func TestWhyNoWayLeadsToARelayIsOneLine(t *testing.T) {
	results := make(chan result, 3)
	for _, why := range []error{errors.New("first"), ErrNoAnswer, errors.New("third")} {
		results <- result{err: why}
	}
	if _, err := first(results, 3); !errors.Is(err, ErrNoAnswer) || err.Error() != "first; no answer; third" {
		t.Errorf("%q", err)
	}
}
