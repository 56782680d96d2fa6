package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// GiveOutPorts has the router give out ports to its LAN from now on, by the protocols named: "pcp" (which brings NAT-PMP) or
// "upnp", or both. It needs Debian's miniupnpd, which gives nothing to whom it takes for a private address, and the lab's
// public ones are reserved (RFC 5737): so the router gets another one, 11.0.0.K, which no lab lets out either.
func (r *Router) GiveOutPorts(protocols ...string) *Proc {
	n := r.net()
	n.t.Helper()
	// The tables that miniupnpd writes into; what it leads in, the router's own filter lets pass (ct status dnat).
	n.must(nft(r.Machine.ns, `
table inet filter {
	chain miniupnpd { }
	chain prerouting_miniupnpd { }
	chain postrouting_miniupnpd { }
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump prerouting_miniupnpd
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		jump postrouting_miniupnpd
	}
}
`))
	speaks := map[string]string{"pcp": "no", "upnp": "no"}
	for _, p := range protocols {
		speaks[p] = "yes"
	}
	file := filepath.Join(r.Dir(), "miniupnpd.conf")
	outer := fmt.Sprintf("11.0.0.%d", r.number)
	n.must(ip(r.Machine.ns, "addr add "+outer+"/32 dev wan"))
	n.must(ip(r.Machine.uplink.ns, fmt.Sprintf("route replace %s/32 via %v dev %s onlink", outer, r.Machine.addr, r.Machine.name)))
	conf := fmt.Sprintf(`ext_ifname=wan
ext_ip=%s
listening_ip=lan
enable_upnp=%s
enable_natpmp=%s
uuid=00000000-0000-4000-8000-000000000001
lease_file=%s
allow 1024-65535 %v 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
`, outer, speaks["upnp"], speaks["pcp"], filepath.Join(r.Dir(), "leases"), r.prefix)
	n.must(os.WriteFile(file, []byte(conf), 0o600))
	p := r.Start("miniupnpd", "-d", "-f", file, "-P", filepath.Join(r.Dir(), "miniupnpd.pid"))
	time.Sleep(200 * time.Millisecond)
	return p
}
