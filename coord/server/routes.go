package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
)

// access says who may call a route at all.
type access int

const (
	anyone   access = iota // and the handler knows nobody
	machine                // a machine with a session
	visitor                // a browser, signed in or not
	signedIn               // a browser with an account
	bearer                 // a program with a token
	host                   // whoever can open the admin socket
)

// ownerOf finds the account that the thing in the path belongs to; 0 is nobody.
type ownerOf func(*http.Request) (int64, error)

// route is one thing that the server does. Exactly one of the handlers is set, the one that the access needs.
type route struct {
	method, path string
	access       access
	right        account.Right // what a signed-in caller needs
	own          bool          // what it is about is the caller's own, or it shows everybody theirs
	of           ownerOf       // or whose it is, by the path
	waits        bool          // it answers when something happens: how long that takes says nothing
	body         int64         // the longest that it takes, in bytes; 0: what others take
	limited      bool          // its body comes first, then no more than maxConcurrent are worked on at a time
	public       func(http.ResponseWriter, *http.Request) error
	machine      func(http.ResponseWriter, *http.Request, *session) error
	page         func(http.ResponseWriter, *http.Request, *visit) error
	api          func(http.ResponseWriter, *http.Request, caller) error

	op *operation // of the API
	// does names the operations that a form of the console leads to; browser is why it leads to none.
	does    []string
	browser string
}

// routes is everything that can be called.
func (s *Server) routes() []route {
	get, post := http.MethodGet, http.MethodPost
	does := func(ids ...string) []string { return ids }
	return append([]route{
		{method: post, path: coord.PathHello, limited: true, public: s.hello},
		{method: post, path: coord.PathSession, limited: true, public: s.session},
		{method: post, path: coord.PathRegister, access: machine, limited: true, machine: s.register},
		{method: get, path: coord.PathRegisterWait, access: machine, waits: true, machine: s.registerWait},
		{method: post, path: coord.PathRegisterCode, access: machine, limited: true, machine: s.registerCode},
		{method: post, path: coord.PathRegisterStop, access: machine, limited: true, machine: s.registerStop},
		{method: post, path: coord.PathNode, access: machine, machine: s.node},
		{method: get, path: coord.PathNetmap, access: machine, waits: true, machine: s.netmap},
		{method: get, path: coord.PathApproval, access: machine, waits: true, machine: s.approval},
		{method: post, path: coord.PathLogout, access: machine, machine: s.logout},

		{method: get, path: "/healthz", public: s.healthz},
		{method: get, path: "/readyz", public: s.readyz},
		{method: get, path: "/static/{name}", public: s.static},
		{method: get, path: "/api/openapi.json", public: s.openAPIJSON},
		{method: get, path: "/api/openapi.yaml", public: s.openAPIYAML},
		{method: get, path: coord.PathJoin, access: visitor, page: s.join},
		{method: get, path: "/signin", access: visitor, page: s.signInPage},
		{method: post, path: "/signin", access: visitor, limited: true, browser: "signs a browser in", page: s.signIn},
		{method: get, path: pathWith + "{id}", access: visitor, page: s.withPage},
		{method: get, path: pathCallback, access: visitor, page: s.callbackPage},
		{method: post, path: pathPasskey, access: visitor, limited: true, browser: "signs a browser in", page: s.passkeySignIn},
		{method: get, path: pathSecond, access: visitor, page: s.secondPage},
		{method: post, path: pathSecond, access: visitor, limited: true, browser: "signs a browser in", page: s.secondStep},
		{method: get, path: pathSignUp, access: visitor, page: s.signUpPage},
		{method: post, path: pathSignUp, access: visitor, limited: true, browser: "makes the account of who asks", page: s.signUp},
		{method: get, path: pathSetup + "{id}", access: visitor, page: s.setupPage},
		{method: post, path: pathSetup + "{id}", access: visitor, limited: true, browser: "makes the first owner: who has the link", page: s.setUp},
		{method: get, path: pathInvite + "{id}", access: visitor, page: s.invitedPage},
		{method: post, path: pathInvite + "{id}", access: visitor, limited: true, browser: "makes the account of who has the link", page: s.acceptPage},
		{method: get, path: pathCode, access: visitor, page: s.codePage},
		{method: get, path: coord.PathLogin + "{id}", access: visitor, page: s.loginPage},
		{method: get, path: coord.PathLogin + "{id}/done", access: visitor, page: s.loginDonePage},

		{method: post, path: pathCode, access: signedIn, limited: true, right: account.Self, own: true, browser: "leads to the page of a login, and changes nothing", page: s.findByCode},
		{method: post, path: coord.PathLogin + "{id}", access: signedIn, right: account.Self, own: true, browser: "is a person's word on the machine in front of them", page: s.connect},
		{method: post, path: "/signout", access: signedIn, right: account.Self, own: true, browser: "ends the browser's own sign-in", page: s.signOut},
		{method: get, path: "/add", access: signedIn, right: account.See, own: true, page: s.addPage},
		{method: get, path: "/network", access: signedIn, right: account.See, own: true, page: s.networkPage},
		{method: get, path: "/machines/{id}", access: signedIn, right: account.See, of: s.machineOwner, page: s.machinePage},
		{method: post, path: "/machines/{id}/rename", access: signedIn, right: account.Change, of: s.machineOwner, does: does("renameMachine"), page: s.renameMachinePage},
		{method: get, path: "/machines/{id}/expire", access: signedIn, right: account.Change, of: s.machineOwner, page: s.askExpire},
		{method: post, path: "/machines/{id}/expire", access: signedIn, right: account.Change, of: s.machineOwner, does: does("expireMachine"), page: s.expirePage},
		{method: get, path: "/machines/{id}/remove", access: signedIn, right: account.Change, of: s.machineOwner, page: s.askRemove},
		{method: post, path: "/machines/{id}/remove", access: signedIn, right: account.Change, of: s.machineOwner, does: does("removeMachine"), page: s.removePage},

		{method: post, path: "/machines/{id}/approve", access: signedIn, right: account.Change, does: does("approveMachine"), page: s.approvePage},
		{method: get, path: "/machines/{id}/deny", access: signedIn, right: account.Change, page: s.askDeny},
		{method: post, path: "/machines/{id}/deny", access: signedIn, right: account.Change, does: does("denyMachine"), page: s.denyPage},
		{method: post, path: "/machines/{id}/tags", access: signedIn, right: account.Change, of: s.machineOwner, does: does("tagMachine"), page: s.tagMachinePage},
		{method: post, path: "/machines/{id}/routes", access: signedIn, right: account.Change, does: does("setMachineRoutes"), page: s.routesPage},
		{method: post, path: "/machines/{id}/relaying", access: signedIn, right: account.Change, does: does("setMachineRelaying"), page: s.relayingPage},
		{method: post, path: "/machines/{id}/extend", access: signedIn, right: account.Change, does: does("extendMachine"), page: s.extendPage},

		{method: get, path: "/users", access: signedIn, right: account.See, page: s.usersPage},
		{method: get, path: "/users/{id}", access: signedIn, right: account.See, page: s.userPage},
		{method: post, path: "/users/{id}/role", access: signedIn, right: account.Change, does: does("setUserRole"), page: s.rolePage},
		{method: get, path: "/users/{id}/remove", access: signedIn, right: account.Change, page: s.askRemoveUser},
		{method: post, path: "/users/{id}/remove", access: signedIn, right: account.Change, does: does("removeUser"), page: s.removeUserPage},
		{method: get, path: "/users/{id}/second/remove", access: signedIn, right: account.Change, page: s.askResetSecond},
		{method: post, path: "/users/{id}/second/remove", access: signedIn, right: account.Change, does: does("resetUserSecond"), page: s.resetSecondPage},
		{method: post, path: "/invitations", access: signedIn, right: account.Change, does: does("addInvitation"), page: s.invitePage},
		{method: post, path: "/invitations/{id}/revoke", access: signedIn, right: account.Change, does: does("removeInvitation"), page: s.revokeInvitationPage},
		{method: get, path: "/keys", access: signedIn, right: account.See, own: true, page: s.keysPage},
		{method: post, path: "/keys", access: signedIn, right: account.Change, own: true, does: does("addKey"), page: s.createKeyPage},
		{method: post, path: "/keys/{id}/revoke", access: signedIn, right: account.Change, of: s.keyOwner, does: does("revokeKey"), page: s.revokeKeyPage},
		{method: get, path: "/relays", access: signedIn, right: account.See, page: s.relaysPage},
		{method: get, path: "/policy", access: signedIn, right: account.See, page: s.policyPage},
		{method: post, path: "/policy", access: signedIn, right: account.Change, body: maxPolicyBody, does: does("setPolicy"), page: s.changePolicyPage},
		{method: get, path: "/policy/versions/{id}", access: signedIn, right: account.See, page: s.policyVersionPage},
		{method: post, path: "/policy/versions/{id}/restore", access: signedIn, right: account.Change, does: does("restorePolicy"), page: s.restorePolicyPage},
		{method: get, path: "/policy/why", access: signedIn, right: account.See, page: s.whyPage},
		{method: get, path: "/dns", access: signedIn, right: account.See, page: s.dnsPage},
		{method: post, path: "/dns", access: signedIn, right: account.Change, does: does("setDNS"), page: s.changeDNSPage},
		{method: post, path: "/dns/split", access: signedIn, right: account.Change, does: does("setDNSSplit", "removeDNSSplit"), page: s.splitPage},
		{method: post, path: "/dns/records", access: signedIn, right: account.Change, does: does("changeDNSRecords"), page: s.recordsPage},
		{method: get, path: "/settings", access: signedIn, right: account.See, page: s.settingsPage},
		{method: get, path: "/providers", access: signedIn, right: account.See, page: s.providersPage},
		{method: post, path: "/providers", access: signedIn, right: account.Govern, does: does("addProvider"), page: s.addProviderPage},
		{method: get, path: "/providers/{id}", access: signedIn, right: account.Govern, page: s.providerPage},
		{method: post, path: "/providers/{id}", access: signedIn, right: account.Govern, does: does("setProvider"), page: s.setProviderPage},
		{method: get, path: "/providers/{id}/remove", access: signedIn, right: account.Govern, page: s.askRemoveProvider},
		{method: post, path: "/providers/{id}/remove", access: signedIn, right: account.Govern, does: does("removeProvider"), page: s.removeProviderPage},
		{method: post, path: "/settings", access: signedIn, right: account.Govern, does: does("setSettings"), page: s.changeSettingsPage},
		{method: get, path: "/audit", access: signedIn, right: account.See, page: s.auditPage},
		{method: get, path: "/audit/export", access: signedIn, right: account.See, page: s.auditExport},

		{method: get, path: "/api", access: signedIn, right: account.Self, own: true, page: s.apiPage},
		{method: get, path: "/webhooks", access: signedIn, right: account.Govern, page: s.webhooksPage},
		{method: post, path: "/webhooks", access: signedIn, right: account.Govern, does: does("addWebhook"), page: s.addWebhookPage},
		{method: post, path: "/webhooks/{id}/remove", access: signedIn, right: account.Govern, does: does("removeWebhook"), page: s.removeWebhookPage},
		{method: post, path: "/webhooks/{id}/test", access: signedIn, limited: true, right: account.Govern, does: does("testWebhook"), page: s.testWebhookPage},
		{method: get, path: "/tokens", access: signedIn, right: account.Self, own: true, page: s.tokensPage},
		{method: post, path: "/tokens", access: signedIn, right: account.Self, own: true, does: does("addToken"), page: s.addTokenPage},
		{method: post, path: "/tokens/{id}/remove", access: signedIn, right: account.Self, own: true, does: does("removeToken"), page: s.removeTokenPage},
		{method: get, path: "/profile", access: signedIn, right: account.Self, own: true, page: s.profilePage},
		{method: post, path: "/profile/password", access: signedIn, limited: true, right: account.Self, own: true, does: does("setOwnPassword"), page: s.passwordPage},
		{method: get, path: pathPasskeys, access: signedIn, right: account.Self, own: true, page: s.newPasskeyPage},
		{method: post, path: pathPasskeys, access: signedIn, right: account.Self, own: true, browser: "wants the passkey that is made", page: s.addPasskeyPage},
		{method: post, path: pathPasskeys + "/{id}/remove", access: signedIn, right: account.Self, own: true, browser: "wants who has just signed in", page: s.removePasskeyPage},
		{method: get, path: pathLink + "/{id}", access: signedIn, right: account.Self, own: true, page: s.linkWithPage},
		{method: get, path: pathLink, access: signedIn, right: account.Self, own: true, page: s.linkPage},
		{method: post, path: pathLink, access: signedIn, right: account.Self, own: true, browser: "wants a sign-in at the provider", page: s.setLinkPage},
		{method: post, path: "/profile/identities/{id}/remove", access: signedIn, right: account.Self, own: true, browser: "wants who has just signed in", page: s.removeIdentityPage},
		{method: post, path: "/profile/again", access: signedIn, right: account.Self, own: true, browser: "ends the browser's own sign-in", page: s.againPage},
		{method: get, path: "/profile/second", access: signedIn, right: account.Self, own: true, page: s.newSecondPage},
		{method: post, path: "/profile/second", access: signedIn, right: account.Self, own: true, browser: "wants a code of the app that is set up", page: s.setSecondPage},
		{method: post, path: "/profile/second/codes", access: signedIn, right: account.Self, own: true, browser: "shows codes to who has just signed in", page: s.newCodesPage},
		{method: get, path: "/profile/second/remove", access: signedIn, right: account.Self, own: true, page: s.askRemoveSecond},
		{method: post, path: "/profile/second/remove", access: signedIn, right: account.Self, own: true, browser: "wants who has just signed in", page: s.removeSecondPage},
		{method: post, path: "/profile/sessions/{id}/revoke", access: signedIn, right: account.Self, own: true, does: does("removeSignIn"), page: s.revokeSignInPage},
		{method: post, path: "/profile/sessions/revoke", access: signedIn, right: account.Self, own: true, does: does("removeSignIns"), page: s.revokeOthersPage},
		{method: get, path: "/{$}", access: signedIn, right: account.See, own: true, page: s.machinesPage},
	}, s.apiRoutes(bearer)...)
}

// Handler serves the control protocol and the pages.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string]bool{}
	for _, rt := range s.routes() {
		mux.Handle(rt.method+" "+rt.path, s.serve(rt))
		if !methods[rt.path] {
			methods[rt.path] = true
			mux.HandleFunc(rt.path, func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, rt.path, errMethod) })
		}
	}
	if s.opts.Relay != nil {
		mux.Handle(http.MethodGet+" "+PathRelay, s.opts.Relay) // it admits by ticket
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, "", errNotFound) })
	guard := http.NewCrossOriginProtection()
	_ = guard.AddTrustedOrigin(s.url) // also where a proxy gives us another Host
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, "", errCrossOrigin) }))
	return headers(guard.Handler(mux))
}

// headers that every answer has.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", csp(""))
		h.Set("Strict-Transport-Security", "max-age=31536000")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
		// What is left of a body is read before the connection serves again or closes: not for longer than this. Without a body
		// there is nothing to read, and the connection may be a WebSocket's by now, which such an end would break.
		if r.Body != http.NoBody {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(leftoverTimeout))
		}
	})
}

// csp allows a page our own style and pictures, and its forms to lead to formTarget too.
func csp(formTarget string) string {
	if formTarget != "" {
		formTarget = " " + formTarget
	}
	return "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'" + formTarget +
		"; base-uri 'none'; frame-ancestors 'none'"
}

// serve holds the route's access, and gives each error its answer.
func (s *Server) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // it is the one
					panic(p) // an answer that is cut off on purpose
				}
				s.log.Error("a handler failed", "route", rt.path, "panic", p)
				s.fail(w, r, rt.path, errInternal)
			}
		}()
		if !rt.waits {
			began := time.Now()
			defer func() { s.count.latency.WithLabelValues(rt.path).Observe(time.Since(began).Seconds()) }()
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(coord.MaxLoginWait + writeTimeout))
		if err := s.call(rt, w, r); err != nil {
			s.fail(w, r, rt.path, err)
			return
		}
		s.count.requests.WithLabelValues(rt.path, "ok").Inc()
	})
}

func (s *Server) call(rt route, w http.ResponseWriter, r *http.Request) error {
	if rt.body > coord.MaxBody && rt.access == bearer { // nobody else has that much kept
		if _, _, err := s.program(w, r); err != nil {
			return err
		}
	}
	if rt.limited {
		if err := bufferBody(w, r, cmp.Or(rt.body, coord.MaxBody)); err != nil {
			return err
		}
		slots := s.slots
		switch {
		case rt.page != nil:
			slots = s.pageSlots
		case rt.access == host: // who mends what others have brought about
			slots = s.hostSlots
		case rt.api != nil:
			slots = s.apiSlots
		}
		wait := time.NewTimer(concurrentWait)
		defer wait.Stop()
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-wait.C:
			return errBusy
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
	switch rt.access {
	case anyone:
		return rt.public(w, r)
	case machine:
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return errNoSession
		}
		sess := s.sessions.find(s.now(), token)
		if sess == nil {
			return errNoSession
		}
		return rt.machine(w, r, sess)
	case visitor, signedIn:
		return s.callPage(rt, w, r)
	case bearer, host:
		return s.callAPI(rt, w, r)
	}
	return errInternal // an access that nobody has thought of
}

// bufferBody reads the body ahead: who sends slowly must not hold the place of those who do not.
func bufferBody(w http.ResponseWriter, r *http.Request, most int64) error {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(readTimeout))
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		if isTooLong(err) {
			return errTooLong
		}
		return badRequest("The body cannot be read")
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	return nil
}

// callPage lets a browser in: to what its account may do, with a form that was made for it.
func (s *Server) callPage(rt route, w http.ResponseWriter, r *http.Request) error {
	v, err := s.visit(r)
	if err != nil {
		return err
	}
	if rt.access == signedIn && v.user.ID == 0 {
		return redirect(w, r, "/signin")
	}
	if rt.access == signedIn && v.owes && !strings.HasPrefix(rt.path, "/profile") && rt.path != "/signout" {
		return redirect(w, r, "/profile/second")
	}
	if rt.access == signedIn {
		s.hub.fresh(r.Context())
		if err := rt.authorize(r, v.caller()); err != nil {
			return err
		}
	}
	if rt.method != http.MethodGet {
		if err := s.readForm(w, r, v, cmp.Or(rt.body, maxForm)); err != nil {
			return err
		}
	}
	return rt.page(w, r, v)
}

// fail answers with an error: as JSON, or as a page to a browser.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, path string, err error) {
	e := refusal(err)
	if e == errNotFound && strings.HasPrefix(r.URL.Path, PathAPI) {
		e = errNoOperation
	}
	s.count.requests.WithLabelValues(path, e.Code).Inc()
	switch {
	case r.Context().Err() != nil:
	case e.Status >= http.StatusInternalServerError && e.Code != coord.CodeBusy: // which strangers can bring about, as often as they like
		s.log.Error("request failed", "route", path, "err", err)
	default:
		s.log.Debug("request refused", "route", path, "code", e.Code)
	}
	if !strings.HasPrefix(r.URL.Path, "/v1/") && !strings.HasPrefix(r.URL.Path, PathAPI) && strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.failPage(w, e)
		return
	}
	text, _ := json.Marshal(coord.ErrorReply{Error: e}) // strings
	w.Header().Set("Content-Type", "application/json")
	if e.Code == coord.CodeBusy || e.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "5")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(text)
}

// clientAddr is who asks: the other end of the connection or, where that is a proxy of ours, the nearest hop before it
// that is none. What comes from elsewhere names nobody.
func (s *Server) clientAddr(r *http.Request) netip.Addr {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	a, _ := netip.ParseAddr(host)
	a = a.Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.isProxy(a); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		a = hop.Unmap().WithZone("")
	}
	return a
}

func (s *Server) isProxy(a netip.Addr) bool {
	return slices.ContainsFunc(s.opts.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

func isTooLong(err error) bool {
	var e *http.MaxBytesError
	return errors.As(err, &e)
}
