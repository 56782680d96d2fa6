package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

const (
	ticketVersion = 1
	ticketContext = "warren relay ticket v1"
	ticketBody    = 1 + key.Size + key.Size + 8

	// TicketSize is the length of a ticket of this version in bytes.
	TicketSize = ticketBody + key.SignatureSize
)

// What can be wrong with a ticket.
var (
	ErrTicketMalformed = errors.New("relay ticket is malformed")
	ErrTicketVersion   = errors.New("relay ticket is of a version that is not known here")
	ErrTicketIssuer    = errors.New("relay ticket is of an issuer that is not served here")
	ErrTicketSignature = errors.New("relay ticket has a wrong signature")
	ErrTicketExpired   = errors.New("relay ticket has expired")
)

// Ticket says that a node may use relays until a time. The coordination server signs it, and a relay checks it
// without asking anyone. It helps only who also holds the node's private key: it is no secret.
type Ticket struct {
	Issuer   key.ServerPublic // the network's coordination server
	Node     key.NodePublic
	NotAfter time.Time // whole seconds
}

// Sign makes the ticket's bytes. The ticket's issuer is the signing server, whatever the field says.
func (t Ticket) Sign(server key.Server) []byte {
	t.Issuer = server.Public()
	b := t.body()
	return append(b, server.Sign(ticketContext, b)...)
}

func (t Ticket) body() []byte {
	b := make([]byte, 0, TicketSize)
	b = append(b, ticketVersion)
	b = append(b, t.Issuer[:]...)
	b = append(b, t.Node[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(t.NotAfter.Unix()))
}

// ParseTicket reads what Sign made, without a look at signature or time: who acts on a ticket uses Verify.
// It returns ErrTicketMalformed or ErrTicketVersion.
func ParseTicket(b []byte) (t Ticket, err error) {
	switch {
	case len(b) == 0:
		return t, fmt.Errorf("%w: it is empty", ErrTicketMalformed)
	case b[0] != ticketVersion:
		return t, fmt.Errorf("%w: %d", ErrTicketVersion, b[0])
	case len(b) != TicketSize:
		return t, fmt.Errorf("%w: %d bytes, not %d", ErrTicketMalformed, len(b), TicketSize)
	}
	t.Issuer = key.ServerPublic(b[1:])
	t.Node = key.NodePublic(b[1+key.Size:])
	t.NotAfter = time.Unix(int64(binary.BigEndian.Uint64(b[1+2*key.Size:])), 0)
	return t, nil
}

// VerifyTicket reads a ticket and proves it: it is of one of the issuers, truly, and its time is not over.
// It returns the ticket also with ErrTicketIssuer, ErrTicketSignature and ErrTicketExpired, for the log.
func VerifyTicket(b []byte, now time.Time, issuers ...key.ServerPublic) (Ticket, error) {
	t, err := ParseTicket(b)
	if err != nil {
		return t, err
	}
	for _, issuer := range issuers {
		if issuer != t.Issuer {
			continue
		}
		if !issuer.Verify(b[ticketBody:], ticketContext, b[:ticketBody]) {
			return t, ErrTicketSignature
		}
		if !now.Before(t.NotAfter) {
			return t, fmt.Errorf("%w at %s", ErrTicketExpired, t.NotAfter.UTC().Format(time.RFC3339))
		}
		return t, nil
	}
	return t, ErrTicketIssuer
}
