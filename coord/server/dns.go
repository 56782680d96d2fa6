package server

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// dnsOf reads the DNS settings within a transaction. In a network in which nobody has set any there are none.
func dnsOf(tx store.Tx) (coord.DNS, error) {
	text, err := tx.Meta(store.MetaDNS)
	if errors.Is(err, store.ErrNotFound) {
		return coord.DNS{}, nil
	}
	if err != nil {
		return coord.DNS{}, err
	}
	return parseDNS(text)
}

func parseDNS(text string) (d coord.DNS, err error) {
	if err = json.Unmarshal([]byte(text), &d); err != nil {
		return d, fmt.Errorf("%w: DNS settings: %w", store.ErrDamaged, err)
	}
	return d, nil
}
