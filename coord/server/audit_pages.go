package server

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord/internal/store"
)

const (
	auditPageRows = 100  // of the page
	auditChunk    = 1000 // of an export: what is read at once
	maxExports    = 4    // at a time; the host's administrator is let in besides
)

// auditRow is a line of the log as the console shows it.
type auditRow struct {
	ID                            int64
	Time, Who, Via, Address, What string
	Action, Subject               string
	Details                       string
}

// auditList is the log's page, with what its form shows.
type auditList struct {
	Rows                              []auditRow
	Who, What, Subject, Since, Until  string
	Filtered                          bool
	Groups                            []auditGroup
	Newest, Older, AsCSV, AsJSONLines string // links; empty: none
}

// auditGroup is what can be chosen of one kind of thing.
type auditGroup struct {
	Name, Text string
	Actions    []auditChoice
}

type auditChoice struct{ Name, Text string }

// auditGroups are all actions, by what they are done to.
func auditGroups() (groups []auditGroup) {
	names := make([]string, 0, len(actionTexts))
	for a := range actionTexts {
		names = append(names, string(a))
	}
	slices.Sort(names)
	for _, name := range names {
		kind, _, _ := strings.Cut(name, ".")
		if len(groups) == 0 || groups[len(groups)-1].Name != kind {
			text := auditKinds[kind]
			if text == "" {
				text = kind
			}
			groups = append(groups, auditGroup{Name: kind, Text: text})
		}
		g := &groups[len(groups)-1]
		g.Actions = append(g.Actions, auditChoice{Name: name, Text: actionTexts[action(name)]})
	}
	return groups
}

// auditQuery reads what somebody wants to see of the log. Days are UTC's, as the times shown are; until is with that day.
func auditQuery(form url.Values) (q store.AuditQuery, err error) {
	q.Login, q.Subject = cleanText(form.Get("who"), maxQuery), cleanText(form.Get("subject"), maxQuery)
	q.Action = cleanText(form.Get("what"), maxQuery)
	if q.Since, err = auditTime(form.Get("since"), 0); err != nil {
		return q, err
	}
	if q.Until, err = auditTime(form.Get("until"), 24*time.Hour); err != nil {
		return q, err
	}
	if text := form.Get("before"); text != "" {
		if q.Before, err = strconv.ParseInt(text, 10, 64); err != nil || q.Before <= 0 {
			return q, badRequest("The page of the log is none: begin again at its newest lines")
		}
	}
	return q, nil
}

// auditTime reads a day, to which more is added, or a time as RFC 3339 has it.
func auditTime(text string, more time.Duration) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t.Add(more), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, badRequest("%q is no day: give it as 2026-01-31", cleanText(text, 40))
	}
	return t, nil
}

func (s *Server) auditPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := r.URL.Query()
	q, err := auditQuery(f)
	if err != nil {
		return err
	}
	q.Limit = auditPageRows + 1
	all, err := s.auditLines(r.Context(), v.caller(), q)
	if err != nil {
		return err
	}
	l := auditList{Who: q.Login, What: q.Action, Subject: q.Subject, Since: f.Get("since"), Until: f.Get("until"), Groups: auditGroups()}
	filter := url.Values{}
	for _, name := range []string{"who", "what", "subject", "since", "until"} {
		if f.Get(name) != "" {
			filter.Set(name, f.Get(name))
			l.Filtered = true
		}
	}
	link := func(path, name, value string) string {
		all := url.Values{}
		for k := range filter {
			all[k] = filter[k]
		}
		if name != "" {
			all.Set(name, value)
		}
		if len(all) == 0 {
			return path
		}
		return path + "?" + all.Encode()
	}
	if len(all) > auditPageRows {
		all = all[:auditPageRows]
		l.Older = link("/audit", "before", strconv.FormatInt(all[auditPageRows-1].ID, 10))
	}
	if q.Before != 0 {
		l.Newest = link("/audit", "", "")
	}
	l.AsCSV, l.AsJSONLines = link("/audit/export", "format", "csv"), link("/audit/export", "format", "jsonl")
	for _, a := range all {
		l.Rows = append(l.Rows, auditRowOf(a))
	}
	return s.showConsole(w, http.StatusOK, "audit", "/audit", v, page{Title: textAudit, Body: l})
}

func auditRowOf(a store.Audit) auditRow {
	row := auditRow{
		ID: a.ID, Time: a.Time.Format("2 Jan 2006 15:04:05"), Who: a.Login, Via: auditVia[a.Via], Address: a.Address,
		Action: a.Action, Subject: a.Subject, What: actionTexts[action(a.Action)],
	}
	if row.What == "" { // of another version
		row.What = a.Action
	}
	if row.Who == "" {
		row.Who = auditNobody[a.Via]
	}
	var details map[string]any
	var all []string
	if json.Unmarshal([]byte(a.Details), &details) == nil {
		for _, name := range slices.Sorted(maps.Keys(details)) {
			if text := factText(details[name]); text != "" {
				all = append(all, name+": "+text)
			}
		}
	}
	row.Details = strings.Join(all, ", ")
	return row
}

func factText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		all := make([]string, len(v))
		for i := range v {
			all[i] = factText(v[i])
		}
		return strings.Join(all, ", ")
	case nil:
		return "none"
	case map[string]any:
		if from, to := v["from"], v["to"]; len(v) == 2 && from != nil && to != nil {
			return cmp.Or(factText(from), "none") + " → " + cmp.Or(factText(to), "none")
		}
		text, _ := json.Marshal(v) // it was JSON
		return string(text)
	}
	return fmt.Sprint(v)
}

// auditExport streams all lines that the form asks for, the newest first, as CSV or as a JSON document on each line. It
// reads the log piece by piece, so that a slow reader keeps nothing from being written.
func (s *Server) auditExport(w http.ResponseWriter, r *http.Request, v *visit) error {
	q, err := auditQuery(r.URL.Query())
	if err != nil {
		return err
	}
	format := cmp.Or(r.URL.Query().Get("format"), "csv")
	if format != "csv" && format != "jsonl" {
		return badRequest("The log comes as csv or as jsonl")
	}
	return s.exportAudit(w, r, v.caller(), q, format, func() (caller, error) {
		v, err := s.visit(r)
		switch {
		case err != nil:
			return caller{}, err
		case v.user.ID == 0 || v.owes:
			return caller{}, errNotAllowed
		}
		return v.caller(), nil
	})
}

// exportAudit is auditExport for who has been let in. The format is csv or jsonl. A reader may take hours: again says
// before each piece who it is by now, as the sign-in or the token may have ended, or the role be another; nil: the host.
func (s *Server) exportAudit(w http.ResponseWriter, r *http.Request, by caller, q store.AuditQuery, format string, again func() (caller, error)) error {
	if by.via != viaHost {
		select {
		case s.exports <- struct{}{}:
			defer func() { <-s.exports }()
		default:
			return errBusy
		}
	}
	q.Limit = auditChunk
	all, err := s.auditLines(r.Context(), by, q)
	if err != nil {
		return err
	}
	kind := map[string]string{"csv": "text/csv; charset=utf-8; header=present", "jsonl": "application/jsonl; charset=utf-8"}[format]
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="warren-audit-%s.%s"`, s.now().UTC().Format(time.DateOnly), format))
	write := auditWriter(w, format)
	rc := http.NewResponseController(w)
	for {
		_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := write(all); err != nil {
			s.log.Debug("an export was not read to its end", "err", err)
			return nil // the reader is gone; an answer is under way
		}
		_ = rc.Flush()
		if len(all) < auditChunk {
			return nil
		}
		q.Before = all[len(all)-1].ID
		if again != nil {
			by, err = again()
		}
		if err == nil {
			all, err = s.auditLines(r.Context(), by, q)
		}
		if err != nil {
			s.log.Warn("an export of the audit log was cut off", "err", err)
			panic(http.ErrAbortHandler) // what came so far must not look whole
		}
	}
}

// auditWriter writes lines in a format.
func auditWriter(w io.Writer, format string) func([]store.Audit) error {
	if format == "jsonl" {
		enc := json.NewEncoder(w)
		return func(all []store.Audit) error {
			for _, a := range all {
				if err := enc.Encode(lineOf(a)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	out, head := csv.NewWriter(w), []string{"id", "time", "login", "user_id", "via", "address", "action", "subject", "details"}
	return func(all []store.Audit) error {
		if head != nil {
			if err := out.Write(head); err != nil {
				return err
			}
			head = nil
		}
		for _, a := range all {
			err := out.Write([]string{
				strconv.FormatInt(a.ID, 10), a.Time.Format(time.RFC3339Nano), csvText(a.Login), strconv.FormatInt(a.User, 10), csvText(a.Via),
				csvText(a.Address), csvText(a.Action), csvText(a.Subject), csvText(a.Details),
			})
			if err != nil {
				return err
			}
		}
		out.Flush()
		return out.Error()
	}
}

// csvText keeps spreadsheets from taking what machines and people call themselves for a formula: a text that begins like
// one gets an apostrophe in front, which they do not show.
func csvText(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n|", rune(text[0])) {
		return "'" + text
	}
	return text
}
