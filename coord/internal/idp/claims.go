package idp

import (
	"encoding/json"
	"strings"
	"unicode"
)

// claims are what a provider may say of a person beside the subject. Types that providers get wrong are read leniently;
// what cannot be read says nothing.
type claims struct {
	Email    string  `json:"email"`
	Verified boolean `json:"email_verified"`
	Login    string  `json:"preferred_username"`
	Name     string  `json:"name"`
	Groups   list    `json:"groups"`
	Party    string  `json:"azp"`
}

// boolean is true or "true": some providers quote it.
type boolean bool

func (b *boolean) UnmarshalJSON(text []byte) error {
	*b = string(text) == `true` || string(text) == `"true"`
	return nil
}

// list is a list of texts, or a single one.
type list []string

func (l *list) UnmarshalJSON(text []byte) error {
	var one string
	var all []any
	*l = nil
	switch {
	case json.Unmarshal(text, &one) == nil:
		*l = list{one}
	case json.Unmarshal(text, &all) == nil:
		for _, a := range all {
			if s, ok := a.(string); ok && len(*l) < maxGroups {
				*l = append(*l, s)
			}
		}
	}
	return nil
}

func (c *claims) person(issuer, subject string) Person {
	who := Person{
		Issuer: issuer, Subject: subject, Login: clip(c.Login), Name: clip(c.Name), Email: clip(c.Email), Verified: bool(c.Verified),
	}
	for _, g := range c.Groups {
		if g = clip(g); g != "" {
			who.Groups = append(who.Groups, g)
		}
	}
	if who.Email != c.Email { // what was cut is another address
		who.Email, who.Verified = "", false
	}
	return who
}

// Domain is the domain of the person's e-mail address, in lower case; empty where nobody has verified that it is theirs.
func (p *Person) Domain() string {
	at := strings.LastIndexByte(p.Email, '@')
	if !p.Verified || at < 1 {
		return ""
	}
	return strings.ToLower(p.Email[at+1:])
}

// clip keeps of a stranger's text what can be shown: printable characters, none that changes how others read (such as
// those for writing from right to left), and not too many.
func clip(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return strings.TrimSpace(strings.ToValidUTF8(text[:min(len(text), maxText)], ""))
}
