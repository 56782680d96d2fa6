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

  warren-coord serve                                   set it up and run it; it prints what to do next
  warren-coord serve --domain coord.example.org        the same, with a certificate that browsers know
  warren-coord init --url https://coord.example.org    only set it up
  warren-coord user add anna                           make an account without the page
  warren-coord key create                              or a key that lets a machine in without a page
  warren-coord invite                                  the link that machines join with

  warren-coord backup FILE                             back it all up, while it runs

All but init, serve, policy and those of the storage speak to the running server over a socket in its state directory.`

	textBackupLong = `Back up the whole server into one new file: the database as it is at one moment, the identity that machines pin,
its certificates, the embedded relay's key. The server may run meanwhile. Who has the file has the server's secrets: keep it as well as those.
With --into, the file is named by the time in a folder that is there, and the oldest of these are removed: for a timer.`
	textBackupWhere = "name a new file, or a folder with --into and how many to --keep there, at least 1"
	textRestoreLong = `Set a server up from a backup, in a state directory without one. The backup is checked first and nothing is
overwritten. It may be of SQLite and go into PostgreSQL (--database), or the other way. With --replica nothing goes into
the database: it has to be the one that the server of the backup uses, and from then on both serve the network.`
	textMigrateLong = `Copy the SQLite database of a stopped server into the empty PostgreSQL database that --database or WARREN_DATABASE
names. The SQLite file is kept, under another name.`
	textBackup  = "The server is backed up in %s. It holds the server's secrets: keep it safe.\n"
	textRestore = "The server of %s is restored in %s. Start it with 'warren-coord serve'.\n"
	textReplica = "A replica of the server of %s is set up in %s. Start it with 'warren-coord serve', the same --database and the same --url.\n"
	textMigrate = "The database is in PostgreSQL now. Start the server with the same --database or WARREN_DATABASE; the old file is kept as %s.\n"

	textBadDatabase  = "the database is named by a URL such as postgres://user@host/database, or by file:PATH of a file that holds it"
	textOpenPassword = "a password on the command line is seen by every user of this host: put the URL into a file (mode 0600) and give --database file:PATH, or set WARREN_DATABASE"
	textOpenFile     = "%s can be read by every user of this host, and may hold a password: chmod o-r %s"
	textNoTarget     = "name the empty PostgreSQL database that the server is to move to, with --database or WARREN_DATABASE"

	textFlagState      = "state directory"
	textFlagDatabase   = "PostgreSQL instead of SQLite: postgres://user@host/database, or file:PATH of a file that holds the URL (default: $WARREN_DATABASE)"
	textFlagInto       = "write into this folder, into a file named by the time"
	textFlagKeep       = "with --into: how many backups stay in the folder, the newest"
	textFlagReplica    = "set up another server beside the one that runs: take all but the database, which is the --database that both use"
	textFlagJSON       = "print JSON"
	textFlagURL        = "where machines reach the server: https://host[:port] (default: this host's name or address)"
	textFlagNetwork    = "name of the network"
	textFlagIPv4       = "IPv4 addresses of the network"
	textFlagListen     = "address to listen on (behind a proxy: 127.0.0.1:8080)"
	textFlagDomain     = "get a certificate for this name from a public authority, which accepts its terms; the name must lead to this host, port 443"
	textFlagEmail      = "where the authority can reach you about the certificate"
	textFlagCA         = "address of the authority's ACME directory (default: Let's Encrypt)"
	textFlagCARoot     = "file of the certificates (PEM) that vouch for the authority itself; needed for one of your own"
	textFlagCert       = "certificate file (PEM), read again when it changes; without it the server's own is used"
	textFlagKey        = "private key file (PEM) of the certificate"
	textFlagProxy      = "a reverse proxy ends TLS: speak plain HTTP, and believe X-Forwarded-For of these addresses (--behind-proxy=10.0.0.5,10.1.0.0/16; alone: of this host)"
	textFlagMetrics    = "address to serve Prometheus metrics on (plain HTTP)"
	textFlagRelay      = "UDP address of the embedded relay; empty: no relay"
	textFlagRelayHost  = "host or address at which machines reach the embedded relay's UDP port (default: the server's)"
	textFlagNoRelay    = "run no embedded relay"
	textFlagLogFormat  = "how the log is written: text or json"
	textFlagVerbose    = "log more"
	textFlagRole       = "what the account may do: owner, admin, auditor (sees all, changes nothing) or member (its own machines)"
	textFlagUser       = "whose machines the key lets in"
	textFlagReusable   = "let in any number of machines, not only one"
	textFlagEphemeral  = "the machines that it lets in are removed half an hour after they go offline, or when they log out"
	textFlagApproval   = "the machines that it lets in wait for an admin's approval"
	textProviderSet    = "Change what is named of a provider; who has an account by it keeps that"
	textFlagNewSecret  = "replace the client secret: it is asked for, or read from stdin"
	textStillWait      = "%d machines from before still wait for an approval: 'warren-coord machine list' shows them, 'machine approve' and 'machine deny' decide.\n"
	textDNSSplit       = "Give a domain, and all below it, nameservers of its own; none: it has them no more"
	textDNSAdd         = "Add a record (A, AAAA, CNAME, TXT); a name without a dot is below the network's suffix, *.NAME is a wildcard"
	textDNSRemove      = "Remove the records of a name, or only those of the type and the value"
	textFlagNames      = "machines find each other by name"
	textFlagNameserver = "nameservers for all other names, instead of each host's own: addresses, or https:// URLs of DNS over HTTPS; '': none"
	textFlagSearch     = "domains that are tried after a short name; '': none"
	textNoRecord       = "there is no record %q: 'warren-coord dns show' lists them"
	textMachineRoutes  = "Show what lies behind a machine (by name or number); approve what it offers, or withdraw that"
	textFlagApprove    = "routes that it may lead to, whether it offers them now or not, such as 192.168.1.0/24"
	textFlagWithdraw   = "routes that it may lead to no more"
	textFlagExit       = "it may be an exit node: lead to the internet, over IPv4 and IPv6"
	textFlagNoExit     = "it may be an exit node no more"
	textMachineRelay   = "Show whether a machine (by name or number) offers to relay for others, and may; allow it, or deny it"
	textFlagAllow      = "it may relay for others, whether it offers to now or not"
	textFlagDeny       = "it may relay for others no more"
	textBadRoute       = "%q is no route: give one such as 192.168.1.0/24 or 2001:db8::/48"
	textFlagForever    = "it does not expire any more, also after another login"
	textFlagExpires    = "how long the key can be used"
	textFlagTags       = "tags of the machines that the key lets in (they belong to nobody, and their keys do not expire)"
	textFlagOut        = "write the key to this new file (mode 0600) and print nothing secret"

	textPasswordPrompt = "Password for %s: "
	textPasswordAgain  = "Once more: "
	textPasswordDiffer = "the two passwords differ: nothing was changed"
	textNoServer       = "no warren-coord runs on %s: start it with 'warren-coord serve'"
	textReady          = "warren-coord serves %s\n"
	textServeLong      = `Run the server. In a state directory where nothing is yet it sets the server up first. Nothing has to be given:

  warren-coord serve                                        on this host's address, with a certificate of its own
  warren-coord serve --domain coord.example.org             with a name, and a certificate from Let's Encrypt
  warren-coord serve --tls-cert FULLCHAIN --tls-key KEY     with a certificate that something else renews
  warren-coord serve --behind-proxy --url https://NAME      behind nginx, Caddy or another reverse proxy

Machines pin the server's identity and not its certificate, so it can be changed from one to another at any time.`
	textServeArgs   = "serve takes no argument %q (proxies are given with an equals sign: --behind-proxy=ADDRESS)"
	textBadProxy    = "--behind-proxy: %q is no address, give some such as 10.0.0.5 or 10.1.0.0/16, with commas between them"
	textBadListen   = "--listen %q is no address to listen on, give one such as :443 or 192.0.2.1:8443"
	textBadDomain   = "--domain %q is no full name: give one such as coord.example.org"
	textProxyURL    = "behind a proxy the server cannot know its own address: give it with --url https://NAME"
	textNoPort      = "cannot listen on TCP %s: ports below 1024 are for root. Run it with sudo, or on another port: --listen :8443 (or allow it once: sudo setcap cap_net_bind_service=+ep \"$(command -v warren-coord)\")"
	textPortTaken   = "cannot listen on TCP %s: another program listens there. Stop it, or choose another port (--listen :8443), or serve behind it if it is a web server (--behind-proxy)"
	textNotOurs     = "cannot listen on TCP %s: this host has no such address, see 'ip address'"
	textRelayTaken  = "cannot listen on UDP %s: another program listens there (a STUN or TURN server?). Stop it, or give the relay another port (--relay-udp :3479), or go without the embedded relay (--no-relay)"
	textRelayFailed = "the embedded relay: %w; give it another address (--relay-udp), or go without it (--no-relay)"
	textInit        = `The network %q is set up in %s.

  Server       %s
  Fingerprint  %s
  Invite link  %s

Start it with 'warren-coord serve'. Machines join with 'warren up' and the invite link.
`
	textNoLife          = "--expires must be more than nothing: give how long the key can be used, such as 1h or 720h"
	textFlagBy          = "account that answers for the invitation: it is worth what that account may do"
	textFlagDays        = "how many days the link works"
	textFlagTokenUser   = "account that the token speaks for, and never more than it may do"
	textFlagScopes      = "what the token may be used for: read, machines, users, keys, settings, account"
	textFlagTokenDays   = "how many days the token can be used, 365 at the most"
	textFlagWho         = "only what the account of this login did"
	textFlagWhat        = "only this action, with those below it: machine, or machine.rename"
	textFlagSubject     = "only what was done to what has this in its name"
	textFlagSince       = "from that day on (2026-01-31), or that time (RFC 3339)"
	textFlagUntil       = "until that day is over, or before that time"
	textFlagExport      = "print all of it, as csv or jsonl"
	textFlagLimit       = "how many lines at the most; 0: all"
	textFlagSignUp      = "who may make an account without an invitation: invitation (nobody), open (everybody), domains"
	textFlagDomains     = "domains of verified e-mail addresses, for --sign-up domains"
	textFlagSetApproval = "new machines of people wait until an admin lets them in"
	textFlagKeyDays     = "days that a person's machine is good without another login; 0: without end"
	textFlagSecond      = "owners and admins must take a second step when they sign in"
	textFlagEvents      = "only these actions of the audit log, or kinds of them: machine, or machine.add (default: all)"
	textFlagHookURL     = "https://host/path, or http:// on this host itself"
	textTestFailed      = "the test did not arrive: %s"
	textTestTaken       = "The receiver took the test (HTTP %d).\n"
	textNoSetting       = "nothing was named: 'warren-coord settings set --help' lists what can be changed"

	textNoDays          = "--days must be 1 or more"
	textSetNetwork      = "this state directory has the network %q already, and it keeps its name: leave --network out, or set another server up in another --state"
	textSetIPv4         = "this state directory has a network already, and it keeps its addresses %s: leave --ipv4 out, or set another server up in another --state"
	textProviderShort   = "OpenID Connect providers that people sign in with"
	textProviderAdd     = "Add a provider; its client secret is asked for, or read from stdin"
	textProviderSecret  = "Client secret of %s (or file:NAME of a file in the state directory's folder secrets): "
	textFlagProvName    = "what the button says"
	textFlagIssuer      = "address of the provider, as it gives it: https://login.example.org"
	textFlagClient      = "client id that the provider has given this server"
	textFlagProvSignUp  = "whom it sends gets an account if they have none"
	textFlagProvDomains = "only people with a verified e-mail address in these domains"
	textFlagProvGroups  = "only people in one of these groups (of the claim groups)"
	textNoName          = "the name is empty: give one"
	textKeyOnce         = "This key is shown only now:"
	textFresh           = `
The network %q is set up in %s.

  Address      %s%s
  Fingerprint  %s
  Open         %s
`
	textWhyName     = "\n               this host's name. Another: --url https://NAME, or --domain NAME for a public certificate"
	textWhyPublic   = "\n               this host's address. With a name: --domain NAME gets a certificate that browsers know"
	textWhyPrivate  = "\n               this host's address in its local network. For machines elsewhere: a name that leads here (--url https://NAME)"
	textWhyListen   = "\n               from --listen. Another: --url https://NAME"
	textWhyLoopback = "\n               only this very host reaches it there. For others: --listen :443, or --url https://NAME"
	textMoved       = "The address is %s now, no longer %s: machines that know the old one join again with 'warren up' and the new invite link.\n"
	textPorts       = "TCP %s and UDP %s, in firewall and router\n               UDP %d, too, if you can: by it machines tell their NATs apart"
	textPort        = "TCP %s, in firewall and router"
	textSetup       = `
There is no owner yet. Open this link, once and within a day:

  %s

  ┌─────────────┐    ┌───────────────────┐    ┌──────────────────────┐
  │  this link  │ ─▶ │ your name and     │ ─▶ │ the page shows the   │
  │ in a browser│    │ password: owner   │    │ line for each machine│
  └─────────────┘    └───────────────────┘    └──────────────────────┘

Another link: warren-coord setup.
`
	textSetupHidden = "There is no owner yet: 'warren-coord setup', on this host, prints the link that makes the first.\n"
	textOwnCert     = `
The browser does not know the server's own certificate and will say so. It is the right one if its SHA-256 is
  %s
`
	textCertAsked  = "Getting a certificate for %s …\n"
	textCertThere  = "  it is there, after %.1f s, and will be renewed by itself.\n"
	textCertFailed = `There is no certificate for %s yet: %v
Check that the name leads to this host, and that its port 443 can be reached from the internet. It is tried again by itself.
Until then the server's own certificate is served: machines trust it, browsers warn of it.
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
		return err.Error() + ": run it as the server's user or as root, or name another state directory with --state"
	case errors.Is(err, syscall.ENOSPC):
		return err.Error() + ": make room on the disk"
	}
	return err.Error()
}

// What the commands for policy files say.
const (
	textFlagPolicyNetwork = "file that describes the network (JSON; see 'warren-coord policy compile --help')"
	textFlagPolicyFor     = "only this machine"
	textPolicyLong        = `Policy files say who may talk to whom, in the language of Tailscale's policy file. Here they are checked, and compiled
for a network that a file describes, which needs no server; and the one in force is shown and replaced. A network that
never had one has the default: each person's machines reach each other and the servers, and nobody else's.`
	textPolicyCheckLong = `Check a policy file (HuJSON, in the language of Tailscale's policy file) and run its tests. FILE may be - for
standard input. What is wrong is told as FILE:LINE:COLUMN: and a sentence, several things at once.

The tests ask about a machine of each user, tag or address that they name. With --network they ask about those of the
described network as well, and users have their roles there; without it all users are members. And no machine of it may
get a filter that is too large.

The command succeeds (exit status 0) if the file is right and all its tests pass, and fails (1) otherwise.
With --json it prints {"rules": N, "tests": N, "problems": [{"line", "col", "text"}], "failed": [{"line", "col", "text"}]}.`
	textPolicyCompileLong = `Print what a policy file comes to in a described network: for each machine, whom it sees and what may come in to it.
FILE may be - for standard input. Its tests are not run: 'warren-coord policy check' does that.

NETWORK.json describes the network. It may have no other fields than these:

  {
    "ipv4": "100.64.0.0/10",                 the network's addresses; this if left out
    "ipv6": "fd00:1:2::/48",                 none if left out
    "users": [
      {"login": "anna@example.org",          lower case
       "role": "admin"}                      owner, admin, auditor or member; member if left out
    ],
    "machines": [
      {"name": "laptop",                     a name of its own
       "user": "anna@example.org",           whose it is; left out for machines with tags
       "tags": ["web"],                      or "tag:web"
       "addrs": ["100.64.0.1", "fd00:1:2::1"],
       "routes": ["192.168.7.0/24"]}         as approved; 0.0.0.0/0 and ::/0 are an exit node's
    ]
  }

With --json the output has this form, machines and what they see ordered by name:

  {"machines": [{
    "name": "laptop",
    "sees": [{"name": "router",              machines that it may reach or be reached by
              "routes": ["192.168.7.0/24"]}], those of its routes that a rule between the two is about
    "filter": {
      "sets":    [{"name": "group:dev", "nets": ["100.64.0.7/32"]}],   source addresses, by name
      "in":      [{"from": ["group:dev"], "allow": ["tcp:22", "icmp"]}],
      "forward": [{"from": ["group:dev"], "to": ["192.168.7.0/24"], "allow": ["tcp:80-443"]}]
    }}]}

"in" is what may come in to the machine itself: from any address of the sets, to the addresses in "to" or, if there is
none, to all of its own, for any of the services: a protocol's name or number, with a port or a range of them. "forward"
is what may go through it to what lies behind it. What neither has is dropped.`
	textPolicySetLong = `Put a policy file in force: the machines hear at once what changes for them. FILE may be - for standard input. What is
wrong with it is told by line and column, and nothing changes then, nor where one of the file's own tests fails.

With --version the file is saved only if that is the version in force ('warren-coord policy get --json' names it), so
that another's change is not overwritten. A file that is in force already makes no version.`
	textFlagPolicyVersion = "save only if this is the version in force; 0: the default"
	textFlagPolicyProto   = "protocol: tcp, udp, icmp or another, or its number"
	textPolicySaved       = "Version %d is in force.\n"
	textPolicyChanges     = "It changes something for %d machines.\n"
	textPolicyGains       = "sees, and is seen by:     "
	textPolicyLoses       = "does not see any more:    "
	textPolicyOpens       = "lets in:                  "
	textPolicyCloses      = "does not let in any more: "
	textPolicyRoutes      = "its route is approved:    "
	textPolicyYes         = "yes: %s may reach %s, %s: %s\n"
	textPolicyNo          = "no: %s may not reach %s, %s: %s\n"
	textPolicyWrong       = "%s is not right, nothing was compiled: mend what is listed and check again"
	textPolicyFails       = "%s: %d of %d expectations of its tests fail: mend the rules or the tests"
	textPolicyRight       = "%s is right: %d rules; %d expectations of its tests hold.\n"
	textPolicyNoMachine   = "the described network has no machine %q"
	textPolicySees        = "sees   "
	textPolicyIn          = "in     "
	textPolicyThrough     = "through"
	textPolicyNetworkBad  = "%s does not describe a network: %w ('warren-coord policy compile --help' shows the form)"
	textPolicyTrailing    = "something follows the description"
	textPolicyRanges      = "ipv4 and ipv6 have to be prefixes of their family without bits below the mask"
	textPolicyTooMany     = "it has %d machines, %d are the most"
	textPolicyTwice       = "%s %s is there twice"
	textPolicyName        = "%s %q: a name has lower-case letters, digits and inner hyphens"
	textPolicyNoUser      = "machine %s is of user %q, whom users does not have"
	textPolicyOwned       = "machine %s has a user and tags: one with tags belongs to nobody, leave one of the two out"
	textPolicyAddrs       = "machine %s has %d addresses and %d tags: 1 to %d, and %d at the most"
	textPolicyAddr        = "machine %s has the address %s, which is not of the network"
)
