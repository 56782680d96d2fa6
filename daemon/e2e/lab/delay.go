package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// delayQueue bounds the packets that are on a slow link at a time.
const delayQueue = 1 << 14

// Delay makes what the machine sends arrive so much later, and one in lost of its packets, at random, not at all. It lets
// packets cross one by one. There is one such link in a segment at a time, and faults between two machines do not see what
// took it.
func (m *Machine) Delay(by time.Duration, lost int) *Fault {
	m.net.t.Helper()
	ns := m.uplink.ns
	var tun *os.File
	m.net.must(inNamespace(ns, func() (err error) {
		tun, err = openTUN("slow")
		return err
	}))
	m.net.must(ip(ns, "link set slow mtu 1500 up", "route add default dev slow table 77", fmt.Sprintf("rule add iif %s lookup 77", m.name)))
	s := slowLink{tun: tun, by: by, lost: lost, under: make(chan delayed, delayQueue)}
	var work sync.WaitGroup
	work.Go(s.take)
	work.Go(s.give)
	return &Fault{undo: func() {
		_ = run("", "ip", "-n", ns, "rule", "del", "iif", m.name, "lookup", "77")
		_ = tun.Close() // which takes the link away, and its route
		work.Wait()
	}}
}

// openTUN makes an interface whose packets the file gives and takes (the kernel's tuntap.rst).
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// slowLink holds packets back.
type slowLink struct {
	tun   *os.File
	by    time.Duration
	lost  int
	under chan delayed
}

type delayed struct {
	at     time.Time
	packet []byte
}

// take reads until the file is closed. What the queue does not hold is lost, as at any link.
func (s *slowLink) take() {
	defer close(s.under)
	buf := make([]byte, 1<<16)
	for {
		n, err := s.tun.Read(buf)
		if err != nil {
			return
		}
		if s.lost > 0 && rand.IntN(s.lost) == 0 {
			continue
		}
		select {
		case s.under <- delayed{time.Now().Add(s.by), append([]byte(nil), buf[:n]...)}:
		default:
		}
	}
}

// give writes each when its time has come.
func (s *slowLink) give() {
	for p := range s.under {
		time.Sleep(time.Until(p.at))
		_, _ = s.tun.Write(p.packet) // closed: the rest is gone with it
	}
}
