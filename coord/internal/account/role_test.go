package account

import (
	"slices"
	"strings"
	"testing"
)

func TestWhatNoRoleHoldsIsRefused(t *testing.T) {
	for _, r := range append([]Role{"", "root"}, Roles...) {
		known := r != "" && r != "root"
		for right, want := range map[Right]map[bool]string{ // by own: the roles that hold it
			0: {}, Self: {true: "owner admin auditor member"}, 99: {},
			See:    {true: "owner admin auditor member", false: "owner admin auditor"},
			Change: {true: "owner admin member", false: "owner admin"},
			Govern: {true: "owner", false: "owner"},
		} {
			for _, own := range []bool{true, false} {
				if got := r.May(right, own); got != (known && slices.Contains(strings.Fields(want[own]), string(r))) {
					t.Errorf("%q.May(%d, %v) = %v", r, right, own, got)
				}
			}
		}
		if _, err := ParseRole(string(r)); (err == nil) != known {
			t.Errorf("ParseRole(%q): %v", r, err)
		}
	}
}
