// Package udpbatch reads and writes UDP datagrams many at a time: many messages per system call (recvmmsg, sendmmsg),
// and many datagrams per message where the kernel can (UDP_GRO, UDP_SEGMENT). It allocates nothing per datagram.
//
//	Receiver   run │ d d d d d │   datagrams of one sender and one size (the last may be shorter), end to end in one buffer
//	           run │ d │
//	Sender     Add(to, d) …        neighbours of one destination and one size become one message, from where they lie
//	           Flush               one sendmmsg
//
// Package net has no such calls, and those of golang.org/x/net/ipv6 allocate an address per message and cannot send
// from several places at once.
package udpbatch
