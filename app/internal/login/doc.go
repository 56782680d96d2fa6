// Package login brings a person's browser through a login, for the CLI and the tray. It runs as that person, never
// as the daemon.
//
//	program                          browser                     coordination server
//	   │ Listen on 127.0.0.1:PORT       │                                 │
//	   │ Open(URL) ────────────────────▶│ GET /login/ID?port=PORT&state=S │
//	   │                                │ ───────────────────────────────▶│ who are you, is it this machine?
//	   │   GET /done?state=S&code=C     │ ◀─────────────────── redirect ──│
//	   │ ◀──────────────────────────────│                                 │
//	   │ finish(C): the daemon sends C and the verifier ─────────────────▶│
//	   │ redirect to /login/ID/done ───▶│ ───────────────────────────────▶│
//
// The code serves only together with the PKCE verifier (RFC 7636), which never leaves this program and its daemon:
// a link sent to a victim brings the sender nothing. On another device there is no listener: the person opens
// the URL without a port, and types the code that this program shows.
//
// The URL is built here out of the configured server and an id. No text of a server ever reaches a browser.
package login
