package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/warren-mesh/warren/coord"
)

// What the program says to people stands here.
const (
	textProgram = "warren-coord"
	textShort   = "Warren's coordination server"
	textLong    = `Warren-coord is the server at which the machines of a Warren network meet.

  warren-coord init --url https://coord.example.org    set it up (or let serve do it)
  warren-coord serve                                   run it; it prints the link that makes the first owner
  warren-coord user add anna                           make an account without the page
  warren-coord key create                              or a key that lets a machine in without a page
  warren-coord invite                                  the link that machines join with

  warren-coord backup FILE                             back it all up, while it runs

All but init, serve and those of the storage speak to the running server over a socket in its state directory.`

	textBackupLong = `Back up the whole server into one new file: the database as it is at one moment, the identity that machines pin,
its own certificate, the embedded relay's key. The server may run meanwhile. Who has the file has the server's secrets: keep it as well as those.`
	textRestoreLong = `Set a server up from a backup, in a state directory without one. The backup is checked first and nothing is
overwritten. It may be of SQLite and go into PostgreSQL (--database), or the other way.`
	textMigrateLong = `Copy the SQLite database of a stopped server into the empty PostgreSQL database that --database or WARREN_DATABASE
names. The SQLite file is kept, under another name.`
	textBackup  = "The server is backed up in %s. It holds the server's secrets: keep it safe.\n"
	textRestore = "The server of %s is restored in %s. Start it with 'warren-coord serve'.\n"
	textMigrate = "The database is in PostgreSQL now. Start the server with the same --database or WARREN_DATABASE; the old file is kept as %s.\n"

	textBadDatabase  = "the database is named by a URL such as postgres://user@host/database, or by file:PATH of a file that holds it"
	textOpenPassword = "a password on the command line is seen by every user of this host: put the URL into a file (mode 0600) and give --database file:PATH, or set WARREN_DATABASE"
	textOpenFile     = "%s can be read by every user of this host, and may hold a password: chmod o-r %s"
	textNoTarget     = "name the empty PostgreSQL database that the server is to move to, with --database or WARREN_DATABASE"

	textFlagState     = "state directory"
	textFlagDatabase  = "PostgreSQL instead of SQLite: postgres://user@host/database, or file:PATH of a file that holds the URL (default: $WARREN_DATABASE)"
	textFlagJSON      = "print JSON"
	textFlagURL       = "where machines reach the server: https://host[:port]"
	textFlagNetwork   = "name of the network"
	textFlagIPv4      = "IPv4 addresses of the network"
	textFlagListen    = "address to listen on"
	textFlagCert      = "certificate file (PEM); without it the server's own is used"
	textFlagKey       = "private key file (PEM) of the certificate"
	textFlagProxy     = "a reverse proxy ends TLS: speak plain HTTP and take the client's address from X-Forwarded-For"
	textFlagMetrics   = "address to serve Prometheus metrics on (plain HTTP)"
	textFlagRelay     = "run the embedded relay, with this UDP address (such as :3478)"
	textFlagRelayHost = "host or address at which machines reach the embedded relay's UDP port (default: the server's)"
	textFlagVerbose   = "log more"
	textFlagRole      = "what the account may do: owner, admin, auditor (sees all, changes nothing) or member (its own machines)"
	textFlagUser      = "whose machines the key lets in"
	textFlagReusable  = "let in any number of machines, not only one"
	textFlagEphemeral = "the machines that it lets in are removed half an hour after they go offline, or when they log out"
	textFlagApproval  = "the machines that it lets in wait for an admin's approval"
	textFlagForever   = "it does not expire any more, also after another login"
	textFlagExpires   = "how long the key can be used"
	textFlagTags      = "tags of the machines that the key lets in (they belong to nobody, and their keys do not expire)"
	textFlagOut       = "write the key to this new file (mode 0600) and print nothing secret"

	textPasswordPrompt = "Password for %s: "
	textPasswordAgain  = "Once more: "
	textPasswordDiffer = "the two passwords differ: nothing was changed"
	textNoServer       = "no warren-coord runs on %s: start it with 'warren-coord serve'"
	textReady          = "warren-coord serves %s\n"
	textInit           = `The network %q is set up in %s.

  Server       %s
  Fingerprint  %s
  Invite link  %s

Start it with 'warren-coord serve'. Machines join with 'warren up' and the invite link.
`
	textNoLife    = "--expires must be more than nothing: give how long the key can be used, such as 1h or 720h"
	textNoName    = "the name is empty: give one"
	textNoCommand = "there is no command %q: '%s --help' lists those that there are"
	textKeyOnce   = "This key is shown only now:"
	textSetup     = `
There is no owner yet. Within a day, make the first account at

  %s

The link works once. Another start, or 'warren-coord setup', makes another link.
`
	textOwnCert = `
The browser does not know the server's own certificate and will say so. It is the right one if its SHA-256 is
  %s
`
)

// explain makes one sentence of an error: what happened, and what to do.
func explain(err error) string {
	var e *coord.Error
	switch {
	case errors.As(err, &e):
		return e.Message
	case errors.Is(err, syscall.EADDRINUSE):
		return err.Error() + ": another program listens there, stop it or choose another address"
	case errors.Is(err, fs.ErrExist):
		return err.Error() + ": name a new file"
	case errors.Is(err, fs.ErrPermission):
		return err.Error() + ": run it as the server's user or as root"
	case errors.Is(err, syscall.ENOSPC):
		return err.Error() + ": make room on the disk"
	}
	return err.Error()
}
