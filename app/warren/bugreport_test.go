package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/app/internal/fake"
	"github.com/warren-mesh/warren/ipc"
)

// What must not be in a report, in a log as warrend and its host could write it.
var (
	secrets = []string{
		"node-private:" + strings.Repeat("4f1c", 16), "node:" + strings.Repeat("b07e", 16), "wk-7Hq0dGhpcyBpcyBhIHNlY3JldA", "hunter2", "c29tZSBzZWNyZXQgdGhhdCBpcyBsb25n/w==",
		"0123456789abcdef0123456789abcdef", "fakefakefakefakefakefA", "letmein", "sesame",
	}
	private = []string{
		"alice-laptop", "bob", "carol", "dave", "anna.berg@example.org", "anna", "203.0.113.7", "100.64.0.3", "fd7a::2", "fd7a::3", "192.168.7.23",
		"2001:db8:7::53", "fe80::1c2:3ff:fe04:506", "02:42:ac:11:00:02", "warren.example.org", "work.example", "lab.example", "demo", "coord.secret-company.example",
		"198.51.100.99",
	}
)

func secretLog() string {
	var b strings.Builder
	fmt.Fprintf(&b, "2026-01-02T03:04:05+0000 warrend[1]: level=INFO msg=asked key=%s public=%s auth-key=%s\n", secrets[0], secrets[1], secrets[2])
	fmt.Fprintf(&b, "password=%s secret: \"%s\" hash %s login https://coord.secret-company.example/login/%s?state=%s\n", secrets[3], secrets[4], secrets[5], secrets[6], secrets[7])
	fmt.Fprintf(&b, "proxy http://anna:%s@198.51.100.99:3128 peer bob (Bob's) BOB alice-laptop carol/dave\n", secrets[8])
	fmt.Fprintf(&b, "mail anna.berg@example.org from 203.0.113.7:41641, [2001:db8:7::53]:53 and fe80::1c2:3ff:fe04:506%%eth0: lost; via 192.168.7.23/24 02:42:ac:11:00:02\n")
	fmt.Fprintf(&b, "addr:fd7a::3 to ::ffff:203.0.113.7 by 100.64.0.3. network demo, user anna\n")
	return b.String()
}

// unpack reads an archive back.
func unpack(t *testing.T, text []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(h.Name, "warren-bugreport/")] = string(b)
	}
}

// TestAReportHoldsNoSecretAndNoName looks through a whole report for each secret, name and address that went into it.
func TestAReportHoldsNoSecretAndNoName(t *testing.T) {
	dir := t.TempDir()
	// A journal that holds it all.
	if err := os.WriteFile(filepath.Join(dir, "log"), []byte(secretLog()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte("#!/bin/sh\ncat "+dir+"/log\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("USER", "anna")
	d := fake.New()
	d.Edit(func(s *ipc.Status) {
		if err := s.Self.Key.UnmarshalText([]byte(secrets[1])); err != nil {
			t.Error(err)
		}
		s.Self.Endpoints = []ipc.Endpoint{{Addr: netip.MustParseAddrPort("192.168.7.23:41641"), Kind: "local"}}
		s.Problems = []ipc.Problem{{Code: ipc.ProblemCoord, Text: "coord.secret-company.example cannot be reached"}}
	})
	stop, err := d.Listen(filepath.Join(dir, "s"), ipc.LevelRead)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	c := ipc.NewClient(filepath.Join(dir, "s"))
	defer c.Close()
	now := time.Now()
	text, err := pack(gather(t.Context(), c, now), now)
	if err != nil {
		t.Fatal(err)
	}
	pages := unpack(t, text)
	for name, page := range pages {
		for _, forbidden := range append(secrets[:len(secrets):len(secrets)], private...) {
			if name == "os-release.txt" || name == "README.txt" {
				continue // the same on all machines
			}
			if strings.Contains(strings.ToLower(page), strings.ToLower(forbidden)) {
				t.Errorf("%s holds %q:\n%s", name, forbidden, page)
			}
		}
	}
	// What is left still tells who is who, and what happened.
	for name, want := range map[string]string{
		"versions.json": `"warrend": "fake"`, "status.json": `"state": "running"`, "netcheck.json": `"ipv4"`, "doctor.json": `"check": "tun"`, "prefs.json": `"up": true`,
		"log.txt": "level=INFO msg=asked", "profiles.json": `"profiles"`,
	} {
		if !strings.Contains(pages[name], want) {
			t.Errorf("%s lacks %s:\n%s", name, want, pages[name])
		}
	}
	if text := pages["log.txt"]; strings.Count(text, "public-1") < 2 {
		t.Errorf("an address that comes twice is not called the same twice:\n%s", text)
	}
}

func TestAddressesAreReplacedWhereverTheyStand(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var b [16]byte
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		a := netip.AddrFrom16(b)
		if random.IntN(2) == 0 {
			a = netip.AddrFrom4([4]byte(b[:4]))
		}
		if a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() {
			continue
		}
		for _, around := range []string{"%s", "at=%s", "(%s)", "[%s]:80", "%s: refused", "to %s.", "%s/24", `"%s"`, "%s,", "https://[%s]/x", "addr:%s", "%s%%eth0"} {
			text := fmt.Sprintf(around, a)
			if got := newScrubber().text(text); strings.Contains(got, a.String()) {
				t.Fatalf("%q became %q", text, got)
			}
		}
	}
}

// TestOddTextsLeakNothing has names, addresses and secrets in forms that are not the usual ones.
func TestOddTextsLeakNothing(t *testing.T) {
	s := newScrubber()
	s.learnFrom(plain(map[string]any{
		"server": "https://nas:8443", "suffix": "corp", "user": "jürgen@beispiel.de", "hostname": "(Anna's Laptop!)", "exitNodes": []string{"c3po", "c3po two"},
		"history": []any{map[string]any{"via": "frankfurt"}, map[string]any{"via": "203.0.113.9:41641"}}, "name": "ZOË", "dnsName": "bob.corp",
	}))
	s.learnHost("Desk.office.example")
	for text, forbidden := range map[string][]string{
		"İ BOB said to Zoë and zoË": {"bob", "zoë"}, "\xff\xfe BOB, C3PO": {"bob", "c3po"}, "C3PO TWO. bob_x bob-y": {"two", "bob"},
		"lookup nas on 10.0.0.53: no host in corp": {"nas", "corp"}, "desk: up, Jürgen is there, ANNA'S LAPTOP": {"desk", "jürgen", "laptop"}, "frankfurt's turn": {"frankfurt"},
		"mail to jürgen.müller@beispiel-ämter.de": {"jürgen", "müller", "beispiel", "mter"}, "at münchen.example or 例え.テスト": {"nchen", "mü", "例え", "テスト"},
		"iface:2001:db8:1:2:3:4:5:6 up": {"db8"}, "from 2001:db8:1:2:3:4:5:6:41641": {"db8"}, "fd7a::2..fd7a::3": {"fd7a"}, "dead:fd7a::3": {"fd7a"},
		"ip203.0.113.7_x, 203.0.113.7:1": {"203.0.113.7"}, `Authorization: Bearer s3same t2`: {"s3same", "t2"}, `Cookie: a=s3same; b=t2`: {"s3same", "t2"},
		`password="correct horse" next`: {"correct", "horse"}, `msg="{\"token\":\"s3same\"}"`: {"s3same"}, "warren up --auth-key s3same": {"s3same"},
		"psk: s3same, passphrase = t2x": {"s3same", "t2x"}, "http://anna:pa/ss@198.51.100.1/": {"anna", "pa/ss", "198"}, "http://a:p@ss@h": {"ss@h", "a:p"},
	} {
		got := s.text(text)
		for _, f := range forbidden {
			if strings.Contains(strings.ToLower(got), f) {
				t.Errorf("%q became %q, which has %q", text, got, f)
			}
		}
	}
	if got := s.text("at 03:04:05: lost 3 of 4; jürgens bobs c3po2"); got != "at 03:04:05: lost 3 of 4; jürgens bobs c3po2" {
		t.Errorf("what is nobody's name is gone: %q", got)
	}
}

// TestAReportOfALargeNetworkIsSoonMade: what is replaced is found in one walk through a text, however many names there are.
func TestAReportOfALargeNetworkIsSoonMade(t *testing.T) {
	s := newScrubber()
	for i := range 20000 {
		s.learn(fmt.Sprintf("machine%d", i))
	}
	text := s.text(strings.Repeat("time=now msg=\"MACHINE77 is away, machine19999 too\"\n", logLines))
	if strings.Contains(strings.ToLower(text), "machine") || strings.Count(text, "name-") != 2*logLines {
		t.Errorf("it begins with %q", text[:200])
	}
}

func TestWhatSaysNothingOfAnybodyStays(t *testing.T) {
	for _, text := range []string{
		"2026-01-02T03:04:05+0000 warrend[118]: level=INFO msg=\"warrend runs\" version=v0.9.0 socket=/run/warren/warrend.sock",
		"the session with the coordination server ended", "127.0.0.1:53 and ::1", "systemd-resolved.service and /etc/resolv.conf", "took 23:09:27",
		"relay-connected-again-after-a-while",
	} {
		if got := newScrubber().text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestAReportIsWrittenOnceForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r")
	if err := writeNew(path, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi, err)
	}
	if err := writeNew(path, nil); err == nil {
		t.Error("a file that was there was replaced")
	}
}

func TestAReportIsMadeWithoutADaemon(t *testing.T) {
	c := ipc.NewClient(filepath.Join(t.TempDir(), "none"))
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, p := range gather(ctx, c, time.Now()) {
		if p.name == "status.json" && strings.Contains(string(p.text), "not running") {
			return
		}
	}
	t.Error("status.json does not say that warrend is not running")
}
