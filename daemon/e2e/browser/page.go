package browser

import (
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// What a browser sees on a page.

// form finds the first form that is as wanted.
func (p *Browser) form(wanted func(form *html.Node) bool) *html.Node {
	for n := range p.page.Descendants() {
		if isElement(n, "form") && wanted(n) {
			return n
		}
	}
	return nil
}

func hasPassword(form *html.Node) bool {
	for n := range form.Descendants() {
		if isElement(n, "input") && attr(n, "type") == "password" {
			return true
		}
	}
	return false
}

// connects tells a form by its button, as people do.
func connects(form *html.Node) bool {
	button := firstButton(form)
	return button != nil && strings.Contains(strings.ToLower(label(button)), "connect")
}

func firstButton(form *html.Node) *html.Node {
	for n := range form.Descendants() {
		submits := isElement(n, "button") && (attr(n, "type") == "" || attr(n, "type") == "submit") ||
			isElement(n, "input") && attr(n, "type") == "submit"
		if submits {
			return n
		}
	}
	return nil
}

// label is what a button says.
func label(button *html.Node) string {
	if button.Data == "input" {
		return attr(button, "value")
	}
	return text(button)
}

// fields are what a form sends when its first button is pressed.
func fields(form *html.Node, fill func(*html.Node) string) url.Values {
	values := url.Values{}
	button := firstButton(form)
	for n := range form.Descendants() {
		name := attr(n, "name")
		if name == "" {
			continue
		}
		switch {
		case n == button:
			values.Add(name, attr(n, "value"))
		case !isElement(n, "input"):
		case attr(n, "type") == "submit":
		case attr(n, "type") == "checkbox" || attr(n, "type") == "radio":
			if has(n, "checked") {
				values.Add(name, attr(n, "value"))
			}
		case attr(n, "type") == "hidden" || attr(n, "value") != "" || fill == nil:
			values.Add(name, attr(n, "value"))
		default:
			values.Add(name, fill(n))
		}
	}
	return values
}

func isElement(n *html.Node, name string) bool { return n.Type == html.ElementNode && n.Data == name }

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

// title is a page's title.
func title(page *html.Node) string {
	for n := range page.Descendants() {
		if isElement(n, "title") {
			return text(n)
		}
	}
	return "(no title)"
}

// text is what can be read below a node.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && !isElement(d.Parent, "style") && !isElement(d.Parent, "script") {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
