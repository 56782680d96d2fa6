package dns

import "testing"

func TestANameInAnotherScriptIsAskedInALabels(t *testing.T) {
	for name, want := range map[string]string{
		"den": "den", "_sip._tcp.Example.org": "_sip._tcp.Example.org", "": "", // what is ASCII is whoever asks's
		"münchen.example": "xn--mnchen-3ya.example", "MÜNCHEN.example.": "xn--mnchen-3ya.example.", "例え.テスト": "xn--r8jz45g.xn--zckzah",
		"a\u200b\u202eb.example": "", "ü-.example": "", "\xff.example": "", "_dmarc.例え.example": "_dmarc.xn--r8jz45g.example",
	} {
		if got, ok := ascii(name); ok != (want != "" || name == "") || ok && got != want {
			t.Errorf("%q became %q, %v", name, got, ok)
		}
	}
}
