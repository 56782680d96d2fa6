package server

import (
	"context"
	"errors"
	"fmt"
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

// Bounds of what a policy may come to in the network as it is. The network may grow to four times that before a machine
// would refuse its filter.
const maxExpanded = coord.MaxFilterPrefixes / 4

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

// rulesNetwork is the network as rules see it, with all users and all machines that are members.
func (s *Server) rulesNetwork(tx store.Tx) (n policy.Network, names map[coord.NodeID]string, err error) {
	users, err := tx.Users()
	if err != nil {
		return n, nil, err
	}
	nodes, err := tx.Nodes()
	if err != nil {
		return n, nil, err
	}
	n.IPv4, n.IPv6 = s.network.IPv4, s.network.IPv6
	for _, u := range users {
		n.Users = append(n.Users, policy.User{ID: u.ID, Login: u.Login, Role: string(u.Role)})
	}
	names = make(map[coord.NodeID]string, len(nodes))
	for i := range nodes {
		x := &nodes[i]
		if x.Key.IsZero() || x.Pending || x.Expired {
			continue
		}
		names[x.ID] = x.Name
		n.Machines = append(n.Machines, policy.Machine{ID: x.ID, User: x.User, Tags: x.Tags, Addrs: addresses(s.network, x.Number), Routes: x.Routes()})
	}
	return n, names, nil
}

// checked is a file that was read, for the network as it is.
type checked struct {
	PolicyReport
	file    *policy.File
	rules   *policy.Compiled // nil: it cannot be read
	network policy.Network
	names   map[coord.NodeID]string
}

// check reads a file, and runs its tests. A text with problems is no error.
func (s *Server) check(tx store.Tx, text string) (c checked, err error) {
	c.Problems, c.Failed = policy.Problems{}, policy.Problems{}
	if c.file, err = policy.Parse([]byte(text)); err != nil {
		if !errors.As(err, &c.Problems) {
			return c, err
		}
		return c, nil
	}
	if c.network, c.names, err = s.rulesNetwork(tx); err != nil {
		return c, err
	}
	c.PolicyReport.Rules, c.Tests = c.file.Rules(), c.file.Tests()
	c.rules = policy.Compile(c.file, c.network)
	c.Failed = append(c.Failed, c.rules.RunTests()...)
	if n := c.rules.Largest(); n > maxExpanded {
		c.Problems = append(c.Problems, policy.Problem{Pos: policy.Pos{Line: 1, Col: 1}, Text: fmt.Sprintf(textPolicyLarge, n, maxExpanded)})
	}
	return c, nil
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
	err = s.store.Write(ctx, func(tx store.Tx) error {
		if err := authorizeNow(tx, by, account.Change, false); err != nil {
			return err
		}
		was, err := tx.Policy()
		if err != nil {
			return err
		}
		if p = policyOf(was); match != "" && match != "*" && match != p.ETag() {
			return errPolicyMoved
		}
		if text == p.Text && was.ID != 0 {
			return nil
		}
		c, err := s.check(tx, text)
		if err != nil {
			return err
		}
		if !c.OK() {
			return c.refuse()
		}
		v := store.PolicyVersion{Text: text, User: by.user, By: by.login, Note: note, Created: s.now()}
		if v.ID, err = tx.AddPolicy(v); err != nil {
			return err
		}
		p = policyOf(v)
		return s.record(tx, by, actPolicy, textPolicyName, facts{"version": v.ID, "from": was.ID, "rules": c.PolicyReport.Rules, "note": note})
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
		if f == nil || !f.MayTag(policy.User{ID: u.ID, Login: u.Login, Role: string(u.Role)}, nil, t) {
			e := *errNotAllowed
			e.Message = fmt.Sprintf(textTagNotYours, t)
			return &e
		}
	}
	return nil
}
