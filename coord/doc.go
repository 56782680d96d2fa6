// Package coord is the vocabulary between a machine and its coordination server: what a network is made of
// (Node, Netmap, Relay), how it changes (Change, Diff, Apply), what the two say to each other, and the Client.
//
// For a second implementation there is protocol.md, with layouts and test vectors.
//
// A server is one network. A machine meets it over HTTPS, in ordinary requests with JSON bodies that any reverse
// proxy passes on:
//
//	machine                                            coordination server
//	   │  POST /v1/hello      {nonce}                          │
//	   │ ────────────────────────────────────────────────────▶ │
//	   │  Hello               {server, nonce, cert, …, sig}    │  proves the pinned identity, for this nonce,
//	   │ ◀──────────────────────────────────────────────────── │  behind this TLS certificate
//	   │  POST /v1/session    {machine, nonce, sig}            │
//	   │ ────────────────────────────────────────────────────▶ │  proves the machine's key
//	   │  Session             {token, expires}                 │
//	   │ ◀──────────────────────────────────────────────────── │  every later request bears the token, and its
//	   │                                                       │  body never says who asks
//	   │  POST /v1/register   {node, proof, authKey | …}       │
//	   │ ────────────────────────────────────────────────────▶ │  registered at once, or a login id;
//	   │  GET  /v1/register/wait, POST /v1/register/code,      │  then the login's end,
//	   │  POST /v1/register/stop                               │  or nobody waits for it any more
//	   │                                                       │
//	   │  GET  /v1/approval                                    │
//	   │ ────────────────────────────────────────────────────▶ │  where an admin has to approve new machines:
//	   │                                                       │  held until one has
//	   │  POST /v1/node       {disco, endpoints, relay, …}     │  what this machine says of itself
//	   │ ────────────────────────────────────────────────────▶ │
//	   │  GET  /v1/netmap?after=N&packed=zstd                  │
//	   │ ────────────────────────────────────────────────────▶ │
//	   │  seq prev signature {"full":…}⏎                       │  one signed line for each change that
//	   │  seq prev signature {"changes":[…]}⏎ …                │  concerns this machine; empty lines
//	   │  seq prev signature #length⏎ packed body⏎             │  keep the connection alive
//	   │ ◀──────────────────────────────────────────────────── │
//	   │  POST /v1/logout                                      │
//
// # Numbers
//
// The network's changes are numbered and kept in a log, on disk before anyone hears of them. The number is
// max(last+1, Unix milliseconds), so that it also rises over a server restored from a backup. A line bears its own
// number (seq) and the number of the line that this machine had before (prev): a machine that sees a prev other than
// its own asks again from its own number. A line with prev 0 is a whole netmap; one whose seq is prev brings what has
// no number, a ticket. A machine that reconnects, to whichever process of the server, names the last number it has and
// gets what came after, which is nothing if nothing changed. If the log does not have that number, since it is too old
// or the log was set back, the machine gets a whole netmap.
//
// A whole netmap comes in two lines, the first of which is alike for many machines: it has all nodes, and says not which
// is Self. The second one has that, the machine's ticket, and what has changed since the first was made.
//
// # Rules
//
// Where the network has access rules, a machine hears only of those that it may reach or be reached by, of their routes
// only of those that a rule is about, and what may come in to it is its Netmap.Filter. A peer that a rule does not let it
// see any more is removed as one that is gone. A filter comes whole, or with the addresses that join and leave its sets
// (NetsOf). A machine from before there were filters does not read them: its peers are held back, its ports are not.
//
// # Packed lines
//
// A reader that asks for packed=zstd gets long bodies compressed (Zstandard, RFC 8878): the line then ends with "#" and
// the body's length in bytes, and the body and a line feed follow. It is made once for all who get it; the signature
// covers it as it is sent, and nothing is unpacked before that is verified, nor to more than MaxLine.
//
// # Signatures
//
// All are Ed25519 over key.Message with a context of their own (Context…). The server signs its hello together with
// the SHA-256 of the TLS certificate it serves, so that a certificate from no public authority is as safe as the pin;
// and it signs each line together with the session's nonce and the machine, so that no line serves another machine,
// another session or another place in the stream.
//
// # Errors
//
// An error answers with its HTTP status and {"error":{"code":"key-used","message":"…"}}: Error, to be compared
// by code with errors.Is.
package coord
