package server

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// AuditList is a page of the audit log, the newest lines first.
type AuditList struct {
	Lines []AuditLine `json:"lines"`
	Next  string      `json:"next,omitempty" doc:"cursor of the next page, of older lines; none: this is the last"`
}

// AuditFilter says which lines are wanted.
type AuditFilter struct {
	Who     string `query:"who" maxLength:"128" doc:"login of who did it"`
	What    string `query:"what" maxLength:"100" doc:"action, with those below it: machine is also machine.rename"`
	Subject string `query:"subject" maxLength:"128" doc:"part of the name of what it was done to"`
	Since   string `query:"since" maxLength:"40" doc:"a day as 2026-01-31, or a time as RFC 3339 has it"`
	Until   string `query:"until" maxLength:"40" doc:"with that day; before that time"`
}

func (f *AuditFilter) query() (q store.AuditQuery, err error) {
	return auditQuery(map[string][]string{"who": {f.Who}, "what": {f.What}, "subject": {f.Subject}, "since": {f.Since}, "until": {f.Until}})
}

func (s *Server) auditOperations() []operation {
	o := operation{method: http.MethodGet, scope: account.ScopeRead, right: account.See}
	export := o.as("exportAudit", "/audit/export", "The audit log as a file")
	export.register = func(api huma.API, h huma.Operation) {
		huma.Register(api, h, func(ctx context.Context, in *struct {
			AuditFilter
			Format string `query:"format" enum:"csv,jsonl" default:"csv"`
		},
		) (*huma.StreamResponse, error) {
			c := callOf(ctx)
			q, err := in.query()
			if err != nil {
				return nil, c.fail(err)
			}
			return &huma.StreamResponse{Body: func(h huma.Context) {
				r, w := humago.Unwrap(h)
				var again func() (caller, error)
				if c.by.via != viaHost {
					again = func() (caller, error) {
						by, _, err := s.holder(r)
						return by, err
					}
				}
				if err := s.exportAudit(w, r, c.by, q, in.Format, again); err != nil {
					_ = c.fail(err)
				}
			}}, nil
		})
	}
	return []operation{gives(o.as("listAudit", "/audit", "Who did what when, the newest first"), s.listAudit), export}
}

func (s *Server) listAudit(ctx context.Context, by caller, in *struct {
	PageQuery
	AuditFilter
},
) (l AuditList, err error) {
	q, err := in.query()
	if err != nil {
		return l, err
	}
	if q.Before, err = in.after(); err != nil {
		return l, err
	}
	q.Limit = in.Limit + 1
	all, err := s.auditLines(ctx, by, q)
	if err != nil {
		return l, err
	}
	if len(all) > in.Limit {
		all = all[:in.Limit]
		l.Next = strconv.FormatInt(all[in.Limit-1].ID, 10)
	}
	l.Lines = []AuditLine{}
	for _, a := range all {
		l.Lines = append(l.Lines, lineOf(a))
	}
	return l, nil
}
