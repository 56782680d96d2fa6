package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/idp"
	"github.com/warren-mesh/warren/coord/internal/passkey"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/certificate"
)

// Times and bounds of HTTP.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 15 * time.Second // for a body
	writeTimeout  = 15 * time.Second // for one piece of an answer
	idleTimeout   = time.Minute
	// leftoverTimeout is for the rest of a body that nobody wanted: a connection that brings it can serve again.
	leftoverTimeout = time.Second
	stopTimeout     = 5 * time.Second // for requests that are under way at the end
	maxHeader       = 16 << 10
	maxStreams      = 64 // requests at a time on one HTTP/2 connection
)

// Options says how a server is run. The zero value serves with what Init made.
type Options struct {
	URL         string // replaces the one from Init, if set
	BehindProxy bool   // a reverse proxy ends TLS
	// Proxies are the addresses of reverse proxies that are believed who the client is (X-Forwarded-For).
	Proxies  []netip.Prefix
	Chosen   string // the URL to take where nobody has said one, and the one of before leads to this host no more
	TLSCert  string // files with a certificate of one's own
	TLSKey   string
	ACME     *certificate.Options // a certificate from a public authority; nil: none
	Database string               // URL of a PostgreSQL database; empty: SQLite in the state directory
	Version  string               // of this program
	Relay    http.Handler         // an embedded relay's WebSockets, served at PathRelay
	Log      *slog.Logger         // nil: none
	// Connections is how many there may be at a time; 0: as many as files and memory allow.
	Connections int
	// Check may refuse the network that the state directory has, before anything is changed; nil: any is right.
	Check func(coord.Network) error
	// Now is the clock; nil: the real one.
	Now func() time.Time
}

// PathRelay is where Options.Relay is served.
const PathRelay = "/relay"

// hasher makes of passwords what is stored of them (account.Hasher). An empty encoded is no account's, and takes as long.
type hasher interface {
	Hash(ctx context.Context, password string) (encoded string, err error)
	Check(ctx context.Context, password, encoded string) (bool, error)
}

// Server is a coordination server.
type Server struct {
	// fixed
	dir       string
	opts      Options
	url       string
	movedFrom string // the URL before it was chosen anew; empty: it was not
	network   coord.Network
	identity  key.Server
	certs     *certificates // nil behind a proxy
	store     store.Store
	log       *slog.Logger
	now       func() time.Time
	heartbeat time.Duration
	unlock    func()
	formKey   [32]byte // of the forms' tokens
	vault     *vault
	idps      *idp.Directory
	desk      *passkey.Desk // nil: browsers know the server by no name that passkeys could be for
	started   time.Time
	ready     readiness

	hub       *hub
	sessions  *sessions
	logins    *logins
	hasher    hasher
	guesses   *account.Throttle
	count     *counters
	gate      *gate         // of connections
	slots     chan struct{} // of machines' requests
	pageSlots chan struct{} // of people's, whose passwords take long
	apiSlots  chan struct{} // of programs'
	hostSlots chan struct{} // of the host's administrator
	exports   chan struct{} // of the audit log, which last as long as their readers like
	api       *api
	meter     *meter
	courier   *courier
	trail     *trail

	serving  chan struct{} // closed when it can be called
	stopping chan struct{} // closed when streams and waits should end
	stop     sync.Once
}

// Open opens the server that Init made in the directory, and keeps others out of it until Close.
func Open(ctx context.Context, dir string, o Options) (_ *Server, err error) {
	identity, err := readIdentity(dir)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		formKey: identity.Derive("warren-coord forms v1"), // pages that are open outlive a restart
		dir:     dir, opts: o, identity: identity, log: o.Log, now: o.Now, heartbeat: coord.Heartbeat, started: o.Now(),
		trail: newTrail(), sessions: newSessions(identity), hasher: account.NewHasher(), guesses: account.NewThrottle(), idps: idp.New(o.Now),
		count: newCounters(), slots: make(chan struct{}, maxConcurrent), pageSlots: make(chan struct{}, maxConcurrent),
		apiSlots: make(chan struct{}, maxCalls), hostSlots: make(chan struct{}, maxCalls), exports: make(chan struct{}, maxExports),
		meter: newMeter(), serving: make(chan struct{}), stopping: make(chan struct{}),
	}
	s.api = s.newAPI()
	if s.vault, err = newVault(identity); err != nil {
		return nil, err
	}
	if s.unlock, err = lock(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.unlock()
		}
	}()
	db, err := openDatabase(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	s.courier = newCourier(s)
	s.store = watched{measured{db, s.count}, s}
	if err = s.load(ctx); err == nil && o.Check != nil {
		err = o.Check(s.network)
	}
	if err == nil {
		err = s.moved(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if s.desk, err = passkey.New(s.url, s.network.Name); err != nil && !errors.Is(err, passkey.ErrNoName) {
		return nil, errors.Join(err, db.Close())
	}
	if !o.BehindProxy {
		if s.certs, err = loadCertificates(dir, s.url, &o); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	if o.Connections == 0 {
		o.Connections = connsOf(openFiles(), memory())
	}
	s.gate = newGate(o.Connections, s.count, s.isProxy)
	s.count.watch(s.hub, s.gate)
	s.count.watchDisk(dir, o.Database == "")
	s.count.watchReady(s.unready)
	return s, nil
}

// openDatabase opens the database that Init made.
func openDatabase(ctx context.Context, dir string, o Options) (store.Store, error) {
	p := place(dir, o.Database)
	if err := present(p); err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	db.SetClock(o.Now)
	return db, nil
}

// ours checks that a database is this server's.
func ours(tx store.Tx, identity key.ServerPublic) error {
	switch text, err := tx.Meta(metaServer); {
	case errors.Is(err, store.ErrNotFound):
		return nil // it was made before databases said it
	case err != nil:
		return err
	case text != identity.String():
		return ErrForeign
	}
	return nil
}

// load reads the network into memory.
func (s *Server) load(ctx context.Context) error {
	err := s.store.Read(ctx, func(tx store.Tx) error {
		if err := ours(tx, s.Key()); err != nil {
			return err
		}
		text, err := tx.Meta(metaNetwork)
		if err == nil {
			s.network, err = parseNetwork(text)
		}
		if err != nil {
			return fmt.Errorf("the database does not say which network it is: %w", err)
		}
		if s.url, err = tx.Meta(metaURL); err != nil {
			return err
		}
		if s.opts.URL != "" {
			s.url, _, err = coord.ParseServer(s.opts.URL)
		}
		return err
	})
	if err != nil {
		return err
	}
	h := newHub(s)
	err = s.store.WriteSoft(ctx, func(tx store.Tx) (err error) {
		h.replica, err = tx.AddReplica(s.now())
		return err
	})
	if err == nil {
		err = h.reload(ctx)
	}
	if err == nil {
		s.hub, s.store = h, followed{s.store, h}
		s.logins = newLogins(s.store, s.vault)
		h.stir = s.logins.stir
	}
	return err
}

// moved takes another URL where nobody has said one and the one that was chosen leads to this host no more.
func (s *Server) moved(ctx context.Context) error {
	if s.hub == nil || s.opts.URL != "" || s.opts.Chosen == "" || s.opts.Chosen == s.url {
		return nil
	}
	chosen, _, err := coord.ParseServer(s.opts.Chosen)
	if err != nil || chosen == s.url {
		return err
	}
	return s.store.Write(ctx, func(tx store.Tx) error {
		if _, err := tx.Meta(metaChosen); errors.Is(err, store.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		if leadsHere(s.url, chosen) {
			return nil
		}
		s.url, s.movedFrom = chosen, s.url
		return tx.SetMeta(metaURL, chosen)
	})
}

// snapshot reads all that machines may see.
func (s *Server) snapshot(tx store.Tx) (n state.Network, err error) {
	text, err := tx.Meta(metaNetwork)
	if err == nil {
		n.Common, err = parseNetwork(text)
	}
	if err != nil {
		return n, err
	}
	if n.Relays, err = tx.Relays(); err != nil {
		return n, err
	}
	if n.DNS, err = dnsOf(tx); err != nil {
		return n, err
	}
	if n.Rules, err = rulesIn(tx); err != nil {
		return n, err
	}
	users, err := tx.Users()
	if err != nil {
		return n, err
	}
	byID := store.UsersByID(users)
	nodes, err := tx.Nodes()
	if err != nil {
		return n, err
	}
	for _, x := range nodes {
		if !x.Key.IsZero() {
			n.Members = append(n.Members, s.memberOf(x, byID[x.User]))
		}
	}
	log, err := tx.Log()
	for _, c := range log {
		n.Log = append(n.Log, changeOf(c))
	}
	return n, err
}

func parseNetwork(text string) (n coord.Network, err error) {
	err = json.Unmarshal([]byte(text), &n)
	return n, err
}

// Key is the identity that machines pin.
func (s *Server) Key() key.ServerPublic { return s.identity.Public() }

// URL is where machines reach the server.
func (s *Server) URL() string { return s.url }

// Serving is closed when the server can be called, on the admin socket too.
func (s *Server) Serving() <-chan struct{} { return s.serving }

// MovedFrom is the URL that the server had before its start, where it chose another; empty: none.
func (s *Server) MovedFrom() string { return s.movedFrom }

// Network is what is common to all machines.
func (s *Server) Network() coord.Network { return s.network }

// Registry is where the server's metrics are, for an embedded relay to add its own.
func (s *Server) Registry() prometheus.Registerer { return s.count.registry }

// Identity reads the public identity of the server in the directory, before it is opened.
func Identity(dir string) (key.ServerPublic, error) {
	k, err := readIdentity(dir)
	if err != nil {
		return key.ServerPublic{}, err
	}
	return k.Public(), nil
}

// Serve answers on the listener (plain TCP; Serve does the TLS) until ctx ends. Then it lets what is under way end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ln = s.gate.listen(ln)
	if c := s.TLS(); c != nil {
		c.GetConfigForClient = s.gate.shake
		ln = tls.NewListener(servedListener{ln}, c)
	}
	srv := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ConnContext: withServed, ConnState: s.gate.state, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: coord.MaxBody, MaxReceiveBufferPerStream: coord.MaxBody,
		},
	}
	admin, err := s.listenAdmin()
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	adminSrv := &http.Server{Handler: s.Admin(), ReadHeaderTimeout: headerTimeout}
	var work sync.WaitGroup
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ends after the requests
	defer cancel()
	hubErr := make(chan error, 1)
	work.Go(func() { hubErr <- s.hub.run(inner) })
	work.Go(func() { s.tidy(inner) })
	work.Go(func() { s.sweep(inner) })
	work.Go(func() { s.courier.run(inner) })
	if s.certs != nil {
		work.Go(func() { s.certs.run(inner) })
	}
	served := make(chan error, 1)
	close(s.serving) // both listeners queue who comes; and whoever was answered, was answered after this
	work.Go(func() { served <- srv.Serve(ln) })
	work.Go(func() { _ = adminSrv.Serve(admin) })
	select {
	case <-ctx.Done():
		s.stop.Do(func() { close(s.stopping) })
		wait, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		if srv.Shutdown(wait) != nil {
			_ = srv.Close()
		}
		done()
		<-served
	case err = <-served:
		s.stop.Do(func() { close(s.stopping) })
		_ = srv.Close()
	}
	_ = adminSrv.Close()
	cancel()
	work.Wait()
	return errors.Join(err, <-hubErr)
}

// tidy forgets old browser sessions, invitations, logins and lines of the log, once an hour, and when the log has grown much.
func (s *Server) tidy(ctx context.Context) {
	every := time.NewTicker(time.Hour)
	defer every.Stop()
	for {
		now := s.now()
		err := s.store.Write(ctx, func(tx store.Tx) error {
			if err := tx.PurgeWebSessions(now.Add(-webLife), now.Add(-webIdle)); err != nil {
				return err
			}
			if err := tx.PurgeInvitations(now.Add(-inviteKept)); err != nil {
				return err
			}
			if err := tx.PurgeLogins(now.Add(-coord.LoginTTL)); err != nil {
				return err
			}
			if err := tx.PurgeTokens(now.Add(-tokenKept)); err != nil {
				return err
			}
			return s.pruneAudit(tx, now)
		})
		if err != nil && ctx.Err() == nil {
			s.log.Warn("cannot tidy up", "err", err)
		}
		select {
		case <-every.C:
		case <-s.trail.prune:
		case <-ctx.Done():
			return
		}
	}
}

// Close closes the database and lets others use the directory. Serve must have returned.
func (s *Server) Close() error {
	s.idps.Close()
	err := s.store.Close()
	s.unlock()
	return err
}
