package portmap

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

var (
	self   = netip.MustParseAddrPort("192.168.1.10:41641")
	router = netip.MustParseAddr("192.168.1.1")
	outer  = netip.MustParseAddrPort("203.0.113.7:41641")
)

// pcpAnswer is what a router answers to a request for a port (RFC 6887, figures 3 and 10).
func pcpAnswer(request []byte, code byte, at netip.AddrPort, lifetime uint32) []byte {
	b := append([]byte(nil), request...)
	b[1] |= pcpReply
	b[2], b[3] = 0, code
	binary.BigEndian.PutUint32(b[4:], lifetime)
	clear(b[8:pcpHeader])
	a := at.Addr().As16()
	binary.BigEndian.PutUint16(b[pcpHeader+18:], at.Port())
	copy(b[pcpHeader+20:], a[:])
	return b
}

func TestPCPGrantsAreRead(t *testing.T) {
	n := nonce{1, 2, 3}
	request := appendPCPMap(nil, n, self, netip.AddrPort{}, 2*time.Hour)
	if len(request) != pcpHeader+pcpMapSize || request[0] != 2 || request[1] != 1 || binary.BigEndian.Uint32(request[4:]) != 7200 ||
		netip.AddrFrom16([16]byte(request[8:24])).Unmap() != self.Addr() || request[36] != 17 || binary.BigEndian.Uint16(request[40:]) != self.Port() {
		t.Fatalf("request % x", request)
	}
	m, err := parsePCPMap(pcpAnswer(request, 0, outer, 3600), n, self.Port())
	if err != nil || m.External != outer || m.Lifetime != time.Hour {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := parsePCPMap(pcpAnswer(request, 2, outer, 30), n, self.Port()); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "not authorized") {
		t.Errorf("refused: %v", err)
	}
	for name, b := range map[string][]byte{
		"another's nonce": pcpAnswer(appendPCPMap(nil, nonce{9}, self, netip.AddrPort{}, time.Hour), 0, outer, 3600),
		"another's port":  pcpAnswer(appendPCPMap(nil, n, netip.AddrPortFrom(self.Addr(), 9), netip.AddrPort{}, time.Hour), 0, outer, 3600),
		"a request":       request,
		"short":           pcpAnswer(request, 0, outer, 3600)[:40],
	} {
		if m, err := parsePCPMap(b, n, self.Port()); !errors.Is(err, errNoAnswer) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	for _, at := range []string{"0.0.0.0:5", "127.0.0.1:5", "224.0.0.1:5", "203.0.113.7:0"} {
		if m, err := parsePCPMap(pcpAnswer(request, 0, netip.MustParseAddrPort(at), 3600), n, self.Port()); err == nil {
			t.Errorf("%s was taken: %+v", at, m)
		}
	}
	if m, _ := parsePCPMap(pcpAnswer(request, 0, outer, 1<<32-1), n, self.Port()); m.Lifetime != lifetimeMost {
		t.Errorf("a lifetime of %v", m.Lifetime)
	}
}

func TestNATPMPGrantsAreRead(t *testing.T) {
	addr, err := parseNATPMPExternal([]byte{0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7})
	if err != nil || addr != outer.Addr() {
		t.Errorf("%v, %v", addr, err)
	}
	request := appendNATPMPMap(nil, 41641, 41641, 2*time.Hour)
	answer := []byte{0, 129, 0, 0, 0, 0, 0, 9, 0xa2, 0xa9, 0x10, 0x00, 0, 0, 0x0e, 0x10}
	if port, life, err := parseNATPMPMap(answer, 41641); len(request) != 12 || err != nil || port != 4096 || life != time.Hour {
		t.Errorf("%d %v %v", port, life, err)
	}
	if _, _, err := parseNATPMPMap(answer, 1); !errors.Is(err, errNoAnswer) {
		t.Errorf("another's port: %v", err)
	}
	if _, err := parseNATPMPExternal([]byte{0, 128, 0, 2, 0, 0, 0, 9}); !errors.Is(err, errRefused) {
		t.Errorf("refused: %v", err)
	}
}

const description = `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><friendlyName>Box</friendlyName>
<deviceList><device><deviceList><device><serviceList>
<service><serviceType>urn:schemas-upnp-org:service:WANPPPConnection:1</serviceType><controlURL>/ppp</controlURL></service>
<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>/ip</controlURL></service>
</serviceList></device></deviceList></device></deviceList></device></root>`

func TestOnlyTheRouterItselfIsAsked(t *testing.T) {
	answer := func(location string) []byte {
		return []byte("HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: " + location + "\r\n\r\n")
	}
	base, ok := parseSSDP(answer("http://192.168.1.1:5000/desc.xml"), router)
	if !ok {
		t.Fatal("the router's answer is not taken")
	}
	for _, at := range []string{"http://192.168.1.2:5000/", "http://router.lan/", "https://192.168.1.1/", "http://u:p@192.168.1.1/", "file:///etc/passwd", ""} {
		if u, ok := parseSSDP(answer(at), router); ok {
			t.Errorf("%q leads to %v", at, u)
		}
	}
	s, err := parseDevice([]byte(description), base, router)
	if err != nil || s.kind != services[1] || s.url.String() != "http://192.168.1.1:5000/ip" || s.name != "Box" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, elsewhere := range []string{"http://198.51.100.1/ip", "//198.51.100.1/ip", "file:///ip"} {
		if s, err := parseDevice([]byte(strings.Replace(description, ">/ip<", ">"+elsewhere+"<", 1)), base, router); err == nil && s.url.Hostname() != router.String() {
			t.Errorf("%s: %+v", elsewhere, s)
		}
	}
}

func TestARoutersComplaintIsRead(t *testing.T) {
	b := []byte(`<s:Envelope><s:Body><s:Fault><detail><UPnPError><errorCode>725</errorCode><errorDescription>OnlyPermanent</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>`)
	if e := soapError(b, "500"); e != "UPnP error 725 OnlyPermanent" {
		t.Errorf("%q", e)
	}
	if e := soapError([]byte("<"), "500 Sorry"); e != "500 Sorry" {
		t.Errorf("%q", e)
	}
}

func FuzzRouter(f *testing.F) {
	n := nonce{1}
	request := appendPCPMap(nil, n, self, outer, time.Hour)
	f.Add(pcpAnswer(request, 0, outer, 3600))
	f.Add([]byte{0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7})
	f.Add([]byte(description))
	f.Add([]byte("HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://192.168.1.1/\r\n\r\n"))
	base, _ := url.Parse("http://192.168.1.1/")
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parsePCPMap(b, n, 41641); err == nil && (!m.External.IsValid() || m.Lifetime <= 0 || m.Lifetime > lifetimeMost) {
			t.Errorf("%+v", m)
		}
		_, _ = parseNATPMPExternal(b)
		_, _, _ = parseNATPMPMap(b, 41641)
		if u, ok := parseSSDP(b, router); ok && u.Hostname() != router.String() {
			t.Errorf("%v", u)
		}
		if s, err := parseDevice(b, base, router); err == nil && s.url.Hostname() != router.String() {
			t.Errorf("%v", s.url)
		}
		_ = soapError(b, "")
	})
}
