package ipc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"time"
)

const (
	maxBody      = 64 << 10         // bytes of a request; the longest, an up with a pre-auth key, has less than 8 KiB
	bodyTimeout  = 10 * time.Second // for a request's body
	writeTimeout = 10 * time.Second // for an answer, or a line of Watch: who does not read is let go
)

// handler answers requests by the table.
type handler struct {
	backend   Backend
	authority Authority // nil without one
	log       *slog.Logger
	table     []operation
}

// Handler answers the operations of the table with the backend, each to the callers whose level allows it, or whom the
// authority (nil: there is none) lets pass. It needs the caller in the request's context (WithCaller): Serve puts it there.
func Handler(b Backend, a Authority, log *slog.Logger) http.Handler {
	return &handler{backend: b, authority: a, log: log, table: operations}
}

// ServeHTTP implements http.Handler. In this order: is it a page's request, is there such an operation, may the
// caller do it; only then is the body read. Whom only the authority could let pass has the body read first: the connection
// shows no sooner that the caller went away, and a dialog of nobody should close.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller := callerOf(r.Context())
	log := h.log.With("uid", caller.UID, "pid", caller.PID, "op", r.Method+" "+r.URL.Path)
	err := h.serve(w, r, caller)
	switch {
	case err == nil && r.Method != http.MethodGet:
		log.Info("asked")
	case err == nil:
	case r.Context().Err() != nil: // the caller went away; or the daemon ends, and still owes an answer
		log.Debug("gone", "err", err)
		writeError(w, &Error{Code: CodeNotRunning, Status: http.StatusServiceUnavailable, Message: "warrend is stopping", Fix: "Try again when it runs."})
	default:
		writeError(w, h.tell(log, err))
	}
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, caller Caller) error {
	if err := refusePages(r); err != nil {
		return err
	}
	op, err := h.find(r.Method, r.URL.Path)
	if err != nil {
		return err
	}
	denied := op.permit(caller, op.level, op.command)
	if denied != nil && !h.mayAsk(caller, op) {
		return denied
	}
	rc := http.NewResponseController(w)
	body, err := readBody(rc, w, r)
	if err != nil {
		return err
	}
	c := &call{handler: h, w: w, rc: rc, r: r, op: op, caller: caller, body: body}
	if denied != nil {
		if err := c.permit(op.level, op.command); err != nil {
			return err
		}
	}
	return op.serve(c)
}

// refusePages refuses what a browser could have sent, even if a proxy led it here: DNS rebinding once gave web
// pages such an interface (CVE-2022-41924). Our clients send none of these headers, and exactly one Host.
func refusePages(r *http.Request) error {
	if r.Host != Host {
		return &Error{Code: CodeDenied, Message: "requests must be for the host " + Host}
	}
	for _, name := range []string{"Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode"} {
		if len(r.Header.Values(name)) > 0 {
			return &Error{Code: CodeDenied, Message: "requests from web pages are refused"}
		}
	}
	return nil
}

// find looks an operation up by its exact name.
func (h *handler) find(method, path string) (*operation, error) {
	for i := range h.table {
		if h.table[i].path == path && h.table[i].method == method {
			return &h.table[i], nil
		}
	}
	return nil, &Error{
		Code:    CodeUnsupported,
		Message: "warrend does not know this request",
		Fix:     "The program may be newer than the daemon. Restart the daemon: sudo systemctl restart warrend",
	}
}

// readBody reads the whole body within its bounds. The deadline must end with it: the connection is read on, to
// notice that the caller went away.
func readBody(rc *http.ResponseController, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Method == http.MethodGet {
		return nil, nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != contentJSON {
		return nil, badRequest("the body must be %s", contentJSON)
	}
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, badRequest("the body is longer than %d bytes, or did not come whole", maxBody)
	}
	_ = rc.SetReadDeadline(time.Time{})
	return body, nil
}

// call is one permitted request.
type call struct {
	*handler
	w      http.ResponseWriter
	rc     *http.ResponseController
	r      *http.Request
	op     *operation
	caller Caller
	body   []byte
}

// decode reads a request strictly: a field that is not known here may be one that a newer program counts on.
// Errors never quote the body, which may hold a key.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return badRequest("the request cannot be read: it is no JSON, or has a field that this version of warrend does not know")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("there is something after the request's JSON")
	}
	return nil
}

func badRequest(format string, args ...any) *Error {
	return &Error{Code: CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}

const contentJSON = "application/json"

// reply sends a result.
func (c *call) reply(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_ = c.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	c.w.Header().Set("Content-Type", contentJSON)
	_, _ = c.w.Write(append(text, '\n')) // a caller that went away needs no answer
	return nil
}

// watches makes an operation that sends a line for each status.
func watches(f func(Backend, context.Context, func(*Status) error) error) func(*call) error {
	return func(c *call) error { return c.stream(f) }
}

func (c *call) stream(f func(Backend, context.Context, func(*Status) error) error) error {
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	started := false
	err := f(c.backend, c.r.Context(), func(s *Status) error {
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		started = true
		_ = c.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := c.w.Write(append(line, '\n')); err != nil {
			return err
		}
		return c.rc.Flush()
	})
	if started {
		return nil // the stream's end says it: an error cannot follow a line
	}
	return err
}

// tell turns an error into what the caller may know of it.
func (h *handler) tell(log *slog.Logger, err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		log.Debug("refused", "code", e.Code)
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{Code: CodeTimeout, Message: "that took too long"}
	}
	log.Error("failed", "err", err)
	return &Error{Code: CodeInternal, Message: "warrend failed inside", Fix: "See why: journalctl -u warrend"}
}

// errorReply is an error's body.
type errorReply struct {
	Error *Error `json:"error"`
}

func writeError(w http.ResponseWriter, e *Error) {
	w.Header().Set("Content-Type", contentJSON)
	w.WriteHeader(e.httpStatus())
	_ = json.NewEncoder(w).Encode(errorReply{Error: e})
}

// httpStatus is the status that goes with the code, where the error names none.
func (e *Error) httpStatus() int {
	if e.Status >= 400 && e.Status < 600 {
		return e.Status
	}
	switch e.Code {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeDenied:
		return http.StatusForbidden
	case CodeNoPeer, CodeUnsupported:
		return http.StatusNotFound
	case CodeNoServer, CodeNotUp, CodeNeedsLogin, CodeKey, CodeLogin:
		return http.StatusConflict
	case CodeTimeout:
		return http.StatusGatewayTimeout
	case CodeCoord, CodeIdentity:
		return http.StatusBadGateway
	case CodeBusy:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}
