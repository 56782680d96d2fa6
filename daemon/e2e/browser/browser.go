// Package browser plays a person with a browser on a machine of a lab, for tests and the demo that log in at the
// coordination server's real pages.
package browser

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
)

const (
	maxHops  = 10      // redirects in a row
	maxPages = 6       // pages of a login
	maxPage  = 1 << 20 // bytes of a page
)

// Browser plays a person with a browser on a machine of the lab, as far as a login's page needs one: it follows
// redirects, keeps cookies, fills in forms and says where its requests come from.
type Browser struct {
	http *http.Client
	url  *url.URL // of the page that it sees
	page *html.Node
}

// New gives one that connects as dial does, for a machine of the lab: its DialContext.
func New(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // it has no way to fail
	}
	return &Browser{http: &http.Client{
		Jar:     jar,
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext: dial,
			// The certificate is the server's own. A browser warns of it, and the person goes on.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		},
		// Each hop has headers of its own: go follows them itself.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Login goes through a login's page as the user, and returns the pages that it saw.
func (p *Browser) Login(ctx context.Context, page, user, password string) (seen []string, err error) {
	defer p.http.CloseIdleConnections()
	if err := p.open(ctx, page); err != nil {
		return nil, err
	}
	for range maxPages {
		seen = append(seen, title(p.page))
		switch {
		case strings.HasSuffix(p.url.Path, "/done"):
			return seen, nil
		case p.form(hasPassword) != nil:
			err = p.submit(ctx, p.form(hasPassword), func(input *html.Node) string {
				if attr(input, "type") == "password" {
					return password
				}
				return user
			})
		case p.form(connects) != nil:
			err = p.submit(ctx, p.form(connects), nil)
		default:
			return seen, fmt.Errorf("%s has nothing to sign in with and nothing to connect with:\n%s", p.url.Path, text(p.page))
		}
		if err != nil {
			return seen, err
		}
	}
	return seen, fmt.Errorf("the login has no end; its pages were: %s", strings.Join(seen, ", "))
}

// open goes to an address as if it had been typed.
func (p *Browser) open(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return p.visit(req, "none")
}

// submit sends a form by its first button. fill gives the text of its fields that are empty.
func (p *Browser) submit(ctx context.Context, form *html.Node, fill func(*html.Node) string) error {
	target, err := p.url.Parse(attr(form, "action"))
	if err != nil {
		return err
	}
	values := fields(form, fill)
	method := strings.ToUpper(attr(form, "method"))
	if method != http.MethodPost {
		target.RawQuery = values.Encode()
		return p.open(ctx, target.String())
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(values.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", p.url.Scheme+"://"+p.url.Host)
	return p.visit(req, site(p.url, target))
}

// visit sends a request, follows its redirects and reads the page at their end. from is what a browser says in
// Sec-Fetch-Site; it never gets closer on the way (https://www.w3.org/TR/fetch-metadata/).
func (p *Browser) visit(req *http.Request, from string) error {
	for range maxHops {
		req.Header.Set("Accept", "text/html,application/xhtml+xml")
		req.Header.Set("Sec-Fetch-Site", from)
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Dest", "document")
		res, err := p.http.Do(req)
		if err != nil {
			return err
		}
		next, err := res.Location()
		if errors.Is(err, http.ErrNoLocation) {
			return p.read(res)
		}
		_ = res.Body.Close()
		if err != nil {
			return err
		}
		if from != "none" && site(req.URL, next) == "cross-site" {
			from = "cross-site"
		}
		// After a POST a browser goes on with GET, and GET has no Origin.
		if req, err = http.NewRequestWithContext(req.Context(), http.MethodGet, next.String(), nil); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s redirects without end", req.URL.Host)
}

func (p *Browser) read(res *http.Response) error {
	defer func() { _ = res.Body.Close() }()
	page, err := html.Parse(io.LimitReader(res.Body, maxPage))
	if err != nil {
		return err
	}
	p.url, p.page = res.Request.URL, page
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s\n%s", res.Request.Method, p.url.Path, res.Status, text(page))
	}
	return nil
}

// site compares origins as far as the lab needs it: its sites have no common domain.
func site(from, to *url.URL) string {
	if from.Scheme == to.Scheme && from.Host == to.Host {
		return "same-origin"
	}
	return "cross-site"
}
