package udpbatch

import (
	"net"
	"strconv"
)

// Link-local addresses carry the interface's index as their zone: its name would take a look-up per datagram.
func zone(index uint32) string { return strconv.FormatUint(uint64(index), 10) }

func scope(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}
