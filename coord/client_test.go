package coord_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/coord/server"
	"go.uber.org/goleak"
)

// authority is the public authority of these tests.
var authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "roots")
	if err != nil {
		log.Fatal(err)
	}
	authority.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, _ := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &authority.key.PublicKey, authority.key)
	authority.cert, _ = x509.ParseCertificate(der)
	file := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		log.Fatal(err)
	}
	_ = os.Setenv("SSL_CERT_FILE", file) // read once, at the first verification
	_ = os.Setenv("SSL_CERT_DIR", dir)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { _ = os.RemoveAll(dir); os.Exit(code) }))
}

// certificate makes one for loopback, vouched for by the authority or by itself.
func certificate(t *testing.T, vouched bool, notAfter time.Time) tls.Certificate {
	t.Helper()
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := tmpl, k
	if vouched {
		parent, signer = authority.cert, authority.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &k.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

func tlsServer(t *testing.T, cert tls.Certificate, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// real runs a real server.
func real(t *testing.T, o server.Options) (*server.Server, string) {
	t.Helper()
	dir := t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := "https://" + ln.Addr().String()
	if err := server.Init(t.Context(), dir, server.InitOptions{URL: at}); err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, at
}

func connect(t *testing.T, at string, pin key.ServerPublic) (*coord.Client, error) {
	t.Helper()
	c, err := coord.NewClient(coord.ClientConfig{URL: at, Pin: pin, Machine: key.NewMachine()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	_, err = c.Connect(t.Context())
	return c, err
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got  %v\nwant %v", err, want)
	} else {
		t.Log(err)
	}
}

// troubled wants an error to have words of its own in other languages.
func troubled(t *testing.T, err error, code string, about ...string) {
	t.Helper()
	var got *coord.Trouble
	if !errors.As(err, &got) || got.Code != code || !slices.Equal(got.About, about) || !strings.Contains(got.Error(), got.Host) || got.Host == "" {
		t.Errorf("%v is %+v, want %s %q", err, got, code, about)
	}
}

func TestThePinVouchesForASelfSignedServer(t *testing.T) {
	s, at := real(t, server.Options{})
	if _, err := connect(t, at, s.Key()); err != nil {
		t.Error(err)
	}
	c, err := connect(t, coord.FormatInvite(at, s.Key()), key.ServerPublic{})
	if err != nil || c.Server() != s.Key() {
		t.Errorf("with the invite link: %v", err)
	}
	c, err = connect(t, at, key.ServerPublic{})
	wants(t, err, coord.ErrUnverified)
	if !strings.Contains(err.Error(), s.Key().String()) {
		t.Errorf("what --server-key needs is not in %q", err)
	}
	troubled(t, err, coord.TroubleUnverified, s.Key().String())
	if !c.Server().IsZero() {
		t.Error("a server that nobody vouches for was pinned")
	}
	other := key.NewServer().Public()
	_, err = connect(t, at, other)
	wants(t, err, coord.ErrWrongServer)
	troubled(t, err, coord.TroubleWrongServer, s.Key().Short(), other.Short())
}

func TestAPublicAuthorityVouchesAtFirstContact(t *testing.T) {
	s, behind := real(t, server.Options{BehindProxy: true})
	target, _ := url.Parse("http://" + strings.TrimPrefix(behind, "https://"))
	proxy := func(cert tls.Certificate) string {
		return tlsServer(t, cert, httputil.NewSingleHostReverseProxy(target))
	}
	soon := time.Now().Add(time.Hour)
	c, err := connect(t, proxy(certificate(t, true, soon)), key.ServerPublic{})
	if err != nil || c.Server() != s.Key() {
		t.Errorf("learned %v, %v", c.Server(), err)
	}
	if _, err := connect(t, proxy(certificate(t, true, soon)), s.Key()); err != nil {
		t.Errorf("with the pin: %v", err)
	}
	_, err = connect(t, proxy(certificate(t, true, soon)), key.NewServer().Public())
	wants(t, err, coord.ErrWrongServer)
	_, err = connect(t, proxy(certificate(t, false, soon)), s.Key())
	wants(t, err, coord.ErrForged)
	troubled(t, err, coord.TroubleForged)
	_, err = connect(t, proxy(certificate(t, true, time.Now().Add(-time.Hour))), key.ServerPublic{})
	wants(t, err, coord.ErrUnverified)
}

// fake answers a hello as it likes.
func fake(t *testing.T, cert tls.Certificate, answer func(nonce []byte) *coord.Hello) string {
	return tlsServer(t, cert, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req coord.HelloRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer(req.Nonce))
	}))
}

func TestForgedHellosAreRefused(t *testing.T) {
	cert := certificate(t, false, time.Now().Add(time.Hour))
	sum := sha256.Sum256(cert.Certificate[0])
	known := key.NewServer()
	hello := func() *coord.Hello {
		return &coord.Hello{
			Nonce: make([]byte, coord.NonceSize), Cert: sum[:], Challenge: key.NewChallenge().Public(), Time: time.Now(),
		}
	}
	for name, answer := range map[string]func(nonce []byte) *coord.Hello{
		"signed by another": func(n []byte) *coord.Hello {
			h := hello()
			h.Sign(key.NewServer(), n)
			h.Server = known.Public()
			return h
		},
		"for another nonce": func([]byte) *coord.Hello { h := hello(); h.Sign(known, []byte("old")); return h },
		"of another certificate": func(n []byte) *coord.Hello {
			h := hello()
			h.Cert = make([]byte, 32)
			h.Sign(known, n)
			return h
		},
		"with another challenge": func(n []byte) *coord.Hello {
			h := hello()
			h.Sign(known, n)
			h.Challenge = key.NewChallenge().Public()
			return h
		},
		"of no certificate": func(n []byte) *coord.Hello { h := hello(); h.Cert = nil; h.Sign(known, n); return h },
	} {
		_, err := connect(t, fake(t, cert, answer), known.Public())
		if !errors.Is(err, coord.ErrForged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The control: the same hello, whole, is taken; only the session then fails.
	_, err := connect(t, fake(t, cert, func(n []byte) *coord.Hello { h := hello(); h.Sign(known, n); return h }), known.Public())
	wants(t, err, coord.ErrNotWarren)
}

func TestTheClockIsBlamedOnlyForCertificates(t *testing.T) {
	off := func(known key.Server, cert tls.Certificate) func(n []byte) *coord.Hello {
		return func(n []byte) *coord.Hello {
			h := &coord.Hello{Nonce: make([]byte, coord.NonceSize), Time: time.Now().Add(-3 * 365 * 24 * time.Hour)}
			sum := sha256.Sum256(cert.Certificate[0])
			h.Cert = sum[:]
			h.Sign(known, n)
			return h
		}
	}
	known := key.NewServer()
	old := certificate(t, true, time.Now().Add(-3*365*24*time.Hour))
	_, err := connect(t, fake(t, old, off(known, old)), key.ServerPublic{})
	if err == nil || !strings.Contains(err.Error(), "clock is 1095 days ahead of") {
		t.Errorf("got %v", err)
	}
	troubled(t, err, coord.TroubleClock, "1095")
	own := certificate(t, false, time.Now().Add(-3*365*24*time.Hour))
	_, err = connect(t, fake(t, own, off(known, own)), known.Public())
	wants(t, err, coord.ErrNotWarren) // the pin vouches: only the session is missing here
}

func TestWhatIsNoServerIsNamed(t *testing.T) {
	good := certificate(t, true, time.Now().Add(time.Hour))
	html := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<h1>It works!</h1>")
	})
	_, err := connect(t, tlsServer(t, good, html), key.ServerPublic{})
	wants(t, err, coord.ErrNotWarren)
	_, err = connect(t, tlsServer(t, good, http.RedirectHandler("https://example.org/", http.StatusFound)), key.ServerPublic{})
	wants(t, err, coord.ErrNotWarren)
	endless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < 1<<12; i++ {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<10)); err != nil {
				return
			}
		}
	})
	_, err = connect(t, tlsServer(t, good, endless), key.ServerPublic{})
	wants(t, err, coord.ErrNotWarren)

	plain := httptest.NewServer(html)
	defer plain.Close()
	_, err = connect(t, strings.Replace(plain.URL, "http:", "https:", 1), key.ServerPublic{})
	wants(t, err, coord.ErrNotWarren)
	troubled(t, err, coord.TroubleNotWarren)
	_, err = connect(t, tlsServer(t, good, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })), key.ServerPublic{})
	troubled(t, err, coord.TroubleAway)
	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	_ = ln.Close()
	_, err = connect(t, "https://"+ln.Addr().String(), key.ServerPublic{})
	wants(t, err, coord.ErrUnreachable)
	troubled(t, err, coord.TroubleRefused)
	_, err = connect(t, "https://no-such-host.invalid", key.ServerPublic{})
	wants(t, err, coord.ErrUnreachable)

	for name, answer := range map[string]func(net.Conn, *tls.Config){
		"before TLS": func(c net.Conn, _ *tls.Config) { _ = c.Close() },
		"late for its turn": func(c net.Conn, cfg *tls.Config) {
			cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("too many") }
			_ = tls.Server(c, cfg).Handshake()
		},
		"before the request": func(c net.Conn, cfg *tls.Config) {
			s := tls.Server(c, cfg)
			_ = s.Handshake()
			_, _ = s.Read(make([]byte, 1))
			_ = s.Close()
		},
	} {
		busy, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		work.Go(func() {
			for {
				c, err := busy.Accept()
				if err != nil {
					return
				}
				answer(c, &tls.Config{Certificates: []tls.Certificate{good}})
				_ = c.Close()
			}
		})
		_, err = connect(t, "https://"+busy.Addr().String(), key.ServerPublic{})
		_ = busy.Close()
		work.Wait()
		wants(t, err, coord.ErrUnreachable)
		if troubled(t, err, coord.TroubleDropped); !strings.Contains(err.Error(), "Try again in a minute") {
			t.Errorf("%s: %v", name, err)
		}
	}

	old := httptest.NewUnstartedServer(html)
	old.TLS = &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.StartTLS()
	defer old.Close()
	_, err = connect(t, old.URL, key.ServerPublic{})
	wants(t, err, coord.ErrUnreachable)
	troubled(t, err, coord.TroubleTLS)
	if !strings.Contains(err.Error(), "TLS 1.3") {
		t.Errorf("got %v", err)
	}
}

// wire keeps what passes between client and server, and can answer in its place.
type wire struct {
	next   http.Handler
	bodies map[string][]byte
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func (p *wire) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	p.bodies[r.URL.Path] = text
	r.Body = io.NopCloser(bytes.NewReader(text))
	if p.answer == nil || !p.answer(w, r) {
		p.next.ServeHTTP(w, r)
	}
}

func TestASessionServesOnceAndIsReplacedWhenOver(t *testing.T) {
	s, behind := real(t, server.Options{BehindProxy: true})
	target, _ := url.Parse("http://" + strings.TrimPrefix(behind, "https://"))
	p := &wire{next: httputil.NewSingleHostReverseProxy(target), bodies: map[string][]byte{}}
	at := tlsServer(t, certificate(t, true, time.Now().Add(time.Hour)), p)
	c, err := connect(t, at, s.Key())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+target.Host+coord.PathSession, "application/json", bytes.NewReader(p.bodies[coord.PathSession]))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a replayed session request was answered %s", resp.Status)
	}
	http.DefaultClient.CloseIdleConnections()

	// The session is over once: the client starts another, and tells nobody.
	k, _, err := s.CreateKey(t.Context(), server.KeyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	refusals := 0
	p.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != coord.PathRegister || refusals > 0 {
			return false
		}
		refusals++
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":{"code":"no-session","message":"over"}}`)
		return true
	}
	reply, err := c.Register(t.Context(), key.NewNode(), coord.RegisterRequest{Hostname: "m", AuthKey: k})
	if err != nil || !reply.Registered || refusals != 1 {
		t.Errorf("Register = %+v, %v after %d refusals", reply, err, refusals)
	}
	// Over again and again: that is the answer.
	p.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != coord.PathNode {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, `{"error":{"code":"no-session","message":"over\u001b[31m%s"}}`, strings.Repeat("x", 1000))
		return true
	}
	err = c.Update(t.Context(), coord.NodeUpdate{})
	wants(t, err, &coord.Error{Code: coord.CodeNoSession})
	if strings.ContainsRune(err.Error(), 0x1b) || len(err.Error()) > 400 {
		t.Errorf("the server's text was passed on as it is: %q", err)
	}
	// A line that another server signed is not applied.
	p.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != coord.PathNetmap {
			return false
		}
		w.Header().Set("Content-Type", "application/json-lines")
		line := coord.Line{Seq: 1, Body: []byte(`{"full":{}}`)}
		_, _ = w.Write(line.Append([]byte("\n"), key.NewServer(), coord.Stream{}))
		return true
	}
	wants(t, c.Netmap(t.Context(), nil, func(*coord.Netmap) error { t.Error("a forged netmap came through"); return nil }), coord.ErrForged)
}

func TestServersAreNamedInManyWays(t *testing.T) {
	pin := key.NewServer().Public()
	for text, want := range map[string]string{
		"coord.example.org": "https://coord.example.org", "COORD.example.org:443": "https://coord.example.org",
		"https://coord:8443/": "https://coord:8443", " 192.0.2.1:8443 ": "https://192.0.2.1:8443",
		"https://[2001:db8::1]": "https://[2001:db8::1]", "[::1]:8443": "https://[::1]:8443",
		"https://[2001:DB8:0:0::1]:0443": "https://[2001:db8::1]", "[::ffff:192.0.2.1]:08443": "https://192.0.2.1:8443",
		"coord.example.org.:08443": "https://coord.example.org:8443", "https://coord./": "https://coord.",
		coord.FormatInvite("https://coord:8443", pin): "https://coord:8443",
	} {
		got, p, err := coord.ParseServer(text)
		if err != nil || got != want {
			t.Errorf("%q read as %q, %v", text, got, err)
		}
		if strings.Contains(text, "#") != (p == pin) {
			t.Errorf("%q gave the pin %v", text, p)
		}
	}
	for _, bad := range []string{
		"", "http://coord", "ftp://coord", "https://", "https://user@coord", "https://coord/path", "https://coord?x=1", "https://coord:0",
		"https://coord:99999", "https://coord:", "https://-coord", "https://coord#server:12", "https://coord#node:" + strings.Repeat("a", 64),
		"https://co ord", "https://coord\x00", "https://coord/../join", "--help", strings.Repeat("a", 600), "https://fe80::1%25eth0",
	} {
		if got, _, err := coord.ParseServer(bad); !errors.Is(err, coord.ErrInvalid) {
			t.Errorf("%q read as %q, %v", bad, got, err)
		}
	}
}

func FuzzParseServer(f *testing.F) {
	for _, text := range []string{"coord.example.org", "https://[::1]:8443/join#server:00", coord.FormatInvite("https://a:1", key.NewServer().Public())} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, pin, err := coord.ParseServer(text)
		if err != nil {
			return
		}
		again, same, err := coord.ParseServer(coord.FormatInvite(at, pin))
		if !pin.IsZero() && (err != nil || again != at || same != pin) {
			t.Errorf("%q read as %q, and that as %q, %v", text, at, again, err)
		}
		if u, err := url.Parse(at); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" {
			t.Errorf("%q read as %q", text, at)
		}
	})
}

func FuzzParseLine(f *testing.F) {
	server, me := key.NewServer(), coord.Stream{Machine: key.NewMachine().Public(), Nonce: make([]byte, coord.NonceSize)}
	f.Add([]byte(`{"full":{"seq":1,"network":{"name":"a","suffix":"b","ipv4":"100.64.0.0/10","ipv6":"fd00::/48"},"self":{"id":1},"peers":[]}}`), uint64(0))
	f.Add([]byte(`{"changes":[{"remove":2},{"upsert":{"id":3,"name":"x","addrs":["100.64.0.3"]}},{"relays":[]}]}`), uint64(1))
	f.Fuzz(func(t *testing.T, body []byte, prev uint64) {
		if _, err := coord.ParseLine(body, server.Public(), me); err == nil {
			t.Fatal("an unsigned line was taken")
		}
		if bytes.ContainsRune(body, '\n') || bytes.HasPrefix(body, []byte("#")) {
			return // no body of ours
		}
		line := coord.Line{Seq: prev + 1, Prev: prev, Body: body}
		l, err := coord.ParseLine(line.Append(nil, server, me), server.Public(), me)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := l.Advance(&coord.Netmap{Seq: 1}); err == nil && m.Validate() != nil {
			t.Error("an invalid netmap was taken")
		}
	})
}
