// Package tunnel is the WireGuard device: the wished peers go in, statistics come out. Which WireGuard is inside nobody
// else can tell; today it is wireguard-go on a TUN, with batches and offloads end to end.
//
// Packets pass between the TUN and the conn.Bind that the caller brings; here they are only counted, once for a batch.
// The interface comes up without address: that is package router's part. The kernel removes the interface with the
// process, however that ends, so nothing about it needs a journal.
//
// Its interface takes larger packets than most paths carry: the caller's routes say how large they may be.
//
// The device also answers the wg tool (`wg show`) at SocketDir, as the kernel's WireGuard does.
package tunnel
