package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/policy"
)

// spareLines are the numbered lines that the editor has below the text. It grows by no script.
const spareLines = 40

// policyView is the page of access rules: the editor, what a file would change, and the history.
type policyView struct {
	Text    string
	Version int64 // that is edited
	In      string
	Default bool
	Change  bool
	Large   string // a warning
	Lines   []lineNumber
	Wrong   []wrongLine
	Failed  bool // Wrong are tests of the file that fail
	Preview *PolicyPreview
	History []versionRow
}

// lineNumber stands beside a line of the editor.
type lineNumber struct {
	N   int
	Bad bool
}

// wrongLine is a problem with the line that it is about.
type wrongLine struct {
	policy.Problem
	Line, Under string // the line, and blanks up to the place
}

type versionRow struct {
	Policy
	When string
	Now  bool // in force
}

func (s *Server) policyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	p, err := s.Policy(r.Context())
	if err != nil {
		return err
	}
	return s.showPolicy(w, r, http.StatusOK, v, policyView{Text: p.Text, Version: p.Version}, "")
}

// showPolicy writes the page about a text, which may not be the one in force.
func (s *Server) showPolicy(w http.ResponseWriter, r *http.Request, status int, v *visit, p policyView, problem string) error {
	now, err := s.Policy(r.Context())
	if err != nil {
		return err
	}
	all, err := s.policyVersions(r.Context())
	if err != nil {
		return err
	}
	p.Default, p.Change = now.Version == 0, authorize(v.caller(), account.Change, false) == nil
	for _, o := range all {
		p.History = append(p.History, versionRow{Policy: o, When: ago(s.now(), o.Saved), Now: o.Version == now.Version})
	}
	p.Large = s.tooLarge()
	bad := map[int]bool{}
	for _, x := range p.Wrong {
		bad[x.Pos.Line] = true
	}
	for n := range strings.Count(p.Text, "\n") + 1 + spareLines {
		p.Lines = append(p.Lines, lineNumber{n + 1, bad[n+1]})
	}
	return s.showConsole(w, status, "policy", "/policy", v, page{Title: textRules, Problem: problem, Body: p})
}

// changePolicyPage previews a text, or saves it.
func (s *Server) changePolicyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	p := policyView{Text: strings.ReplaceAll(r.PostForm.Get("text"), "\r\n", "\n")}
	var err error
	if p.Version, err = strconv.ParseInt(r.PostForm.Get("version"), 10, 64); err != nil {
		return badRequest("The form does not say which version it is of")
	}
	preview, err := s.previewPolicy(r.Context(), p.Text)
	if err != nil {
		return err
	}
	if !preview.OK() {
		problem := textRulesWrong
		if len(preview.Problems) == 0 {
			p.Failed, problem = true, textRulesFail
		}
		p.Wrong = wrongLines(p.Text, slices.Concat(preview.Problems, preview.Failed))
		return s.showPolicy(w, r, http.StatusUnprocessableEntity, v, p, problem)
	}
	if r.PostForm.Get("do") != "save" {
		p.Preview = &preview
		return s.showPolicy(w, r, http.StatusOK, v, p, "")
	}
	_, err = s.setPolicy(r.Context(), v.caller(), p.Text, Policy{Version: p.Version}.ETag(), "")
	if errors.Is(err, errPolicyMoved) {
		return s.showPolicy(w, r, http.StatusConflict, v, p, textRulesMoved)
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/policy")
}

// wrongLines puts the lines to problems.
func wrongLines(text string, problems policy.Problems) (all []wrongLine) {
	lines := strings.Split(text, "\n")
	for _, p := range problems[:min(len(problems), policy.MaxProblems)] {
		x := wrongLine{Problem: p}
		if p.Pos.Line <= len(lines) {
			r := []rune(lines[p.Pos.Line-1])
			from := max(0, p.Col-1-50) // of a long line, what is around the place
			x.Line = string(r[min(from, len(r)):min(len(r), from+120)])
			for _, c := range r[min(from, len(r)):min(len(r), p.Col-1)] {
				if c != '\t' {
					c = ' '
				}
				x.Under += string(c)
			}
		}
		all = append(all, x)
	}
	return all
}

// versionView is a version beside the one in force.
type versionView struct {
	Policy
	When   string
	Now    int64 // in force
	Diff   []diffLine
	Same   bool
	Change bool
}

func (s *Server) versionInPath(r *http.Request) (Policy, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return Policy{}, errNoVersion
	}
	return s.policyVersion(r.Context(), id)
}

func (s *Server) policyVersionPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	old, err := s.versionInPath(r)
	if err != nil {
		return err
	}
	now, err := s.Policy(r.Context())
	if err != nil {
		return err
	}
	p := versionView{Policy: old, When: ago(s.now(), old.Saved), Now: now.Version, Same: old.Text == now.Text, Diff: diffLines(now.Text, old.Text), Change: authorize(v.caller(), account.Change, false) == nil}
	return s.showConsole(w, http.StatusOK, "policy-version", "/policy", v, page{Title: fmt.Sprintf(textRulesVersion, old.Version), Body: p})
}

func (s *Server) restorePolicyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	old, err := s.versionInPath(r)
	if err != nil {
		return err
	}
	_, err = s.restorePolicy(r.Context(), v.caller(), old.Version, strconv.Quote(r.PostForm.Get("now")))
	if err != nil {
		return err
	}
	return redirect(w, r, "/policy")
}

// whyView is the page that answers whether a machine may reach another.
type whyView struct {
	From, To, Port, Proto string
	Machines              []string // to choose from
	Answer                *Access
	Protos                []string
}

// maxChoices bounds the names that a field offers.
const maxChoices = 500

func (s *Server) whyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	p := whyView{
		From: cleanText(q.Get("from"), maxQuery), To: cleanText(q.Get("to"), maxQuery), Port: cleanText(q.Get("port"), 8), Proto: cleanText(q.Get("proto"), 16),
		Protos: []string{"tcp", "udp", "icmp"},
	}
	if p.Proto == "" {
		p.Proto = p.Protos[0]
	}
	for m := range s.hub.view().Members() {
		if p.Machines = append(p.Machines, m.Node.Name); len(p.Machines) == maxChoices {
			break
		}
	}
	slices.Sort(p.Machines)
	problem, status := "", http.StatusOK
	if p.From != "" && p.To != "" {
		port, err := strconv.ParseUint("0"+p.Port, 10, 16)
		if err != nil {
			port = 0
		}
		a, err := s.explain(r.Context(), &AccessQuestion{From: p.From, To: p.To, Port: int(port), Proto: p.Proto})
		var e *coord.Error
		switch {
		case errors.As(err, &e):
			problem, status = e.Message, http.StatusUnprocessableEntity
		case err != nil:
			problem, status = sentence(err), http.StatusUnprocessableEntity
		default:
			p.Answer = &a
		}
	}
	return s.showConsole(w, status, "why", "/policy", v, page{Title: textWhy, Problem: problem, Body: p})
}
