package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// processEnv makes the test binary a relay: its key and the issuer's, its address, and perhaps "single".
const processEnv = "WARREN_TEST_RELAY"

// beRelay relays until its standard input ends. It prints its addresses first.
func beRelay(args string) error {
	f := strings.Fields(args)
	k, err1 := key.ParseRelay(f[0])
	issuer, err2 := key.ParseServerPublic(f[1])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	cert, _, err := newCert()
	if err != nil {
		return err
	}
	s, err := New(Config{
		UDP: f[2], HTTPS: f[2], TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
		Key: k, Issuers: []key.ServerPublic{issuer},
	})
	if err != nil {
		return err
	}
	if len(f) > 3 {
		s.singly()
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println(s.UDPAddr(), s.HTTPSAddr())
	return s.Serve(ctx)
}

// relayProcess is a relay in a process of its own, so that its CPU time can be told from its clients'.
type relayProcess struct {
	cmd      *exec.Cmd
	stdin    io.Closer
	udp, web netip.AddrPort
}

func startProcess(b testing.TB, n *network, single bool) *relayProcess {
	b.Helper()
	args := n.key.Reveal() + " " + n.issuer.Public().String() + " " + net.JoinHostPort(n.host, "0")
	if single {
		args += " single"
	}
	p := &relayProcess{cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), processEnv+"="+args)
	p.cmd.Stderr = os.Stderr
	stdout, err1 := p.cmd.StdoutPipe()
	stdin, err2 := p.cmd.StdinPipe()
	if err := errors.Join(err1, err2, p.cmd.Start()); err != nil {
		b.Fatal(err)
	}
	p.stdin = stdin
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(line)
	p.udp, p.web = netip.MustParseAddrPort(f[0]), netip.MustParseAddrPort(f[1])
	return p
}

// stop ends the relay and gives the CPU seconds that it took.
func (p *relayProcess) stop() float64 {
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
	return (p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()).Seconds()
}

// BenchmarkRelayProcess is BenchmarkRelay with a relay in a process of its own: relay-cpu-s/GB is what it alone took.
func BenchmarkRelayProcess(b *testing.B) {
	for _, c := range []struct {
		name   string
		by     relay.Transport
		single bool
	}{
		{"UDP", relay.TransportUDP, false},
		{"UDP without the relay's offloads", relay.TransportUDP, true},
		{"WebSocket", relay.TransportWebSocket, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := newNetwork(b)
			p := startProcess(b, n, c.single)
			got := benchClients(b, n, p.by(b, c.by), c.by)
			b.ReportMetric(p.stop()/(got*benchPacket/1e9), "relay-cpu-s/GB")
		})
	}
}

// by gives what a client needs to reach the relay by a transport only.
func (p *relayProcess) by(t testing.TB, by relay.Transport) func(*relay.ClientConfig) {
	pin := p.pin(t)
	return func(cfg *relay.ClientConfig) {
		cfg.UDP, cfg.URL, cfg.Cert = p.udp.String(), "", pin
		if by == relay.TransportWebSocket {
			cfg.UDP, cfg.URL = "", fmt.Sprintf("https://%s%s", p.web, Path)
		}
	}
}

// cpu gives the processor time that the relay has used.
func (p *relayProcess) cpu(t testing.TB) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// utime and stime, the 12th and 13th field after the name, in hundredths of a second (proc_pid_stat(5)).
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rss gives the relay's resident memory in bytes.
func (p *relayProcess) rss(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// pin asks the relay for its certificate.
func (p *relayProcess) pin(b testing.TB) []byte {
	b.Helper()
	c, err := tls.Dial("tcp", p.web.String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	return sum(c.ConnectionState().PeerCertificates[0].Raw)
}
