package policy

// AllText is a policy under which all reach all, as it was in networks from before there were rules. What lies behind
// routers may begin flows, too.
const AllText = `// All machines of this network reach each other, and what lies behind routers: what it was before there were rules.
// To have rules, write them here in the place of this one. Without the file, the default lets each person's machines talk.
{
  "grants": [
    {"src": ["*"], "dst": ["*"], "ip": ["*", "sctp:*", "gre:*", "esp:*", "ah:*", "4:*", "41:*"]},
  ],
}
`

// DefaultText is the policy in force where there is no file, or one without rules: a file of its own, with which people
// can begin theirs.
const DefaultText = `// What may talk to what in this network, in the language of Tailscale's policy file.
// Rules only allow: what none of them allows, is denied.
{
  "grants": [
    // A person's machines reach each other,
    {"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]},

    // and the machines that belong to nobody: servers, with tags.
    {"src": ["autogroup:member"], "dst": ["autogroup:tagged"], "ip": ["*"]},

    // Those reach each other: only owners and admins let them in. They do not reach people's machines.
    {"src": ["autogroup:tagged"], "dst": ["autogroup:tagged"], "ip": ["*"]},

    // All use the subnet routers and exit nodes that an admin has approved.
    {"src": ["autogroup:member", "autogroup:tagged"], "dst": ["autogroup:subnets", "autogroup:internet"], "ip": ["*"]},
  ],
}
`

// defaultFile is DefaultText, read.
var defaultFile = func() *File {
	f, err := Parse([]byte(DefaultText))
	if err != nil {
		panic(err)
	}
	return f
}()
