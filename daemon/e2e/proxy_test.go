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
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
	"golang.org/x/net/html"
)

// What hosting.md (coord/warren-coord) gives to be put into the proxies' configurations, with the name and the certificate of the test.
const (
	nginxConf = `
daemon off;
user root;
pid nginx.pid;
error_log stderr;
events {}
http {
access_log off;
map $http_upgrade $connection_upgrade { default upgrade; '' close; }
server {
    listen 443 ssl;
    server_name NAME;
    ssl_certificate     CERT;
    ssl_certificate_key KEY;
    ssl_protocols       TLSv1.2 TLSv1.3; # machines speak 1.3, which old nginx has not on by itself
    location / {
        proxy_pass http://127.0.0.1:8080;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
    }
}
}
`
	caddyConf = `
{
	admin off
	auto_https disable_redirects
	default_sni NAME
}
https://NAME {
	tls CERT KEY
	reverse_proxy 127.0.0.1:8080
}
`
)

func TestAMeshBehindAReverseProxy(t *testing.T) {
	for _, c := range []struct {
		name, conf string
		command    []string
	}{
		{"nginx", nginxConf, []string{"nginx", "-p", "DIR", "-c", "DIR/conf"}},
		{"caddy", caddyConf, []string{"env", "HOME=DIR", "caddy", "run", "--adapter", "caddyfile", "--config", "DIR/conf"}},
	} {
		t.Run(c.name, func(t *testing.T) { behindProxy(t, c.conf, c.command) })
	}
}

func behindProxy(t *testing.T, conf string, command []string) {
	n := lab.New(t)
	programs := mesh.Build(t)
	host := n.Internet().Host("coord")
	address := host.Addr().String()
	cert, secret := certificateFor(t, host)
	fill := strings.NewReplacer("NAME", address, "CERT", cert, "KEY", secret, "DIR", host.Dir())
	mesh.Write(t, host, "conf", fill.Replace(conf))
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
