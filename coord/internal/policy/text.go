package policy

// What is said of files stands here: what is wrong, and what to do.
const (
	textTooLong    = "the file has %d bytes, %d are the most"
	textNotUTF8    = "this is no text in UTF-8: save the file as UTF-8"
	textTooDeep    = "this is nested more than %d deep: a policy never is"
	textSyntax     = "this is no HuJSON (JSON with comments and trailing commas): %s"
	textWantObject = "%s must be an object, in braces"
	textWantList   = "%s must be a list, in brackets"
	textWantString = "%s must be text, in quotes"
	textTooMany    = "%s has %d entries, %d are the most"
	textTwice      = "%q is there already, on line %d: join the two"

	textNoSection  = "there is no section %q: those that there are, are groups, hosts, ipsets, tagOwners, acls, grants, autoApprovers and tests"
	textNoField    = "%s has no field %q: it has %s"
	textMissing    = "%s lacks %q"
	textBothFields = "%q and %q are two names of one field: keep one of them"

	textGroupName   = "a group's name begins with group: and goes on with letters, digits, - and _; this is %q"
	textGroupGroup  = "groups do not nest: list the users of %q here"
	textGroupMember = "%q is no user: a group has users, each by their login"
	textHostName    = "a host's name has letters, digits, '.', '-' and '_' and is no address; this is %q"
	textHostValue   = "%q is neither an address nor a prefix such as 10.0.0.0/8"
	textHostMask    = "%s has bits below its mask: is %s meant?"
	textMapped      = "%s is IPv4 written as IPv6: write it as IPv4"
	textZone        = "%s has a zone, which means nothing to other machines: leave it out"
	textIPSetName   = "an ipset's name begins with ipset: and goes on with letters, digits, - and _; this is %q"
	textIPSetEntry  = "%q is no address, prefix, host, ipset or autogroup:internet, with \"add \" or \"remove \" before it if you like"
	textIPSetLoop   = "%q contains itself"
	textIPSetLarge  = "%q comes to more than %d prefixes"
	textIPSetsLarge = "up to here the ipsets are made of more than %d prefixes: make less of them"
	textTagName     = "a tag's name begins with tag: and goes on with lower-case letters, digits and inner hyphens; this is %q"
	textTagOwner    = "%q cannot own a tag: users, groups, tags and the autogroups member, owner, admin and auditor can"

	textNoGroup     = "there is no %q in groups: add it, or mend the name"
	textNoTag       = "%q has no owner: add \"%s\": [] to tagOwners (then only owners and admins give it), or mend the name"
	textNoIPSet     = "there is no %q in ipsets: add it, or mend the name"
	textNoHost      = "there is no host %q in hosts; if the user is meant, write %s@"
	textNoAutogroup = "Warren has no %q: it has autogroup:member, owner, admin, auditor, tagged, self, internet and subnets"
	textDomain      = "users of a whole domain (%q) are not known here: list them in a group"
	textPortsHere   = "no ports (%s) stand here: write %q, and in a grant the ports in \"ip\""
	textService     = "Warren has no virtual services, such as %q: name the machines that serve"
	textNoKind      = "Warren has nothing like %q: name users, groups, tags, hosts, addresses, ipsets or autogroups"
	textBadAddr     = "%q is no address and no prefix"

	textOnlyDst    = "%q can only be a destination"
	textSelfSource = "autogroup:self goes with users, groups and their autogroups as sources, and %q is none: make two rules of this one"
	textViaDst     = "via goes with what lies behind routers (addresses, hosts, ipsets, autogroup:internet, autogroup:subnets), and %q is none: make two rules of this one"
	textViaTag     = "%q cannot be in via: name tags of routers or exit nodes"
	textViaEmpty   = "via is empty: name tags of routers or exit nodes, or leave it out"

	textAction    = "the action is %q: \"accept\" is the only one, what no rule allows is denied"
	textNoPort    = "%q lacks its ports: write it as %s:22, %s:80,443 or %s:*"
	textBrackets  = "%q can be read in two ways: write an IPv6 address in brackets, as [fd00::1]:22"
	textPorts     = "%q are no ports: write 22, 80,443, 8000-8999 or *; they go from 1 to 65535"
	textProto     = "%q is no protocol: it is a name such as tcp, udp, icmp, sctp or gre, or a number from 1 to 255"
	textProtoPort = "%s has no ports: write * for them"
	textServices  = "this comes to %d protocols and ports, %d are the most"
	textIP        = "%q is not understood: write \"*\", \"443\", \"8000-8999\", \"tcp:443\", \"udp:*\" or \"icmp:*\""
	textNeedsIP   = "the grant lacks \"ip\": say what it allows, such as [\"tcp:443\"], or [\"*\"] for all"

	textTooMuch = "up to here the rules have more than %d different sources, or more than %d destinations: join them in groups, tags or ipsets"

	textTooLarge = "in this network the filter of the machine %s comes to %d prefixes, %d are the most: join groups, or use fewer and larger prefixes"

	textTestEmpty = "the test expects nothing: give \"accept\" or \"deny\""
	textTestWho   = "a test cannot ask for %q: name a user, a group, a tag, a role (autogroup:admin), a host or one address"
	textTestPort  = "a test asks for one port: write one instead of %q"

	textApprover = "%q cannot approve: users, groups, tags and the autogroups member, owner, admin and auditor can"
	textRoute    = "%q is no prefix such as 10.0.0.0/8"
)

// textRefused are the parts of Tailscale's language that Warren does not do, and what to do instead. Keys are in lower case.
var textRefused = map[string]string{
	"ssh":                 "Warren has no SSH server of its own: remove \"ssh\", and allow tcp:22 in a grant",
	"sshtests":            "Warren has no SSH server of its own: remove \"sshTests\"",
	"nodeattrs":           "Warren has no node attributes: remove \"nodeAttrs\"",
	"postures":            "Warren knows no device postures: remove \"postures\", and the grants that count on them",
	"defaultsrcposture":   "Warren knows no device postures: remove \"defaultSrcPosture\"",
	"srcposture":          "Warren knows no device postures, and without its posture the rule would allow more: remove the rule, or its \"srcPosture\"",
	"srcpostureattrs":     "Warren knows no device postures: remove \"srcPostureAttrs\"",
	"app":                 "Warren has no grants for applications: remove \"app\"",
	"derpmap":             "relays are set up at the server, not in the policy ('warren-coord relay --help'): remove \"derpMap\"",
	"disableipv4":         "a network's addresses are set up at the server: remove \"disableIPv4\"",
	"onecgnatroute":       "Warren routes only the network's own addresses: remove \"OneCGNATRoute\"",
	"randomizeclientport": "Warren's machines choose their port by themselves: remove \"randomizeClientPort\"",
	"appconnectors":       "Warren has no app connectors: remove \"appConnectors\"",
	"services":            "Warren has no virtual services: remove \"services\"",
}
