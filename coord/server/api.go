package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// The admin API: every operation that the console and the command line have, as HTTP and JSON.
//
//	program ── Authorization: Bearer wt_… ──▶ the public address ─┐ scope, then role,
//	warren-coord ── as the host's administrator ──▶ admin.sock ───┴─ then huma: parameters and body ─▶ operation
//
// Huma reads parameters and bodies, holds them to their types, and writes the OpenAPI document; that is all: who may call,
// how much at a time, which headers and errors there are is decided here, as for every other route.

// PathAPI is where the operations are.
const PathAPI = "/api/v1"

// operation is one thing that can be done. Its fields up to the limits are as those of a route.
type operation struct {
	id           string // its name in OpenAPI, and in the console's routes
	method, path string // below PathAPI
	about        string // one line
	scope        account.Scope
	right        account.Right
	own          bool
	of           ownerOf
	local        bool  // at the host only
	body         int64 // the longest that it takes, in bytes; 0: coord.MaxBody

	register func(huma.API, huma.Operation)
}

// operations are all operations.
func (s *Server) operations() []operation {
	return slices.Concat(s.machineOperations(), s.userOperations(), s.keyOperations(), s.networkOperations(), s.dnsOperations(), s.providerOperations(), s.accountOperations(),
		s.auditOperations(), s.webhookOperations(), s.policyOperations())
}

// gives completes an operation that answers with something.
func gives[I, O any](o operation, do func(ctx context.Context, by caller, in *I) (O, error)) operation {
	o.register = func(api huma.API, h huma.Operation) {
		huma.Register(api, h, func(ctx context.Context, in *I) (*struct{ Body O }, error) {
			c := callOf(ctx)
			out, err := do(ctx, c.by, in)
			if err != nil {
				return nil, c.fail(err)
			}
			return &struct{ Body O }{out}, nil
		})
	}
	return o
}

// marked completes an operation on something that has versions: its answer says which, in a header.
func marked[I any, O interface{ ETag() string }](o operation, do func(ctx context.Context, by caller, in *I) (O, error)) operation {
	o.register = func(api huma.API, h huma.Operation) {
		type answer struct {
			ETag string `header:"ETag"`
			Body O
		}
		huma.Register(api, h, func(ctx context.Context, in *I) (*answer, error) {
			c := callOf(ctx)
			out, err := do(ctx, c.by, in)
			if err != nil {
				return nil, c.fail(err)
			}
			return &answer{out.ETag(), out}, nil
		})
	}
	return o
}

// does completes an operation that answers that it is done.
func does[I any](o operation, do func(ctx context.Context, by caller, in *I) error) operation {
	o.register = func(api huma.API, h huma.Operation) {
		h.DefaultStatus = http.StatusNoContent
		huma.Register(api, h, func(ctx context.Context, in *I) (*struct{}, error) {
			c := callOf(ctx)
			if err := do(ctx, c.by, in); err != nil {
				return nil, c.fail(err)
			}
			return nil, nil //nolint:nilnil // done
		})
	}
	return o
}

// apiCall is one call of an operation. Huma writes its answer through it; of a failure it writes nothing, as the router
// answers failures.
type apiCall struct {
	http.ResponseWriter
	by     caller
	failed error
}

type apiCallKey struct{}

func callOf(ctx context.Context) *apiCall { return ctx.Value(apiCallKey{}).(*apiCall) }

// fail remembers what went wrong, and tells huma that something did.
func (c *apiCall) fail(err error) error {
	if c.failed == nil {
		c.failed = err
	}
	return &apiError{Problem: errInternal}
}

// Unwrap lets http.ResponseController reach the connection.
func (c *apiCall) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *apiCall) WriteHeader(status int) {
	if c.failed == nil {
		c.ResponseWriter.WriteHeader(status)
	}
}

func (c *apiCall) Write(b []byte) (int, error) {
	if c.failed != nil {
		return len(b), nil
	}
	return c.ResponseWriter.Write(b)
}

// apiError is an error's body as OpenAPI describes it: coord.ErrorReply's.
type apiError struct {
	Problem *coord.Error `json:"error"`
}

func (e *apiError) Error() string  { return e.Problem.Message }
func (e *apiError) GetStatus() int { return e.Problem.Status }

// ownErrors makes huma's errors ours, which it keeps for a whole process.
var ownErrors = sync.OnceFunc(func() {
	sayUnfit()
	huma.NewError = func(status int, message string, causes ...error) huma.StatusError {
		return &apiError{Problem: refuse(status, coord.CodeBadRequest, unfit(message, causes))}
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, causes ...error) huma.StatusError {
		e := &apiError{Problem: refuse(status, coord.CodeBadRequest, unfit(message, causes))}
		if status >= http.StatusInternalServerError {
			e.Problem = errInternal
		}
		_ = callOf(ctx.Context()).fail(e.Problem)
		return e
	}
})

// unfit says in a sentence what is wrong with a request, without what was in it: that may be a secret.
func unfit(message string, causes []error) string {
	var parts []string
	for _, c := range causes {
		var d *huma.ErrorDetail
		switch {
		case len(parts) == 3:
			continue
		case errors.As(c, &d):
			_, field, _ := strings.Cut(d.Location, ".") // which part of the request it is in goes without saying
			parts = append(parts, strings.TrimPrefix(field+": "+d.Message, ": "))
		}
	}
	if len(parts) == 0 {
		return "The request cannot be read: " + bounded(message, maxQuery)
	}
	return "The request does not fit: " + bounded(strings.Join(parts, "; "), 3*maxQuery)
}

// api is the operations as HTTP handlers, and their description.
type api struct {
	operations []operation
	handlers   map[string]http.HandlerFunc // by method and path
	json, yaml func() ([]byte, error)      // the OpenAPI document: written when it is first asked for, which few servers ever are
}

// HandleFunc and ServeHTTP are what huma wants of a router.
func (a *api) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	a.handlers[pattern] = h
}

func (a *api) ServeHTTP(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }

func (s *Server) newAPI() *api {
	ownErrors()
	a := &api{operations: s.operations(), handlers: map[string]http.HandlerFunc{}}
	h := humago.New(a, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0", Info: &huma.Info{Title: textAPI, Version: "1", Description: textAPIWhat},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token": {Type: "http", Scheme: "bearer", BearerFormat: tokenPrefix + "…", Description: textAPIToken},
				},
			},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json", RejectUnknownQueryParameters: true,
	})
	for _, o := range a.operations {
		kind, _, _ := strings.Cut(strings.TrimPrefix(o.path, "/"), "/")
		needs := "Scope: " + string(o.scope) + "."
		if o.reads() && o.scope != account.ScopeRead {
			needs = "Scope: read, or " + string(o.scope) + "."
		}
		o.register(h, huma.Operation{
			OperationID: o.id, Method: o.method, Path: PathAPI + o.path, Summary: o.about, Description: needs, Tags: []string{kind}, Hidden: o.local,
			Security: []map[string][]string{{"token": {}}}, MaxBodyBytes: cmp.Or(o.body, coord.MaxBody), BodyReadTimeout: -1, // the router has read it
			Errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests},
		})
	}
	a.json, a.yaml = sync.OnceValues(h.OpenAPI().MarshalJSON), sync.OnceValues(h.OpenAPI().YAML)
	return a
}

// reads reports whether the operation changes nothing.
func (o *operation) reads() bool { return o.method == http.MethodGet }

// allows holds a token's scopes to what the operation needs.
func (o *operation) allows(scopes []account.Scope) bool {
	return slices.Contains(scopes, o.scope) || o.reads() && slices.Contains(scopes, account.ScopeRead)
}

// apiRoutes are the operations as routes: for tokens, or for the host's administrator.
func (s *Server) apiRoutes(kind access) (all []route) {
	for _, o := range s.api.operations {
		if o.local && kind == bearer {
			continue
		}
		handle := s.api.handlers[o.method+" "+PathAPI+o.path]
		all = append(all, route{
			method: o.method, path: PathAPI + o.path, access: kind, right: o.right, own: o.own, of: o.of, limited: true, op: &o, body: o.body,
			api: func(w http.ResponseWriter, r *http.Request, by caller) error {
				c := &apiCall{ResponseWriter: w, by: by}
				handle(c, r.WithContext(context.WithValue(r.Context(), apiCallKey{}, c)))
				if c.failed != nil {
					return apiFailure(by, c.failed)
				}
				return nil
			},
		})
	}
	return all
}

// apiFailure gives an error its answer. The host's administrator is told everything.
func apiFailure(by caller, err error) error {
	var e *coord.Error
	switch {
	case errors.As(err, &e), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrMoved), errors.Is(err, store.ErrAway), errors.Is(err, store.ErrUnsure),
		errors.Is(err, store.ErrNoNumber), errors.Is(err, coord.ErrInvalid):
		return refusal(err)
	case errors.Is(err, store.ErrNotFound):
		return refuse(http.StatusNotFound, "not-found", upTo(err, store.ErrNotFound))
	case errors.Is(err, store.ErrTaken):
		return refuse(http.StatusConflict, "taken", upTo(err, store.ErrTaken))
	case errors.Is(err, account.ErrPassword):
		return refuse(http.StatusBadRequest, coord.CodeBadRequest, err.Error())
	case by.via == viaHost:
		return refuse(http.StatusInternalServerError, coord.CodeInternal, err.Error())
	}
	return err
}

// callAPI lets a program in that brings a token, or the host's administrator.
func (s *Server) callAPI(rt route, w http.ResponseWriter, r *http.Request) error {
	by := operator
	if rt.access == bearer {
		var scopes []account.Scope
		var err error
		if by, scopes, err = s.program(w, r); err != nil {
			return err
		}
		if !rt.op.allows(scopes) {
			return refuse(http.StatusForbidden, errNotAllowed.Code, fmt.Sprintf(textNoScope, rt.op.scope))
		}
	}
	s.hub.fresh(r.Context())
	if err := rt.authorize(r, by); err != nil {
		return apiFailure(by, err)
	}
	return rt.api(w, r, by)
}

// program finds who calls by their token.
func (s *Server) program(w http.ResponseWriter, r *http.Request) (caller, []account.Scope, error) {
	by, scopes, err := s.bearer(r)
	if errors.Is(err, errNoToken) {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	return by, scopes, err
}

// authorize holds a caller to the route's right over what it is about.
func (rt *route) authorize(r *http.Request, by caller) error {
	if rt.of == nil {
		return authorize(by, rt.right, rt.own)
	}
	if authorize(by, rt.right, false) == nil {
		return nil // whosoever it is
	}
	owner, err := rt.of(r)
	if err != nil {
		return err
	}
	return authorize(by, rt.right, by.user != 0 && owner == by.user)
}

// Admin serves the API on the admin socket.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.apiRoutes(host) {
		mux.Handle(rt.method+" "+rt.path, s.serve(rt))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, "", errNotFound) })
	return mux
}

func (s *Server) openAPIJSON(w http.ResponseWriter, _ *http.Request) error {
	return sendDocument(w, "application/vnd.oai.openapi+json", s.api.json)
}

func (s *Server) openAPIYAML(w http.ResponseWriter, _ *http.Request) error {
	return sendDocument(w, "application/vnd.oai.openapi", s.api.yaml)
}

func sendDocument(w http.ResponseWriter, kind string, of func() ([]byte, error)) error {
	text, err := of()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(text)
	return nil
}

// apiPage is the list of operations for people.
func (s *Server) apiPage(w http.ResponseWriter, _ *http.Request, v *visit) error {
	type row struct{ Method, Path, About, Scope string }
	var rows []row
	for _, o := range s.api.operations {
		if !o.local {
			rows = append(rows, row{o.method, PathAPI + o.path, o.about, string(o.scope)})
		}
	}
	return s.showConsole(w, http.StatusOK, "api", "", v, page{Title: textAPI, Body: rows})
}

// PageQuery is what every list takes.
type PageQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"how many at the most"`
	Cursor string `query:"cursor" maxLength:"20" doc:"next, of the page before"`
}

// after is the number of the last thing of the page before.
func (q *PageQuery) after() (int64, error) {
	if q.Cursor == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(q.Cursor, 10, 64)
	if err != nil || n <= 0 {
		return 0, badRequest("The cursor is none: take it from the page before, or leave it out")
	}
	return n, nil
}

// pageOf takes a page out of things that are in the order of their numbers.
func pageOf[T any](q PageQuery, all iter.Seq[T], number func(T) int64) (items []T, next string, err error) {
	after, err := q.after()
	if err != nil {
		return nil, "", err
	}
	items = []T{}
	for v := range all {
		if number(v) <= after {
			continue
		}
		if len(items) == q.Limit {
			return items, strconv.FormatInt(number(items[q.Limit-1]), 10), nil
		}
		items = append(items, v)
	}
	return items, "", nil
}

// IDPath is the number of a thing in a path.
type IDPath struct {
	ID int64 `path:"id" minimum:"1"`
}

// NamePath is the name of a thing in a path, or its number.
type NamePath struct {
	Name string `path:"id" maxLength:"128" doc:"name, or number"`
}

// none is for operations that take nothing.
type none struct{}
