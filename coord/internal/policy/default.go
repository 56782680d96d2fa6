package policy

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

    // People use the subnet routers and exit nodes that an admin has approved.
    {"src": ["autogroup:member"], "dst": ["autogroup:subnets", "autogroup:internet"], "ip": ["*"]},
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
