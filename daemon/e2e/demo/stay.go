package main

import (
	"context"
	"os"
	"path/filepath"
)

// stay keeps everything up on a terminal, until Ctrl-C.
func (d *demo) stay(ctx context.Context) {
	d.leaveIfOver(ctx)
	d.finished.Store(true)
	if !d.stays {
		return
	}
	d.screen.say("  %s It stays up until Ctrl-C. To try, in another terminal:\n", d.screen.bold("All of it was so."))
	for _, c := range [][2]string{
		{"alice warren status --watch", "who is there, and how packets go"},
		{"alice warren ping bob", ""},
		{"alice ping " + d.bob.Inner().String(), ""},
		{"bob warren down", "and up again: no flag has to be repeated"},
		{"bob warren up", ""},
		{"home1 nft list ruleset", "alice's NAT"},
		{"coord warren-coord machine list", "the server's side"},
		{"alice", "a shell on alice"},
	} {
		d.screen.say("    %-44s %s", here()+" "+c[0], d.screen.dim(c[1]))
	}
	d.screen.say(`
  The server's pages, for a browser of this machine: %s
  (sign in as %s with the password %s; the browser warns of the certificate, which is the server's own)
`, d.openConsole(ctx), account, d.password)
	<-ctx.Done()
}

// here is how to call this program again.
func here() string {
	command, err := os.Executable()
	if wd, err2 := os.Getwd(); err == nil && err2 == nil {
		if short, err := filepath.Rel(wd, command); err == nil && len(short) < len(command) {
			command = short
		}
	}
	if os.Getenv("SUDO_UID") != "" {
		return "sudo " + command
	}
	return command
}
