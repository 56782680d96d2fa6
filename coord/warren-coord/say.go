package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/server"
	"github.com/warren-mesh/warren/relay"
)

// certPatience is how long the words of the start wait for a certificate from an authority.
const certPatience = time.Minute

func sayInit(w io.Writer, e *env, s *server.Server) {
	invite := coord.FormatInvite(s.URL(), s.Key())
	if e.json {
		_ = json.NewEncoder(w).Encode(map[string]string{"url": s.URL(), "server": s.Key().String(), "invite": invite})
		return
	}
	_, _ = fmt.Fprintf(w, textInit, s.Network().Name, e.dir, s.URL(), s.Key().Short(), invite)
}

// sayFresh tells what was set up, and what was chosen.
func sayFresh(ctx context.Context, w io.Writer, dir string, s *server.Server, f *serveFlags) {
	_, _ = fmt.Fprintf(w, textFresh, s.Network().Name, dir, s.URL(), why(ctx, s.URL(), f), s.Key().Short(), ports(s.URL(), f))
}

// why says why the server calls itself as it does, and how to change that.
func why(ctx context.Context, address string, f *serveFlags) string {
	u, err := url.Parse(address)
	if f.url != "" || f.domain != "" || err != nil {
		return ""
	}
	a, err := netip.ParseAddr(u.Hostname())
	host, kind := server.OwnHost(ctx)
	switch {
	case err == nil && a.IsLoopback():
		return textWhyLoopback
	case host != u.Hostname():
		return textWhyListen
	case kind == server.HostName:
		return textWhyName
	case kind == server.HostPrivate:
		return textWhyPrivate
	}
	return textWhyPublic
}

// ports says what has to be open.
func ports(address string, f *serveFlags) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	tcp := u.Port()
	if tcp == "" {
		tcp = "443"
	}
	if _, udp, err := net.SplitHostPort(f.relayUDP); err == nil {
		port, _ := strconv.ParseUint(udp, 10, 16)
		return fmt.Sprintf(textPorts, tcp, udp, relay.STUNOtherPort(uint16(port)))
	}
	return fmt.Sprintf(textPort, tcp)
}

// sayReady tells when the server serves, and what comes next.
func sayReady(ctx context.Context, w io.Writer, s *server.Server, f *serveFlags) error {
	select {
	case <-s.Serving():
	case <-ctx.Done():
		select {
		case <-s.Serving():
		default:
			return nil
		}
	}
	if was := s.MovedFrom(); was != "" {
		_, _ = fmt.Fprintf(w, textMoved, s.URL(), was)
	}
	if f.domain != "" {
		sayCertificate(ctx, w, s, f)
	}
	link, err := s.SetupLink(context.WithoutCancel(ctx)) // also for one who stops it at once: it was ready
	if err != nil {
		return err
	}
	switch {
	case link == "":
	case os.Getenv("JOURNAL_STREAM") != "": // of systemd: what is printed is kept, and others may read it
		_, _ = io.WriteString(w, textSetupHidden)
	default:
		_, _ = fmt.Fprintf(w, textSetup, link)
		if f.cert == "" && !f.proxied && f.domain == "" {
			hash := strings.ReplaceAll(fmt.Sprintf("% X", s.CertHash()), " ", ":")
			_, _ = fmt.Fprintf(w, textOwnCert, hash)
		}
	}
	_, _ = fmt.Fprintf(w, textReady, s.URL())
	return nil
}

// sayCertificate waits for the authority's certificate, and tells what came of it.
func sayCertificate(ctx context.Context, w io.Writer, s *server.Server, f *serveFlags) {
	began := time.Now()
	slow := time.AfterFunc(300*time.Millisecond, func() { _, _ = fmt.Fprintf(w, textCertAsked, f.domain) })
	wait, done := context.WithTimeout(ctx, certPatience)
	defer done()
	err := s.WaitACME(wait)
	late := !slow.Stop()
	switch {
	case ctx.Err() != nil:
	case err != nil:
		_, _ = fmt.Fprintf(w, textCertFailed, f.domain, err)
	case late:
		_, _ = fmt.Fprintf(w, textCertThere, time.Since(began).Seconds())
	}
}
