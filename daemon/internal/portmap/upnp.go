package portmap

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// UPnP (UPnP Device Architecture 1.1; WANIPConnection:1 and :2).
const (
	ssdpPort = 1900
	ssdpAll  = "239.255.255.250" // where every device of the LAN listens

	maxBody = 256 << 10 // bytes of a device's description or answer

	upnpName = "Warren" // what the router's page shows beside the port

	upnpOnlyPermanent = 725 // error: OnlyPermanentLeasesSupported
)

// services are what gives out ports, the best first.
var services = []string{
	"urn:schemas-upnp-org:service:WANIPConnection:2",
	"urn:schemas-upnp-org:service:WANIPConnection:1",
	"urn:schemas-upnp-org:service:WANPPPConnection:1",
}

// ssdpRequest looks for gateways (UDA 1.1, section 1.3).
func ssdpRequest(to netip.AddrPort, what string) []byte {
	return fmt.Appendf(nil, "M-SEARCH * HTTP/1.1\r\nHOST: %s\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: %s\r\n\r\n", to, what)
}

// parseSSDP gives where the device describes itself. It must be at the router's own address.
func parseSSDP(b []byte, router netip.Addr) (*url.URL, bool) {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil || r.StatusCode != http.StatusOK {
		return nil, false
	}
	defer r.Body.Close()
	if st := r.Header.Get("St"); !strings.Contains(st, "InternetGatewayDevice") {
		return nil, false
	}
	return atRouter(r.Header.Get("Location"), router)
}

// atRouter reads a URL that must lead to the router.
func atRouter(s string, router netip.Addr) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.User != nil {
		return nil, false
	}
	host, err := netip.ParseAddr(u.Hostname())
	return u, err == nil && host.Unmap() == router
}

// service is where a device is asked for ports.
type service struct {
	kind string
	url  *url.URL
	name string // the device's, as it calls itself
}

// device is a description, as far as it matters.
type device struct {
	Name     string   `xml:"friendlyName"`
	Devices  []device `xml:"deviceList>device"`
	Services []struct {
		Kind    string `xml:"serviceType"`
		Control string `xml:"controlURL"`
	} `xml:"serviceList>service"`
}

// parseDevice finds the best service of a description that came from base.
func parseDevice(b []byte, base *url.URL, router netip.Addr) (service, error) {
	var root struct {
		Base   string `xml:"URLBase"`
		Device device `xml:"device"`
	}
	if err := xml.Unmarshal(b, &root); err != nil {
		return service{}, errors.New("its description cannot be read")
	}
	if u, ok := atRouter(root.Base, router); ok {
		base = u
	}
	for _, kind := range services {
		if control := root.Device.find(kind, 0); control != "" {
			ref, err := url.Parse(control)
			if err != nil {
				continue
			}
			if u, ok := atRouter(base.ResolveReference(ref).String(), router); ok {
				return service{kind, u, root.Device.Name}, nil
			}
		}
	}
	return service{}, errors.New("it has no service that gives out ports")
}

func (d *device) find(kind string, depth int) string {
	for _, s := range d.Services {
		if s.Kind == kind {
			return s.Control
		}
	}
	for i := range d.Devices {
		if depth < 8 {
			if c := d.Devices[i].find(kind, depth+1); c != "" {
				return c
			}
		}
	}
	return ""
}

// findService asks the router for its service.
func (r Router) findService(ctx context.Context) (service, error) {
	conn, err := r.listen(ctx)
	if err != nil {
		return service{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(r.Addr, ssdpPort), netip.AddrPortFrom(netip.MustParseAddr(ssdpAll), ssdpPort)} {
		for _, what := range []string{"urn:schemas-upnp-org:device:InternetGatewayDevice:2", "urn:schemas-upnp-org:device:InternetGatewayDevice:1"} {
			_, _ = conn.WriteToUDPAddrPort(ssdpRequest(to, what), to)
		}
	}
	b := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return service{}, errNoAnswer
		}
		if from.Addr().Unmap() != r.Addr {
			continue
		}
		at, ok := parseSSDP(b[:n], r.Addr)
		if !ok {
			continue
		}
		text, err := r.http(ctx, http.MethodGet, at, "", nil)
		if err != nil {
			return service{}, err
		}
		return parseDevice(text, at, r.Addr)
	}
}

// http asks the router, and nobody else: redirects are not followed.
func (r Router) http(ctx context.Context, method string, at *url.URL, action string, body []byte) ([]byte, error) {
	d := net.Dialer{Control: r.Control}
	c := http.Client{
		Transport:     &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	q, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if action != "" {
		q.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
		q.Header["SOAPAction"] = []string{strconv.Quote(action)} // some routers want these very letters
	}
	a, err := c.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, maxBody))
	if err == nil && a.StatusCode != http.StatusOK {
		return text, fmt.Errorf("%w: %s", errRefused, soapError(text, a.Status))
	}
	return text, err
}

// soapError reads what a router complains of.
func soapError(b []byte, status string) string {
	if code := soapValue(b, "errorCode"); code != "" {
		return strings.TrimSpace("UPnP error " + code + " " + soapValue(b, "errorDescription"))
	}
	return status
}

// soapValue finds the text of the first element of the name.
func soapValue(b []byte, name string) string {
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		t, err := d.Token()
		if err != nil {
			return ""
		}
		if start, ok := t.(xml.StartElement); ok && start.Name.Local == name {
			var text string
			if d.DecodeElement(&text, &start) != nil {
				return ""
			}
			return strings.TrimSpace(text)
		}
	}
}

// soap calls an action of the service. Arguments are name, value, name, value...
func (r Router) soap(ctx context.Context, s service, action string, args ...string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>`)
	fmt.Fprintf(&b, `<u:%s xmlns:u="%s">`, action, s.kind)
	for i := 0; i+1 < len(args); i += 2 {
		fmt.Fprintf(&b, "<%s>", args[i])
		_ = xml.EscapeText(&b, []byte(args[i+1]))
		fmt.Fprintf(&b, "</%s>", args[i])
	}
	fmt.Fprintf(&b, `</u:%s></s:Body></s:Envelope>`, action)
	return r.http(ctx, http.MethodPost, s.url, s.kind+"#"+action, b.Bytes())
}

// mapUPnP asks for a port: our own number first, since only that is easy to remember, and then others.
func (r Router) mapUPnP(ctx context.Context, s service, port, suggest uint16) (Mapping, error) {
	text, err := r.soap(ctx, s, "GetExternalIPAddress")
	if err != nil {
		return Mapping{}, err
	}
	external, err := netip.ParseAddr(soapValue(text, "NewExternalIPAddress"))
	if err != nil {
		return Mapping{}, fmt.Errorf("%w: it has no address of its own yet", errRefused)
	}
	lease := lifetimeWanted
	for _, try := range []uint16{suggest, port, port + 1000, port + 2000, 0} {
		if try == 0 {
			continue
		}
		_, err = r.addUPnP(ctx, s, port, try, lease)
		if err != nil && strings.Contains(err.Error(), strconv.Itoa(upnpOnlyPermanent)) {
			// It keeps ports until they are given back. Ours is given back at the end, and asked for anew as if it ended.
			_, err = r.addUPnP(ctx, s, port, try, 0)
		}
		if err == nil {
			return granted(external, try, lease)
		}
		if !errors.Is(err, errRefused) {
			break
		}
	}
	return Mapping{}, err
}

func (r Router) addUPnP(ctx context.Context, s service, port, external uint16, lease time.Duration) ([]byte, error) {
	return r.soap(ctx, s, "AddPortMapping",
		"NewRemoteHost", "", "NewExternalPort", strconv.Itoa(int(external)), "NewProtocol", "UDP",
		"NewInternalPort", strconv.Itoa(int(port)), "NewInternalClient", r.Self.String(), "NewEnabled", "1",
		"NewPortMappingDescription", upnpName, "NewLeaseDuration", strconv.Itoa(int(lease/time.Second)))
}

func (r Router) deleteUPnP(ctx context.Context, s service, external uint16) error {
	_, err := r.soap(ctx, s, "DeletePortMapping", "NewRemoteHost", "", "NewExternalPort", strconv.Itoa(int(external)), "NewProtocol", "UDP")
	return err
}
