// Package server is the coordination server: the control protocol for machines, pages for people, an admin API on a
// local socket, and the stream fan-out.
//
//	machine ──hello, session──▶ sessions ─┐                     ┌─▶ store: on disk before anyone hears of it
//	machine ──register────────▶ admit ────┼─ store.Write, then ─┤
//	browser ──/login/…────────▶ logins ───┘                     └─▶ hub: state.Apply ─ some 10 ms ─ Flush
//	                                                                     │ one body, encoded once
//	machine ◀─signed, numbered lines── stream ◀── bounded queue ─────────┘
//
// Who signs in proves it in one step or two, and has no session before the last (second.go). What a browser carries from
// one step to the next is a ticket that only this server opens, only from this browser, and that serves once (vault.go):
// strangers who begin a sign-in leave nothing in memory or on disk.
//
// Every route stands in one table (routes.go) with who may call it; what is in no table does not exist. What an account may
// do is its role's (account.Role), and one function says so (authorize.go). The console's pages are in *_pages.go: they
// need no script, and each change is a form that holds a token for its own path.
package server
