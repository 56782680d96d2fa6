package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// The network's access rules: the file in force, how it is replaced, and what it would come to.

// Policy is the file in force. Where nobody has saved one it is the default, and its version is 0.
type Policy struct {
	Text    string    `json:"text"`
	Version int64     `json:"version"`
	By      string    `json:"by,omitempty" doc:"who saved it; none: the host's administrator, or the server"`
	Note    string    `json:"note,omitempty" doc:"where it comes from, if nobody wrote it: upgrade, or restored from another version"`
	Saved   time.Time `json:"saved,omitzero"`
}

// ETag names the version for If-Match.
func (p Policy) ETag() string { return strconv.Quote(strconv.FormatInt(p.Version, 10)) }

// PolicyReport says what is wrong with a file.
type PolicyReport struct {
	Problems policy.Problems `json:"problems" doc:"what keeps it from being read, by line and column"`
	Failed   policy.Problems `json:"failed" doc:"its own tests that fail for this network's users and machines"`
	Rules    int             `json:"rules"`
	Tests    int             `json:"tests" doc:"what its tests expect, counted"`
}

// OK reports whether the file may be saved.
func (r *PolicyReport) OK() bool { return len(r.Problems)+len(r.Failed) == 0 }

// rulesOf reads a file that was saved. It was right then.
func rulesOf(text string) (*policy.File, error) {
	f, err := policy.Parse([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("the policy file in the database cannot be read by this version (was it saved by a newer one?): %w", err)
	}
	return f, nil
}

// rulesIn reads the file in force within a transaction; nil is the default.
func rulesIn(tx store.Tx) (*policy.File, error) {
	p, err := tx.Policy()
	if err != nil || p.ID == 0 {
		return nil, err
	}
	return rulesOf(p.Text)
}

func policyOf(v store.PolicyVersion) Policy {
	if v.ID == 0 {
		return Policy{Text: policy.DefaultText}
	}
	return Policy{Text: v.Text, Version: v.ID, By: v.By, Note: v.Note, Saved: v.Created}
}

// Policy gives the file in force.
func (s *Server) Policy(ctx context.Context) (p Policy, err error) {
	err = s.store.Read(ctx, func(tx store.Tx) error {
		v, err := tx.Policy()
		p = policyOf(v)
		return err
	})
	return p, err
}

// policyVersion gives a file that was in force, or is.
func (s *Server) policyVersion(ctx context.Context, id int64) (p Policy, err error) {
	err = s.store.Read(ctx, func(tx store.Tx) error {
		v, err := tx.PolicyVersion(id)
		p = policyOf(v)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return p, errNoVersion
	}
	return p, err
}

// policyVersions lists what is kept of the history, the newest first, without the texts.
func (s *Server) policyVersions(ctx context.Context) (all []Policy, err error) {
	err = s.store.Read(ctx, func(tx store.Tx) error {
		vs, err := tx.PolicyVersions()
		all = make([]Policy, len(vs))
		for i, v := range vs {
			all[i] = policyOf(v)
		}
		return err
	})
	return all, err
}

// checked is a file that was read, for the network as it is.
type checked struct {
	PolicyReport
	file    *policy.File
	rules   *policy.Compiled // nil: it cannot be read
	network policy.Network   // as rules see it, with all users and all machines that are members
	nodes   map[coord.NodeID]*store.Node
	seq     uint64 // of the newest change then
	// What the file approves by itself of what machines offer already. What the one before it approved, too, is left as it
	// is: an admin may have withdrawn it.
	approves map[coord.NodeID][]netip.Prefix
}

// look reads the network that the file is for.
func (c *checked) look(tx store.Tx, in coord.Network) error {
	users, err := tx.Users()
	if err != nil {
		return err
	}
	nodes, err := tx.Nodes()
	if err != nil {
		return err
	}
	was, err := rulesIn(tx)
	if err != nil {
		return err
	}
	c.network.IPv4, c.network.IPv6 = in.IPv4, in.IPv6
	byID := map[int64]policy.User{}
	for _, u := range users {
		byID[u.ID] = ruledUser(u)
		c.network.Users = append(c.network.Users, byID[u.ID])
	}
	c.nodes, c.approves = make(map[coord.NodeID]*store.Node, len(nodes)), map[coord.NodeID][]netip.Prefix{}
	for i := range nodes {
		n := &nodes[i]
		c.nodes[n.ID] = n
		by := func(f *policy.File) func(netip.Prefix) bool {
			return func(p netip.Prefix) bool { return f.AutoApproves(byID[n.User], n.Tags, p) }
		}
		if more := approvedAnew(n, by(was), by(c.file)); len(more) > 0 {
			c.approves[n.ID] = more // also of one that is no member at the moment: it offers them when it is one again
		}
		if !n.Key.IsZero() && !n.Pending && !n.Expired {
			c.network.Machines = append(c.network.Machines, policy.Machine{ID: n.ID, User: n.User, Tags: n.Tags, Addrs: addresses(in, n.Number), Routes: n.Routes()})
		}
	}
	return nil
}

// put takes a machine in with the routes that the file approves.
func (c *checked) put(rules *policy.Compiled) {
	for _, m := range c.network.Machines {
		if more := c.approves[m.ID]; len(more) > 0 {
			n := *c.nodes[m.ID]
			n.Approved = inOrder(slices.Concat(n.Approved, more))
			m.Routes = n.Routes()
			rules.Put(m)
		}
	}
}

func ruledUser(u store.User) policy.User {
	return policy.User{ID: u.ID, Login: u.Login, Role: string(u.Role)}
}

// approvedAnew are the routes that a machine offers, that nobody has approved, and that the policy approves by itself now
// and did not before.
func approvedAnew(n *store.Node, was, is func(netip.Prefix) bool) []netip.Prefix {
	return slices.DeleteFunc(without(n.Said.Routes, n.Approved), func(p netip.Prefix) bool { return was(p) || !is(p) })
}

// check reads a file, and runs its tests. A text with problems is no error.
func (s *Server) check(tx store.Tx, text string) (c checked, err error) {
	c.Problems, c.Failed = policy.Problems{}, policy.Problems{}
	if c.seq, err = tx.Newest(); err != nil {
		return c, err
	}
	if c.file, err = policy.Parse([]byte(text)); err != nil {
		if !errors.As(err, &c.Problems) {
			return c, err
		}
		return c, nil
	}
	if err := c.look(tx, s.network); err != nil {
		return c, err
	}
	c.PolicyReport.Rules, c.Tests = c.file.Rules(), c.file.Tests()
	c.rules = policy.Compile(c.file, c.network)
	c.put(c.rules)
	c.Failed = append(c.Failed, c.rules.RunTests()...)
	if id, n := c.rules.Largest(); n > policy.MaxLargest {
		c.Problems = append(c.Problems, policy.TooLarge(c.nodes[id].Name, n))
	}
	return c, nil
}

// stands reports whether the network is still as it was when the file was checked, as far as rules look at it.
func (c *checked) stands(tx store.Tx) (bool, error) {
	if c.file == nil {
		return false, nil
	}
	users, err := tx.Users()
	if err != nil || !slices.EqualFunc(users, c.network.Users, func(u store.User, was policy.User) bool { return ruledUser(u) == was }) {
		return false, err
	}
	news, err := tx.News(c.seq)
	if errors.Is(err, store.ErrForgotten) {
		return false, nil
	}
	same := map[coord.NodeID]bool{} // what the log does not tell: the rules look at what is offered, too, and at what is no member now
	for _, n := range news.Nodes {
		was := c.nodes[n.ID]
		same[n.ID] = was != nil && !n.Key.IsZero() && !n.Pending && !n.Expired && slices.Equal(n.Said.Routes, was.Said.Routes) && slices.Equal(n.Approved, was.Approved)
	}
	moved := slices.ContainsFunc(news.Log, func(l store.Change) bool {
		switch l.Kind {
		case store.NodeChanged:
			return l.Facts || !same[l.Node]
		case store.TicketChanged, store.LoginChanged:
			return false
		}
		return true
	})
	return !moved, err
}

// replaces reports whether a text is another than the one in force; match is as for setPolicy.
func replaces(was store.PolicyVersion, text, match string) (bool, error) {
	p := policyOf(was)
	if match != "" && match != "*" && match != p.ETag() {
		return false, errPolicyMoved
	}
	return text != p.Text || was.ID == 0, nil
}

// draftPolicy checks a file that may replace the one in force, without keeping anybody else from writing meanwhile.
func (s *Server) draftPolicy(ctx context.Context, text, match string) (c checked, err error) {
	err = s.store.Read(ctx, func(tx store.Tx) error {
		was, err := tx.Policy()
		if err != nil {
			return err
		}
		if another, err := replaces(was, text, match); !another {
			return err
		}
		c, err = s.check(tx, text)
		return err
	})
	return c, err
}

// tooLarge warns of a filter that the rules in force have grown to with the network; empty: there is none.
func (s *Server) tooLarge() (text string) {
	s.hub.rules(func(rules *policy.Compiled) {
		id, n := rules.Largest()
		if m, ok := s.hub.st.View().Member(id); ok && n > policy.MaxLargest {
			text = fmt.Sprintf(textRulesLarge, m.Node.Name, n, coord.MaxFilterPrefixes, policy.MaxLargest)
		}
	})
	return text
}

// checkPolicy is check for who changes nothing.
func (s *Server) checkPolicy(ctx context.Context, text string) (c checked, err error) {
	err = s.store.Read(ctx, func(tx store.Tx) (err error) { c, err = s.check(tx, text); return err })
	return c, err
}

// errPolicy refuses a file with all that is wrong with it.
func (r *PolicyReport) refuse() error {
	var b strings.Builder
	b.WriteString(textPolicyRefused)
	for _, p := range slices.Concat(r.Problems, r.Failed)[:min(policy.MaxProblems, len(r.Problems)+len(r.Failed))] {
		b.WriteString("\n" + p.String())
	}
	e := *errPolicyWrong
	e.Message = b.String()
	return &e
}

// setPolicy puts a file in force. match names the version that it replaces, as an ETag; empty: whichever there is. A
// text that is in force already makes no version.
func (s *Server) setPolicy(ctx context.Context, by caller, text, match, note string) (p Policy, err error) {
	c, err := s.draftPolicy(ctx, text, match)
	if err != nil {
		return p, err
	}
	return s.savePolicy(ctx, by, c, text, match, note)
}

// savePolicy is setPolicy for a file that was checked just now. Where the network is another since, it is checked again.
func (s *Server) savePolicy(ctx context.Context, by caller, c checked, text, match, note string) (p Policy, err error) {
	err = s.store.Write(ctx, func(tx store.Tx) error {
		if err := authorizeNow(tx, by, account.Change, false); err != nil {
			return err
		}
		was, err := tx.Policy()
		if err != nil {
			return err
		}
		p = policyOf(was)
		if another, err := replaces(was, text, match); !another {
			return err
		}
		if ok, err := c.stands(tx); err != nil {
			return err
		} else if !ok {
			if c, err = s.check(tx, text); err != nil {
				return err
			}
		}
		if !c.OK() {
			return c.refuse()
		}
		v := store.PolicyVersion{Text: text, User: by.user, By: by.login, Note: note, Created: s.now()}
		if v.ID, err = tx.AddPolicy(v); err != nil {
			return err
		}
		p = policyOf(v)
		if err := s.record(tx, by, actPolicy, textPolicyName, facts{"version": v.ID, "from": was.ID, "rules": c.PolicyReport.Rules, "note": note}); err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(c.approves)) {
			n, err := tx.Node(id) // its name may be another by now
			if err != nil {
				return err
			}
			if err := s.approveInTx(tx, &n, c.approves[id]); err != nil {
				return err
			}
			if err := tx.SetNode(n); err != nil {
				return err
			}
		}
		return nil
	})
	return p, err
}

// restorePolicy puts a version in force again.
func (s *Server) restorePolicy(ctx context.Context, by caller, id int64, match string) (Policy, error) {
	v, err := s.policyVersion(ctx, id)
	if err != nil {
		return Policy{}, err
	}
	return s.setPolicy(ctx, by, v.Text, match, fmt.Sprintf(textPolicyRestored, id))
}

// autoApprove approves those of the routes that a machine offers anew which the policy lets it lead to.
func (s *Server) autoApprove(ctx context.Context, id coord.NodeID, fresh []netip.Prefix) error {
	var may []netip.Prefix
	s.hub.rules(func(rules *policy.Compiled) {
		for _, p := range fresh {
			if rules.AutoApproves(id, p) {
				may = append(may, p)
			}
		}
	})
	m, ok := s.hub.view().Member(id)
	if len(may) == 0 || !ok {
		return nil
	}
	return s.setRoutes(ctx, caller{via: viaServer}, m, RoutesRequest{Approve: may})
}

// approveAs approves what a machine offers already and the policy lets it lead to for what it is now: it had other tags,
// or its user another role. The node is to be saved if there was something.
func (s *Server) approveAs(tx store.Tx, f *policy.File, is *store.Node, was, now holder) (bool, error) {
	more := approvedAnew(is,
		func(p netip.Prefix) bool { return f.AutoApproves(was.User, was.tags, p) },
		func(p netip.Prefix) bool { return f.AutoApproves(now.User, now.tags, p) })
	if len(more) == 0 {
		return false, nil
	}
	return true, s.approveInTx(tx, is, more)
}

// holder is whose a machine is, as far as rules look at it.
type holder struct {
	policy.User
	tags []string
}

// approveByTags approves what a machine that had other tags may lead to for those that it has now.
func (s *Server) approveByTags(tx store.Tx, was, is *store.Node) error {
	if len(without(is.Said.Routes, is.Approved)) == 0 {
		return nil
	}
	f, err := rulesIn(tx)
	if err != nil {
		return err
	}
	before, err := holderOf(tx, was)
	if err != nil {
		return err
	}
	now, err := holderOf(tx, is)
	if err != nil {
		return err
	}
	_, err = s.approveAs(tx, f, is, before, now)
	return err
}

func holderOf(tx store.Tx, n *store.Node) (holder, error) {
	if n.User == 0 {
		return holder{tags: n.Tags}, nil
	}
	u, err := tx.User(n.User)
	return holder{ruledUser(u), n.Tags}, err
}

// approveByRole approves what a user's machines may lead to for the role that the user has now.
func (s *Server) approveByRole(tx store.Tx, u store.User, role account.Role) error {
	f, err := rulesIn(tx)
	if err != nil || f == nil {
		return err
	}
	nodes, err := tx.Nodes()
	if err != nil {
		return err
	}
	was, now := ruledUser(u), ruledUser(u)
	now.Role = string(role)
	for i := range nodes {
		n := &nodes[i]
		if n.User != u.ID || len(n.Tags) > 0 {
			continue
		}
		approved, err := s.approveAs(tx, f, n, holder{was, nil}, holder{now, nil})
		if err == nil && approved {
			err = tx.SetNode(*n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// approveInTx approves what the policy lets a machine lead to, if there is room for it. The node is to be saved.
func (s *Server) approveInTx(tx store.Tx, n *store.Node, more []netip.Prefix) error {
	next := inOrder(slices.Concat(n.Approved, wholeExit(more)))
	if coord.ValidateRoutes(next, &s.network) != nil { // they are too many together: an admin is to choose
		return nil
	}
	gained := without(next, n.Approved)
	n.Approved = next
	return s.record(tx, caller{via: viaServer}, actMachineRoutes, n.Name, facts{"id": n.ID, "approved": gained})
}

// mayTag refuses who may not give machines these tags: owners and admins may give all, others those that are theirs by
// the policy's tagOwners.
func (s *Server) mayTag(tx store.Tx, by caller, tags []string) error {
	if authorizeNow(tx, by, account.Change, false) == nil {
		return nil
	}
	f, err := rulesIn(tx)
	if err != nil {
		return err
	}
	u, err := tx.User(by.user)
	if err != nil {
		return err
	}
	for _, t := range tags {
		if f == nil || !f.MayTag(ruledUser(u), nil, t) {
			e := *errNotAllowed
			e.Message = fmt.Sprintf(textTagNotYours, t)
			return &e
		}
	}
	return nil
}
