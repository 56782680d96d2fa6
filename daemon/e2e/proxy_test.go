package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
	"github.com/warren-mesh/warren/packaging/manual/documents"
	"golang.org/x/net/html"
)

// proxies are those that hosting.md (coord/warren-coord) has a configuration for, how that becomes one with the name and the
// certificate of the test, and how the program is started with it.
var proxies = []struct {
	name    string
	fences  map[string]string // the file, and what the fence of the page has that is meant
	change  []string          // in pairs: what stands in the page, and what in its place
	around  string            // FENCE in it is the configuration
	command []string
}{
	{
		"nginx",
		map[string]string{"conf": "proxy_pass"},
		[]string{"coord.example.org", "NAME", "/etc/ssl/coord.pem", "CERT", "/etc/ssl/coord.key", "KEY"},
		"daemon off; user root; pid nginx.pid; error_log stderr; events {}\nhttp {\naccess_log off;\nFENCE}\n",
		[]string{"nginx", "-p", "DIR", "-c", "DIR/conf"},
	},
	{
		"caddy",
		map[string]string{"conf": "reverse_proxy"},
		[]string{"coord.example.org {", "https://NAME {\n\ttls CERT KEY"},
		"{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_sni NAME\n}\nFENCE",
		[]string{"env", "HOME=DIR", "caddy", "run", "--adapter", "caddyfile", "--config", "DIR/conf"},
	},
}

// TestAMeshBehindAReverseProxy has a server behind each, as the page says.
func TestAMeshBehindAReverseProxy(t *testing.T) {
	pages, err := documents.Read("../../coord/warren-coord")
	if err != nil || len(pages) != 1 {
		t.Fatalf("%d pages (%v), want the one about hosting", len(pages), err)
	}
	for _, c := range proxies {
		t.Run(c.name, func(t *testing.T) {
			conf := map[string]string{}
			for file, has := range c.fences {
				for _, f := range pages[0].Fences() {
					if strings.Contains(f.Text, has) {
						conf[file] = strings.Replace(c.around, "FENCE", strings.NewReplacer(c.change...).Replace(f.Text), 1)
					}
				}
				if conf[file] == "" {
					t.Fatalf("the page has no fence with %q", has)
				}
			}
			behindProxy(t, conf, slices.Clone(c.command))
		})
	}
}

func behindProxy(t *testing.T, conf map[string]string, command []string) {
	t.Parallel()
	n := lab.New(t)
	programs := mesh.Build(t)
	host := n.Internet().Host("coord")
	address := host.Addr().String()
	cert, secret := certificateFor(t, host)
	fill := strings.NewReplacer("NAME", address, "CERT", cert, "KEY", secret, "DIR", host.Dir())
	for file, text := range conf {
		mesh.Write(t, host, file, fill.Replace(text))
	}
	for i := range command {
		command[i] = fill.Replace(command[i])
	}
	host.Start(command...)
	m := mesh.Serve(t, n, host, programs, "--behind-proxy", "--url", "https://"+address)
	lab.Eventually(t, 10*time.Second, func() error {
		c, err := host.Dial("tcp", "127.0.0.1:443")
		if err == nil {
			_ = c.Close()
		}
		return err
	})

	// The test's authority is the one that these machines know.
	node := func(name string) *mesh.Node {
		home := n.Internet().Router("home-"+name, lab.EasyNAT)
		a := m.NodeWith(home.Host(name), "env", "SSL_CERT_FILE="+cert)
		a.Home = home
		return a
	}
	alice, bob := node("alice"), node("bob")
	alice.Up(m.Coord.Key())
	// Nothing holds the lines of the netmap back: what bob does, alice hears at once, and long before a heartbeat.
	bob.Up(m.Coord.Key())
	lab.Eventually(t, 3*time.Second, func() error {
		_, err := alice.Peer(bob)
		return err
	})
	// The relay's WebSocket gets through too.
	n.BlockUDP(alice, bob)
	bob.Home.DropUDP()
	alice.WaitPing(bob, 20*time.Second)
	if p, _ := alice.WaitPath(bob, ipc.PathRelay, 10*time.Second); p.Relay != "embedded" {
		t.Errorf("path %+v", p)
	}
	lab.Eventually(t, 10*time.Second, func() error {
		for _, r := range bob.Status().Relays {
			if r.Connected && r.Transport == "websocket" {
				return nil
			}
		}
		return errorf("relays of bob: %+v", bob.Status().Relays)
	})

	// The server knows who asks, though the client would like to be another.
	m.Coord.AddUser("anna", "correct horse")
	carol := node("carol")
	up := carol.Start(carol.Args("up", m.Coord.Invite, "--hostname", "carol", "--no-browser")...)
	p := newPerson(t, carol)
	p.get(loginPage(t, up))
	p.submit(map[string][]string{"login": {"anna"}, "password": {"correct horse"}})
	if page := textOf(p.page); !strings.Contains(page, carol.Home.Addr().String()) {
		t.Errorf("the page does not say that carol asks from %s:\n%s", carol.Home.Addr(), page)
	}
	p.submit(nil)
	if err := up.Wait(20 * time.Second); err != nil {
		t.Errorf("a login by the page: %v\n%s", err, up.Output())
	}
}

func textOf(page *html.Node) string {
	var b strings.Builder
	for n := range page.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data + " ")
		}
	}
	return b.String()
}

// certificateFor makes a certificate for the machine's address, and gives its file and the key's.
func certificateFor(t *testing.T, m *lab.Machine) (cert, secret string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{m.Addr().AsSlice()},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, secret = filepath.Join(m.Dir(), "cert.pem"), filepath.Join(m.Dir(), "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, secret: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, secret
}
