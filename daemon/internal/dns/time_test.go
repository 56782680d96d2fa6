package dns

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/warren-mesh/warren/coord"
)

// The times that people are promised, and what a test allows on a machine that has other work.
const (
	nameTime   = 50 * time.Millisecond // a name of the network, always
	followTime = 2 * time.Second       // public names, after the host's nameserver is another
	busy       = 10                    // times as long
	upstreams  = 4 * time.Second       // what a name takes that waits for a nameserver which is silent
)

// askUs asks our resolver.
func askUs(name string, patience time.Duration) (answer string, took time.Duration) {
	c := mdns.Client{Timeout: patience}
	m, took, err := c.Exchange(new(mdns.Msg).SetQuestion(name, mdns.TypeA), "100.127.255.254:53")
	if err != nil {
		return err.Error(), took
	}
	for _, rr := range m.Answer {
		if a, ok := rr.(*mdns.A); ok {
			return a.A.String(), took
		}
	}
	return mdns.RcodeToString[m.Rcode], took
}

// TestNamesComeInTimeWhateverOtherNameserversDo asks for a machine, a machine that is not there and an address, while public
// names are asked for that the host's nameserver fails, does not answer, or answers late.
func TestNamesComeInTimeWhateverOtherNameserversDo(t *testing.T) {
	newHost(t)
	pub := serveNames(t, "192.0.2.53", "198.51.100.80")
	write(t, confPath, "nameserver 192.0.2.53\n")
	d := openDNS(t)
	apply(t, d, wish(coord.DNS{}))
	if got, _ := askUs("www.example.com.", busy*upstreams); got != "198.51.100.80" {
		t.Fatalf("control: a public name is %s", got)
	}
	for _, mood := range []string{"", "fails", "silent", "late"} {
		pub.is(mood)
		done := make(chan struct{})
		var others sync.WaitGroup
		for i := range 8 {
			others.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					default:
						_, _ = askUs(fmt.Sprintf("n%d-%d.example.com.", n, i), 200*time.Millisecond)
					}
				}
			})
		}
		var took []time.Duration
		for range 200 {
			for name, want := range map[string]string{"bob.warren.internal.": "100.64.0.2", "nobody.warren.internal.": "NXDOMAIN"} {
				got, t1 := askUs(name, busy*upstreams)
				if got != want {
					t.Errorf("%s, while the nameserver %q: %s after %s", name, mood, got, t1)
				}
				took = append(took, t1)
			}
		}
		slices.Sort(took)
		median, last := took[len(took)/2], took[len(took)-1]
		t.Logf("the host's nameserver %q: %d names, median %s, the slowest %s (promised: %s)", mood, len(took), median, last, nameTime)
		if median > busy*nameTime || last >= upstreams {
			t.Errorf("median %s, slowest %s", median, last)
		}
		if mood == "late" {
			if got, t1 := askUs("late.example.com.", busy*upstreams); got != "198.51.100.80" {
				t.Errorf("a public name that comes late: %s after %s", got, t1)
			}
		}
		close(done)
		others.Wait()
	}
	if names := pub.leaked(); names != nil {
		t.Errorf("the public nameserver was asked for %v", names)
	}
}

// TestPublicNamesFollowAChangedNameserver has a DHCP client, so to say, write resolv.conf anew.
func TestPublicNamesFollowAChangedNameserver(t *testing.T) {
	newHost(t)
	var before *nameserver
	servers := []string{"192.0.2.53", "192.0.2.54", "192.0.2.55"}
	for i, addr := range servers {
		n := serveNames(t, addr, fmt.Sprintf("198.51.100.%d", i))
		if i == 0 {
			before = n
		}
	}
	write(t, confPath, "nameserver "+servers[0]+"\n")
	d := openDNS(t)
	apply(t, d, wish(coord.DNS{}))
	if got, _ := askUs("www.example.com.", busy*upstreams); got != "198.51.100.0" {
		t.Fatalf("control: %s", got)
	}
	before.is("silent") // as one of a network that was left
	for i, addr := range servers[1:] {
		write(t, confPath, "nameserver "+addr+"\n")
		began, want := time.Now(), fmt.Sprintf("198.51.100.%d", i+1)
		for n := 0; ; n++ {
			got, _ := askUs(fmt.Sprintf("n%d.example.com.", n), 100*time.Millisecond) // what is cached may stay
			if got == want {
				break
			}
			if time.Since(began) > busy*followTime {
				t.Fatalf("public names still come from elsewhere: %s", got)
			}
		}
		took := time.Since(began)
		t.Logf("public names come from the new nameserver after %s (promised: %s)", took, followTime)
		if got, t1 := askUs("bob.warren.internal.", busy*upstreams); got != "100.64.0.2" || t1 >= upstreams {
			t.Errorf("bob: %s after %s", got, t1)
		}
	}
}
