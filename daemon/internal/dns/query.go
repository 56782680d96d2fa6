package dns

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	mdns "github.com/miekg/dns"
	"golang.org/x/net/idna"

	"github.com/warren-mesh/warren/daemon/internal/dns/zone"
	"github.com/warren-mesh/warren/ipc"
)

// Query asks as the host's programs are answered, on behalf of a person. An address is asked for its name.
func (d *DNS) Query(ctx context.Context, q ipc.DNSQuery) (*ipc.DNSAnswer, error) {
	name, kind := q.Name, strings.ToUpper(q.Type)
	if a, err := netip.ParseAddr(name); err == nil {
		name = zone.ReverseName(a.Unmap().WithZone(""))
		if kind == "" {
			kind = "PTR"
		}
	}
	if kind == "" {
		kind = "A"
	}
	t, known := mdns.StringToType[kind]
	if !known || t == mdns.TypeAXFR || t == mdns.TypeIXFR || t == mdns.TypeOPT {
		return nil, &ipc.Error{
			Status: http.StatusBadRequest, Code: ipc.CodeBadRequest, Message: fmt.Sprintf("%.20q is no type of DNS records.", q.Type),
			Fix: "Give one such as A, AAAA, CNAME, MX, PTR, SRV or TXT",
		}
	}
	name, ok := ascii(name)
	if _, is := mdns.IsDomainName(name); !ok || !is || name == "" || len(name) > 255 {
		return nil, &ipc.Error{
			Status: http.StatusBadRequest, Code: ipc.CodeBadRequest, Message: fmt.Sprintf("%.100q is no name.", q.Name),
			Fix: "Give a machine's name, such as den, or any other, such as www.example.org",
		}
	}
	began := time.Now()
	a := d.resolver.Lookup(ctx, name, t)
	out := &ipc.DNSAnswer{Code: mdns.RcodeToString[a.Msg.Rcode], Records: []string{}, From: a.From, Took: ipc.Millis(time.Since(began))}
	for _, rr := range a.Msg.Answer {
		out.Records = append(out.Records, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	if a.Cause != nil {
		out.Error = a.Cause.Error()
	}
	return out, nil
}

// ascii spells a name in another script as the DNS has it, in A-labels (RFC 5891), and any other as it is. It reports
// false if the name cannot be one.
func ascii(name string) (string, bool) {
	if !strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return name, true
	}
	a, err := letters.ToASCII(name)
	return a, err == nil && utf8.ValidString(name)
}

// letters is idna.Lookup for names of services too, which have underscores.
var letters = idna.New(idna.MapForLookup(), idna.CheckHyphens(true), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))
