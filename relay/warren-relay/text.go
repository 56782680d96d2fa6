package main

// What people read.
const (
	textShort = "Relay sealed packets between the machines of a Warren network"
	textLong  = `Warren-relay forwards packets between machines that cannot reach each other directly, and tells machines their
address (STUN). The packets are sealed end to end: a relay reads none of them. It serves the networks whose
coordination servers are named with --issuer, and nobody else.

A file of settings (--config) and variables can stand for flags. The files of a certificate are read again when they change,
and on SIGHUP, when also the limits and issuers are read anew from the file of settings; on SIGTERM it asks the
machines to move to other relays, and serves them until they have (--drain).

Start it, then let 'warren-relay key' print the line that adds it to the network.`
	textServe   = "Relay (this is also what warren-relay does without a command)"
	textKey     = "Print the relay's key, its certificate, and the line that adds it to a network"
	textKeyLong = textKey + `.
Give the same --udp, --https, --tls-cert and --domain as to serve; an empty one means that there is none.`

	textCheck     = "Check settings, files, ports and whether the relay answers"
	textCheckLong = textCheck + `.
Without a running relay it tries what serve would do, without serving; key and certificate are made if there are none.
With one it asks the UDP port for this host's address (STUN) and the HTTPS port for its certificate.`
	textConfig = "`file` of settings: a line for each, the name of a flag without dashes, =, and its value; flags and then WARREN_RELAY_… variables (WARREN_RELAY_CLIENT_RATE) go before it"

	textClientRate     = "`Mbit/s` that one machine may send through the relay; 0: as much as it can"
	textNetworkRate    = "`Mbit/s` that all machines of a network may send through the relay together; 0: as much as they can"
	textNetworkClients = "`machines` of a network that may use the relay at a time; 0: as many as there is room for"

	textState   = "`directory` of the relay's key and certificate"
	textUDP     = "`address` of relaying and STUN over UDP; empty: none"
	textHTTPS   = "`address` of relaying over WebSocket, for networks without UDP; empty: none"
	textCert    = "`file` of the TLS certificate and its chain, in PEM, read again when it changes; without it the relay makes its own, which machines pin"
	textCertKey = "`file` of the TLS certificate's private key, in PEM"
	textDomain  = "get a certificate for this `name` from a public authority, which accepts its terms; the name must lead to this host, port 443, which --https then is"
	textEmail   = "`address` at which the authority can reach you about the certificate"
	textCA      = "`address` of the authority's ACME directory (default: Let's Encrypt)"
	textCARoot  = "`file` of the certificates (PEM) that vouch for the authority itself; needed for one of your own"
	textIssuer  = "public `key` (server:…) of a coordination server whose network to serve; may be repeated"
	textMetrics = "`address` of /metrics for Prometheus and of /healthz, over plain HTTP, such as 127.0.0.1:9478; empty: none"
	textDrain   = "how long at the end machines may take to move to another relay; a second signal ends it at once"
	textDebug   = "log more"
	textHost    = "`name` or address at which machines reach this relay"
	textName    = "`name` of the relay in the network"

	textNoIssuer    = "no network to serve: give the coordination server's public key with --issuer server:… ('warren-coord' prints it when it starts)"
	textNoWay       = "nothing to serve: --udp and --https are both empty"
	textNegative    = "%s %v is less than nothing"
	textTwoTLS      = "--domain gets a certificate, and --tls-cert brings one: give one of them"
	textDomainAlone = "--domain gets a certificate for --https, which is empty"
	textBadDomain   = "--domain %q: a public authority gives a certificate for a full name, such as relay.example.org"
	textHalfTLS     = "--tls-cert and --tls-key go together: give both, or neither for a certificate of the relay's own"
)
