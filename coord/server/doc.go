// Package server is the coordination server: the control protocol for machines, pages for people, an admin API on a
// local socket, and the stream fan-out.
//
//	machine ──hello, session──▶ sessions ─┐
//	machine ──register────────▶ admit ────┼─ store.Write ──────▶ store: numbered, in its log
//	browser ──/login/…────────▶ logins ───┘                        │          ▲
//	machine ──node, netmap────▶ presence ── some 10 ms, together ──│──────────┘
//	                                                               ▼ what is new, in order
//	machine ◀─signed lines── stream ◀── bounded queue ◀─ Flush ── hub: state.Apply
//	                                                     one body, encoded once
//
// No handler tells the hub of a change: the store logs it in the same transaction, and the hub reads the log. What
// machines say of themselves and who is online is written too before it is told, but does not wait for the platter.
// A process that begins again, or goes on after its host slept, therefore goes on where it was: who was online counts as
// online for replicaSilence, and a machine that comes back gets what it has missed, which is mostly nothing.
//
// On PostgreSQL several processes, replicas, serve one network. What a request needs of another process is in the
// database, or sealed under keys that come from the identity, which all have (vault, sessions). A replica that does not
// beat for replicaSilence is taken for dead. One that loses the database keeps its streams, and catches up after.
//
// Who signs in proves it in one step or two, and has no session before the last (second.go). What a browser carries from
// one step to the next is a ticket that only this server opens, only from this browser, and that serves once (vault.go):
// strangers who begin a sign-in leave nothing in memory or on disk. What proves who somebody is stands in packages of its
// own: account (passwords, codes), passkey (WebAuthn), idp (OpenID Connect).
//
// Each connection remembers which certificate it was given (certificate.go): the server's own, one in files that change,
// or one from a public authority (acme.go). The signed hello names that one, so that it may be another at any time.
//
// Every route stands in one table (routes.go) with who may call it; what is in no table does not exist. What an account may
// do is its role's (account.Role), and one function says so (authorize.go). The console's pages are in *_pages.go: they
// need no script (but for passkeys, which browsers give to scripts only), and each change is a form that holds a token for
// its own path.
package server
