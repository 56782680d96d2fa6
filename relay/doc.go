// Package relay is the vocabulary of Warren's relays: their frames, the Ticket that admits to them, and the Client.
package relay
