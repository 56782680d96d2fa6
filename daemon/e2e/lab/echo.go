package lab

import (
	"fmt"
	"io"
	"net"
)

// Echo has the machine answer what comes to a port with the same, over TCP and UDP, until the lab ends.
func (m *Machine) Echo(port uint16) {
	t := m.net.t
	t.Helper()
	l, err := m.Listen("tcp", fmt.Sprint(":", port))
	m.net.must(err)
	u, err := m.ListenUDP(port)
	m.net.must(err)
	t.Cleanup(func() { _, _ = l.Close(), u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	go echoDatagrams(u)
}

func echoDatagrams(u *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		_, _ = u.WriteToUDPAddrPort(buf[:n], from)
	}
}
