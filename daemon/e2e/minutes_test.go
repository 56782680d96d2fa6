package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
	"golang.org/x/net/html"
)

// Somebody types `warren-coord serve` on a host, follows the link that it prints, and types on two machines, in homes of
// their own, the very line that the page shows. Nothing else is set up.
func TestANetworkIsThereAfterOneCommandAndOneLink(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	programs := mesh.Build(t)
	began := time.Now()
	m := mesh.Serve(t, n, n.Internet().Host("coord"), programs)
	alice, bob := m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "bob")

	p := newPerson(t, alice)
	link := regexp.MustCompile(`https://\S+/setup/\S+`).FindString(m.Coord.Proc.Output())
	p.get(link)
	p.submit(url.Values{"login": {"anna"}, "password": {"correct horse"}, "again": {"correct horse"}})
	line := p.line()
	t.Logf("%v after the command the page says: %s", time.Since(began).Round(time.Millisecond), line)
	if !strings.Contains(line, m.Coord.Invite) {
		t.Errorf("the page's invite link is not that of 'warren-coord invite'")
	}

	for _, node := range []*mesh.Node{alice, bob} {
		typed := node.Command("sh", "-c", line)
		typed.Env = append(os.Environ(), "PATH="+string(programs)+":"+os.Getenv("PATH"), "WARREN_SOCKET="+node.Socket())
		up := node.StartCmd(typed)
		p.at(node)
		p.get(loginPage(t, up))
		p.submit(nil)
		if err := up.Wait(20 * time.Second); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, up.Output())
		}
		node.MustWarren("set", "--hostname", node.Name()) // all machines of the lab have the name of the host that it is on
	}
	alice.WaitPing(bob, 15*time.Second)
	alice.WaitPath(bob, ipc.PathDirect, 15*time.Second)
	t.Logf("two machines talk directly after %v", time.Since(began).Round(time.Millisecond))

	// Where there is no direct path the server's own relay is there already.
	n.BlockUDP(alice.Home, bob.Home)
	if path, _ := alice.WaitPath(bob, ipc.PathRelay, 15*time.Second); path.Relay != "embedded" {
		t.Errorf("the relayed path is %+v", path)
	}
	// The state stands where it was told, and only its owner reads it.
	info, err := os.Stat(filepath.Join(m.Coord.Dir(), "state"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the state directory: %v, %v", info.Mode(), err)
	}
}

// loginPage is the address that warren up shows.
func loginPage(t *testing.T, up *lab.Proc) (page string) {
	t.Helper()
	lab.Eventually(t, 15*time.Second, func() error {
		page = regexp.MustCompile(`https://\S+/login/\S+`).FindString(up.Output())
		if page == "" {
			return fmt.Errorf("no address in %q", up.Output())
		}
		return nil
	})
	return page
}

// person is somebody with a browser on one of the machines, who fills in forms.
type person struct {
	t    *testing.T
	node *mesh.Node
	http *http.Client
	page *html.Node
	url  *url.URL
}

func newPerson(t *testing.T, node *mesh.Node) *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, http: &http.Client{Jar: jar, Timeout: 30 * time.Second}}
	p.at(node)
	return p
}

// at moves the browser to another machine.
func (p *person) at(node *mesh.Node) {
	p.node = node
	p.http.Transport = &http.Transport{
		DialContext: node.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // as people do who compare the fingerprint
		DisableKeepAlives: true,
	}
}

func (p *person) get(address string) {
	p.t.Helper()
	resp, err := p.http.Get(address)
	p.show(resp, err)
}

func (p *person) show(resp *http.Response, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s", resp.Request.URL.Path, resp.Status)
	}
	p.url = resp.Request.URL
	if p.page, err = html.Parse(resp.Body); err != nil {
		p.t.Fatal(err)
	}
}

// submit sends the form of the main part, its first button pressed, with what is filled in.
func (p *person) submit(filled url.Values) {
	p.t.Helper()
	for n := range p.page.Descendants() {
		if n.Data != "form" || !inMain(n) || attr(n, "method") != "post" {
			continue
		}
		values, pressed := url.Values{}, false
		for f := range n.Descendants() {
			name := attr(f, "name")
			switch {
			case f.Data == "button" && !pressed:
				pressed = true
				fallthrough
			case f.Data == "input" && name != "":
				values.Set(name, attr(f, "value"))
			}
		}
		values.Del("")
		for name, v := range filled {
			values[name] = v
		}
		to, err := p.url.Parse(attr(n, "action"))
		if err != nil {
			p.t.Fatal(err)
		}
		resp, err := p.http.PostForm(to.String(), values)
		p.show(resp, err)
		return
	}
	p.t.Fatalf("there is no form on %s", p.url.Path)
}

// line is the command that the page tells one to type.
func (p *person) line() string {
	p.t.Helper()
	for n := range p.page.Descendants() {
		if n.Data == "code" && n.FirstChild != nil && strings.HasPrefix(n.FirstChild.Data, "warren up") {
			return n.FirstChild.Data
		}
	}
	p.t.Fatalf("%s shows no line", p.url.Path)
	return ""
}

func inMain(n *html.Node) bool {
	for ; n != nil; n = n.Parent {
		if n.Data == "main" {
			return true
		}
	}
	return false
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
