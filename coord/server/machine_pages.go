package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/internal/state"
)

const (
	maxRows  = 200                 // of a page; search finds the others
	maxQuery = 100                 // bytes
	soon     = 14 * 24 * time.Hour // before its end, an expiry is pointed out
)

// machineRow is a machine as the console shows it.
type machineRow struct {
	ID                                            coord.NodeID
	Name, OS, Version, Owner, Seen, Expires, Soon string
	State                                         string // online, offline, expired or waiting
	Addrs, Tags                                   []string
	Ephemeral                                     bool
	Asks, Exit, Relays                            bool // it offers what nobody has approved; it leads to the internet; it relays for others
	Leads                                         []string
}

// machineList is the front page.
type machineList struct {
	Total, Online, Found, Hidden int
	Asking                       int  // machines that offer what nobody has approved
	OnlyAsking                   bool // they alone are shown
	Query, Invite                string
	Rows                         []machineRow
	Waiting                      []machineRow // for approval; not among the others
	Decide                       bool         // the visitor may let them in
}

// machineDetail is a machine's own page.
type machineDetail struct {
	machineRow
	Suffix, Joined, Relay, Fingerprint string
	Endpoints                          []endpointRow
	Routes                             []routeInfo
	OffersRelay, MayRelay              bool
	Change                             bool     // the visitor may change it
	Yours                              []string // tags that the rules let the visitor give it, whatever their role
	Rules                              bool     // or see the network's rules
	Decide, Extend, Tag, Lead          bool     // or let it in, or give its key another life, or other tags, or approve its routes
}

type endpointRow struct{ Addr, Kind string }

func rowOf(now time.Time, m state.Member) machineRow {
	n := m.Node
	row := machineRow{
		ID: n.ID, Name: n.Name, OS: n.OS, Version: n.Version, Owner: n.User.Login, Tags: n.Tags, State: "offline", Ephemeral: m.Ephemeral,
		Seen: ago(now, n.LastSeen), Expires: "never",
	}
	for _, a := range n.Addrs {
		row.Addrs = append(row.Addrs, a.String())
	}
	row.Asks, row.Exit, row.Relays = asksAnything(m), n.IsExit(), n.Relaying != nil
	for _, p := range n.Routes {
		if !coord.IsExitRoute(p) {
			row.Leads = append(row.Leads, p.String())
		}
	}
	switch {
	case m.Pending:
		row.State = "waiting"
	case m.Expired:
		row.State = "expired"
	case n.Online:
		row.State, row.Seen = "online", "now"
	}
	if !n.Expires.IsZero() {
		row.Expires = n.Expires.Format("2 Jan 2006")
		if left := n.Expires.Sub(now); left < soon {
			row.Soon = fmt.Sprintf(textDaysLeft, max(1, int(left.Hours()/24)))
		}
	}
	return row
}

// matches reports whether each word of the query is somewhere in the row.
func (m *machineRow) matches(query string) bool {
	exit := ""
	if m.Exit {
		exit = textExitNode
	}
	text := strings.ToLower(strings.Join([]string{
		m.Name, m.OS, m.Version, m.Owner, m.State, exit, strings.Join(m.Addrs, " "), strings.Join(m.Tags, " "), strings.Join(m.Leads, " "),
	}, "\n"))
	for word := range strings.FieldsSeq(strings.ToLower(query)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// machinesPage lists the machines that the visitor may see.
func (s *Server) machinesPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	list := machineList{Query: cleanText(r.URL.Query().Get("q"), maxQuery), Invite: coord.FormatInvite(s.url, s.Key())}
	list.Decide, list.OnlyAsking = mayDecide(v), r.URL.Query().Has("asking")
	now := s.now()
	for m := range s.hub.view().Members() {
		if authorize(v.caller(), account.See, m.Node.User.ID == v.user.ID) != nil {
			continue
		}
		row := rowOf(now, m)
		if m.Pending {
			row.Seen = ago(now, m.Node.Created)
			if len(list.Waiting) < maxRows {
				list.Waiting = append(list.Waiting, row)
			}
			continue
		}
		list.Total++
		if row.State == "online" {
			list.Online++
		}
		if row.Asks {
			list.Asking++
		}
		if !row.matches(list.Query) || list.OnlyAsking && !row.Asks {
			continue
		}
		list.Found++
		if len(list.Rows) < maxRows {
			list.Rows = append(list.Rows, row)
		}
	}
	list.Hidden = list.Found - len(list.Rows)
	return s.showConsole(w, http.StatusOK, "machines", "/", v, page{Title: textMachines, Body: list, Live: true})
}

func (s *Server) addPage(w http.ResponseWriter, _ *http.Request, v *visit) error {
	return s.showConsole(w, http.StatusOK, "add", "/", v, page{
		Title: "Add a machine", Invite: coord.FormatInvite(s.url, s.Key()), Body: authorize(v.caller(), account.Change, true) == nil,
	})
}

// pathNumber is the number in the path; 0 is none that anything has.
func pathNumber(r *http.Request) int64 {
	n, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (s *Server) machineInPath(r *http.Request) (state.Member, error) {
	m, ok := s.hub.view().Member(coord.NodeID(pathNumber(r)))
	if !ok {
		return m, errNoMachine
	}
	return m, nil
}

// machineOwner is an ownerOf.
func (s *Server) machineOwner(r *http.Request) (int64, error) {
	m, err := s.machineInPath(r)
	return m.Node.User.ID, err
}

func (s *Server) machinePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	m, err := s.machineInPath(r)
	if err != nil {
		return err
	}
	return s.showMachine(w, http.StatusOK, v, m, "", "")
}

func (s *Server) showMachine(w http.ResponseWriter, status int, v *visit, m state.Member, typed, problem string) error {
	var theirs []string
	if m.Node.User.ID == v.user.ID {
		s.hub.rules(func(rules *policy.Compiled) { theirs = rules.TagsOf(ruledUser(v.user)) })
	}
	d := machineDetail{
		machineRow: rowOf(s.now(), m), Suffix: s.network.Suffix, Joined: m.Node.Created.Format("2 Jan 2006"),
		Fingerprint: shortKey(m.Machine),
		Change:      authorize(v.caller(), account.Change, m.Node.User.ID == v.user.ID) == nil,
		Decide:      mayDecide(v) && m.Pending,
		Tag:         !m.Pending && (mayDecide(v) || len(theirs) > 0 && authorize(v.caller(), account.Change, true) == nil), Yours: theirs,
		Routes: routesOf(m), Lead: mayDecide(v), OffersRelay: m.OffersRelay != nil, MayRelay: m.MayRelay,
		Rules:  authorize(v.caller(), account.See, false) == nil,
		Extend: mayDecide(v) && !m.Pending && m.Node.User.ID != 0 && len(m.Node.Tags) == 0,
	}
	for _, l := range s.hub.view().Relays {
		if l.ID == m.Node.Relay {
			d.Relay = l.Name
		}
	}
	for _, e := range m.Node.Endpoints {
		kind := textEndpointLocal
		if e.Kind == coord.EndpointSTUN {
			kind = textEndpointSTUN
		}
		d.Endpoints = append(d.Endpoints, endpointRow{Addr: e.Addr.String(), Kind: kind})
	}
	return s.showConsole(w, status, "machine", "/", v, page{Title: m.Node.Name, Live: status == http.StatusOK, Typed: typed, Problem: problem, Body: d})
}

func (s *Server) renameMachinePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	m, err := s.machineInPath(r)
	if err != nil {
		return err
	}
	name := strings.TrimSpace(r.PostForm.Get("name"))
	err = s.renameMachine(r.Context(), v.caller(), m, name)
	var e *coord.Error
	if errors.Is(err, errNameBad) || errors.Is(err, errNameTaken) {
		errors.As(err, &e)
		return s.showMachine(w, e.Status, v, m, cleanText(name, coord.MaxNameLength), e.Message+".")
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/machines/"+r.PathValue("id"))
}

func (s *Server) askExpire(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.askMachine(w, r, v, textExpireAsk, textExpireWhat, textExpire)
}

func (s *Server) askRemove(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.askMachine(w, r, v, textRemoveAsk, textRemoveWhat, textRemove)
}

func (s *Server) askMachine(w http.ResponseWriter, r *http.Request, v *visit, ask, what, button string) error {
	m, err := s.machineInPath(r)
	if err != nil {
		return err
	}
	return s.confirm(w, "/", v, confirmation{
		Ask: fmt.Sprintf(ask, m.Node.Name), What: what, Action: r.URL.Path, Button: button, Back: "/machines/" + r.PathValue("id"),
	})
}

func (s *Server) expirePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	m, err := s.machineInPath(r)
	if err == nil {
		err = s.expireMachine(r.Context(), v.caller(), m)
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/machines/"+r.PathValue("id"))
}

func (s *Server) removePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	m, err := s.machineInPath(r)
	if err == nil {
		err = s.removeMachine(r.Context(), v.caller(), m)
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/")
}
