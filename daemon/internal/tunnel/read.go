package tunnel

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

// Stats gives what the device counted, for every peer that it has.
func (t *Tunnel) Stats() (map[key.NodePublic]PeerStats, error) {
	_, stats, err := t.read()
	return stats, err
}

// read asks the device for its peers. The text comes through a pipe: it also holds the private key, and no copy
// of all of it should lie about in memory.
func (t *Tunnel) read() (map[key.NodePublic]*Peer, map[key.NodePublic]PeerStats, error) {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(t.dev.IpcGetOperation(w)) }()
	peers, stats, err := parse(r)
	_ = r.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the tunnel's peers: %w", err)
	}
	return peers, stats, nil
}

// parse reads the answer to a get of the configuration protocol (wireguard.com/xplatform). Keys that it does not know
// are skipped: devices may add some.
func parse(r io.Reader) (map[key.NodePublic]*Peer, map[key.NodePublic]PeerStats, error) {
	peers, stats := make(map[key.NodePublic]*Peer), make(map[key.NodePublic]PeerStats)
	var p *Peer
	var s PeerStats
	var sec, nsec int64
	flush := func() {
		if p == nil {
			return
		}
		if sec != 0 || nsec != 0 {
			s.LastHandshake = time.Unix(sec, nsec)
		}
		slices.SortFunc(p.AllowedIPs, netip.Prefix.Compare)
		peers[p.Key], stats[p.Key] = p, s
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			continue
		}
		var err error
		switch {
		case name == "public_key":
			flush()
			p, s, sec, nsec = &Peer{}, PeerStats{}, 0, 0
			var raw []byte
			if raw, err = hex.DecodeString(value); err == nil && len(raw) != key.Size {
				err = key.ErrInvalid
			}
			copy(p.Key[:], raw)
		case p == nil: // the device's own
		case name == "endpoint":
			p.Endpoint = value
		case name == "last_handshake_time_sec":
			sec, err = strconv.ParseInt(value, 10, 64)
		case name == "last_handshake_time_nsec":
			nsec, err = strconv.ParseInt(value, 10, 64)
		case name == "rx_bytes":
			s.Rx, err = strconv.ParseUint(value, 10, 64)
		case name == "tx_bytes":
			s.Tx, err = strconv.ParseUint(value, 10, 64)
		case name == "allowed_ip":
			var a netip.Prefix
			a, err = netip.ParsePrefix(value)
			p.AllowedIPs = append(p.AllowedIPs, a)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("its %s cannot be read", name) // the value might be a secret's
		}
	}
	flush()
	return peers, stats, lines.Err()
}
