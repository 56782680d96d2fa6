package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/policy"
)

// Bounds on a described network.
const (
	maxDescription = 64 << 20 // bytes
	maxMachines    = 100_000
)

// networkFile is a network as a file describes it; see textPolicyCompileLong. It may have no field but these.
type networkFile struct {
	IPv4     netip.Prefix  `json:"ipv4"` // its addresses; none: 100.64.0.0/10
	IPv6     netip.Prefix  `json:"ipv6"` // none: it has none
	Users    []userFile    `json:"users"`
	Machines []machineFile `json:"machines"`
}

type userFile struct {
	Login string `json:"login"`
	Role  string `json:"role"` // owner, admin, auditor or member; none: member
}

type machineFile struct {
	Name   string         `json:"name"`   // a lower-case DNS label, its own
	User   string         `json:"user"`   // login of its owner; none with tags
	Tags   []string       `json:"tags"`   // "web" or "tag:web"
	Addrs  []netip.Addr   `json:"addrs"`  // one or two, of the network, its own
	Routes []netip.Prefix `json:"routes"` // as approved; 0.0.0.0/0 and ::/0 are an exit node's
}

// description is a network with its machines' names.
type description struct {
	network policy.Network
	names   map[coord.NodeID]string
}

// readNetwork reads a described network, strictly.
func readNetwork(name string) (description, error) {
	file, err := os.Open(name)
	if err != nil {
		return description{}, err
	}
	defer func() { _ = file.Close() }()
	var n networkFile
	dec := json.NewDecoder(io.LimitReader(file, maxDescription))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&n); err != nil {
		return description{}, fmt.Errorf(textPolicyNetworkBad, name, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return description{}, fmt.Errorf(textPolicyNetworkBad, name, errors.New(textPolicyTrailing))
	}
	d, err := n.describe()
	if err != nil {
		return description{}, fmt.Errorf(textPolicyNetworkBad, name, err)
	}
	return d, nil
}

func (n *networkFile) describe() (d description, err error) {
	if !n.IPv4.IsValid() {
		n.IPv4 = netip.MustParsePrefix("100.64.0.0/10")
	}
	common := coord.Network{IPv4: n.IPv4, IPv6: n.IPv6}
	if !n.IPv4.Addr().Is4() || n.IPv6.IsValid() && (!n.IPv6.Addr().Is6() || n.IPv6.Addr().Is4In6()) || n.IPv4 != n.IPv4.Masked() || n.IPv6 != n.IPv6.Masked() {
		return d, errors.New(textPolicyRanges)
	}
	if len(n.Machines) > maxMachines {
		return d, fmt.Errorf(textPolicyTooMany, len(n.Machines), maxMachines)
	}
	d = description{network: policy.Network{IPv4: n.IPv4, IPv6: n.IPv6}, names: make(map[coord.NodeID]string, len(n.Machines))}
	users := make(map[string]int64, len(n.Users))
	for i, u := range n.Users {
		if u.Role == "" {
			u.Role = string(account.Member)
		}
		if err := account.CheckLogin(u.Login); err != nil {
			return d, fmt.Errorf("user %q: %w", u.Login, err)
		}
		if _, err := account.ParseRole(u.Role); err != nil {
			return d, fmt.Errorf("user %s: %w", u.Login, err)
		}
		if users[u.Login] != 0 {
			return d, fmt.Errorf(textPolicyTwice, "user", u.Login)
		}
		users[u.Login] = int64(i + 1)
		d.network.Users = append(d.network.Users, policy.User{ID: int64(i + 1), Login: u.Login, Role: u.Role})
	}
	taken := make(map[any]bool, 3*len(n.Machines))
	for i := range n.Machines {
		m, err := n.Machines[i].machine(coord.NodeID(i+1), users, &common, taken)
		if err != nil {
			return d, err
		}
		d.network.Machines = append(d.network.Machines, m)
		d.names[m.ID] = n.Machines[i].Name
	}
	return d, nil
}

// machine holds one against what machines can be; taken are the names and addresses of others.
func (m *machineFile) machine(id coord.NodeID, users map[string]int64, n *coord.Network, taken map[any]bool) (out policy.Machine, err error) {
	switch {
	case !coord.ValidName(m.Name):
		return out, fmt.Errorf(textPolicyName, "machine", m.Name)
	case taken[m.Name]:
		return out, fmt.Errorf(textPolicyTwice, "machine", m.Name)
	case m.User != "" && users[m.User] == 0:
		return out, fmt.Errorf(textPolicyNoUser, m.Name, m.User)
	case m.User != "" && len(m.Tags) > 0:
		return out, fmt.Errorf(textPolicyOwned, m.Name)
	case len(m.Addrs) == 0 || len(m.Addrs) > coord.MaxAddrs || len(m.Tags) > coord.MaxTags:
		return out, fmt.Errorf(textPolicyAddrs, m.Name, len(m.Addrs), len(m.Tags), coord.MaxAddrs, coord.MaxTags)
	}
	taken[m.Name] = true
	for _, a := range m.Addrs {
		if !n.IPv4.Contains(a) && !n.IPv6.Contains(a) {
			return out, fmt.Errorf(textPolicyAddr, m.Name, a)
		}
		if taken[a] {
			return out, fmt.Errorf(textPolicyTwice, "address", a.String())
		}
		taken[a] = true
	}
	out = policy.Machine{ID: id, User: users[m.User], Addrs: m.Addrs, Routes: m.Routes}
	for _, t := range m.Tags {
		t = strings.TrimPrefix(t, "tag:")
		if !coord.ValidName(t) {
			return out, fmt.Errorf(textPolicyName, "tag", t)
		}
		out.Tags = append(out.Tags, t)
	}
	slices.Sort(out.Tags)
	out.Tags = slices.Compact(out.Tags)
	if err := coord.ValidateRoutes(m.Routes, n); err != nil {
		return out, fmt.Errorf("machine %s: %w", m.Name, err)
	}
	return out, nil
}
