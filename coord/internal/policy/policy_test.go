package policy

import "testing"

func TestByDefaultAllSeeAll(t *testing.T) {
	var p Policy
	alice, tagged := Facts{ID: 1, User: 7}, Facts{ID: 2, Tags: []string{"server"}}
	for _, viewer := range []Facts{alice, tagged} {
		for _, subject := range []Facts{alice, tagged} {
			if !p.Sees(p.ClassOf(viewer), subject) {
				t.Errorf("%+v does not see %+v", viewer, subject)
			}
		}
	}
}

func TestWhatIsOfNoClassSeesNothing(t *testing.T) {
	if (Policy{}).Sees(Class{}, Facts{ID: 1}) {
		t.Error("a missing class saw a machine")
	}
}
