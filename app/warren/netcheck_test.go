package main

import (
	"strings"
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

func TestUDPIsDrawnAsBlockedOnlyWhereOtherThingsPass(t *testing.T) {
	for _, tcp := range []ipc.Milliseconds{0, 1.5} {
		picture := strings.Join(netPicture(&ipc.Netcheck{UDP: ipc.No, Relays: []ipc.NetcheckRelay{{Name: "fra", TCP: tcp}}}), "\n")
		if strings.Contains(picture, "blocked") != (tcp > 0) || strings.Contains(picture, textNoRelayAnswer) != (tcp == 0) {
			t.Errorf("TCP %v:\n%s", tcp, picture)
		}
	}
}
