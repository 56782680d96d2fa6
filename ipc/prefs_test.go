package ipc

import (
	"net/netip"
	"reflect"
	"testing"
)

// A program that shows preferences asks for them where their number is another: each of them must count.
func TestEachPreferenceCounts(t *testing.T) {
	none := Prefs{}.Number()
	if again := (Prefs{}).Number(); again != none {
		t.Errorf("the same preferences have %d and %d", none, again)
	}
	for i := range reflect.TypeFor[Prefs]().NumField() {
		var p Prefs
		switch f := reflect.ValueOf(&p).Elem().Field(i); v := f.Addr().Interface().(type) {
		case *bool:
			*v = true
		case *string:
			*v = "x"
		case *uint16:
			*v = 1
		case *int64:
			*v = 1
		case *[]string:
			*v = []string{"x"}
		case *[]netip.Prefix:
			*v = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		default:
			t.Fatalf("%T is of no kind that this test knows", v)
		}
		if p.Number() == none {
			t.Errorf("%+v has the number of no preferences", p)
		}
	}
}
