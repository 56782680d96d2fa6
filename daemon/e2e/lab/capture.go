package lab

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Capture sees the packets that pass an interface of a machine.
//
// It proves that it sees: before it returns, and before each count, it sends a
// packet of its own on the interface and waits until that is seen. So no packet
// sent before the count is missed, and none counted means that none was there.
type Capture struct {
	m      *Machine
	device string
	proc   *Proc
	probes int
}

// Where a capture's own packets go: a multicast group of nobody, on the discard port.
var (
	probeGroup = net.IPv4(239, 255, 87, 76)
	probePort  = 9
)

// captureLimit is how long tcpdump may take to start, or to see a packet.
const captureLimit = 10 * time.Second

// Capture captures on the machine's link what matches tcpdump's filter.
func (m *Machine) Capture(filter string) *Capture {
	m.net.t.Helper()
	return m.CaptureOn(m.dev, filter)
}

// CaptureOn captures on another interface of the machine, which must have an IPv4 address.
func (m *Machine) CaptureOn(device, filter string) *Capture {
	m.net.t.Helper()
	probe := fmt.Sprintf("(udp and dst host %v)", probeGroup)
	if filter != "" {
		filter = fmt.Sprintf("(%s) or %s", filter, probe)
	}
	c := &Capture{m: m, device: device}
	// The kernel's ring has a slot of full length for each packet, so the short length
	// of -s is what makes room for many.
	c.proc = m.Start("tcpdump", "--immediate-mode", "-l", "-n", "-tt", "-p", "-s", "128", "-B", "16384", "-i", device, filter)
	c.proc.WaitOutput("listening on", captureLimit)
	c.sync()
	return c
}

// Count returns how many packets were seen until now.
func (c *Capture) Count() int {
	c.m.net.t.Helper()
	return len(c.Packets())
}

// Packets returns tcpdump's line for each packet seen until now.
func (c *Capture) Packets() []string {
	c.m.net.t.Helper()
	c.sync()
	var packets []string
	for line := range strings.Lines(c.proc.Output()) {
		stamp, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, err := strconv.ParseFloat(stamp, 64); err != nil {
			continue // not a packet, but tcpdump's own words
		}
		if !strings.Contains(what, probeGroup.String()) {
			packets = append(packets, what)
		}
	}
	return packets
}

// Stop ends the capture and returns the number of packets seen. The test fails if
// there were more than tcpdump could take.
func (c *Capture) Stop() int {
	t := c.m.net.t
	t.Helper()
	count := c.Count()
	c.proc.Signal(syscall.SIGINT)
	if err := c.proc.Wait(captureLimit); err != nil {
		t.Errorf("%v does not end well: %v", c.proc, err)
	}
	if !strings.Contains(c.proc.Output(), "\n0 packets dropped by kernel") {
		t.Errorf("the capture on %s of %s lost packets:\n%s", c.device, c.m.name, c.proc.tail())
	}
	return count
}

// sync sends a packet that must be seen, and waits for it.
func (c *Capture) sync() {
	t := c.m.net.t
	t.Helper()
	c.probes++
	c.m.net.must(c.m.Do(c.probe))
	Eventually(t, captureLimit, func() error {
		if seen := strings.Count(c.proc.Output(), probeGroup.String()); seen < c.probes {
			return fmt.Errorf("the capture on %s of %s does not see its own packet:\n%s", c.device, c.m.name, c.proc.tail())
		}
		return nil
	})
}

func (c *Capture) probe() error {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var bindErr error
	if err := raw.Control(func(fd uintptr) { bindErr = unix.BindToDevice(int(fd), c.device) }); err != nil {
		return err
	}
	if bindErr != nil {
		return fmt.Errorf("%s: %w", c.device, bindErr)
	}
	_, err = conn.WriteToUDP([]byte("probe"), &net.UDPAddr{IP: probeGroup, Port: probePort})
	return err
}
