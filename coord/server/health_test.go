package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warren-mesh/warren/coord/internal/store"
)

// brittle is a store that can be made to fail, and counts what is written.
type brittle struct {
	store.Store
	fails  atomic.Bool
	writes atomic.Int32
}

func (b *brittle) Write(ctx context.Context, fn func(store.Tx) error) error {
	b.writes.Add(1)
	if b.fails.Load() {
		return store.ErrFull
	}
	return b.Store.Write(ctx, fn)
}

func ask(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadinessSaysInAWordWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	b := &brittle{Store: s.store}
	s.store = measured{b, s.count}
	want := func(h http.Handler, status int, word string) {
		t.Helper()
		if code, body := ask(t, h, "/readyz"); code != status || body != word+"\n" {
			t.Errorf("readyz = %d %q, not %d %q", code, body, status, word)
		}
		if code, body := ask(t, h, "/healthz"); code != http.StatusOK || body != "ok\n" {
			t.Errorf("healthz = %d %q", code, body)
		}
	}
	for range 20 {
		want(s.Handler(), http.StatusOK, "ok")
	}
	if n := b.writes.Load(); n > 3 {
		t.Errorf("20 questions were %d writes", n)
	}
	forget := func() { s.ready.until = time.Time{} }
	forget()
	b.fails.Store(true)
	want(s.Handler(), http.StatusServiceUnavailable, "database")
	want(s.Metrics(), http.StatusServiceUnavailable, "database")
	b.fails.Store(false)
	forget()
	want(s.Handler(), http.StatusOK, "ok")
	s.hub.waiting.Store(time.Now().Add(-2 * behindTime).UnixNano())
	want(s.Handler(), http.StatusServiceUnavailable, "behind")
	s.hub.flush()
	want(s.Handler(), http.StatusOK, "ok")
	close(s.stopping)
	want(s.Handler(), http.StatusServiceUnavailable, "stopping")
}

func TestMetricsTellWhatOneNeedsToKnow(t *testing.T) {
	r := serve(t)
	d := r.device()
	d.join("laptop", r.authKey(KeyOptions{}))
	d.follow(nil)
	_ = r.store.Write(t.Context(), func(store.Tx) error { return store.ErrFull })
	_ = r.store.Write(t.Context(), func(store.Tx) error { return store.ErrTaken })
	names := []string{
		"warren_coord_machines 1", "warren_coord_streams 1", "warren_coord_ready 1", "warren_coord_registrations_total 1",
		`warren_coord_store_errors_total{why="full"} 1`, `warren_coord_store_seconds_count{kind="write"}`, `warren_coord_store_seconds_count{kind="read"}`,
		`warren_coord_requests_total{code="ok",route="/v1/register"} 1`, `warren_coord_request_seconds_count{route="/v1/register"} 1`,
		"warren_coord_flush_seconds_count", "warren_coord_database_bytes", "warren_coord_disk_free_bytes", "go_goroutines", "process_open_fds",
		"warren_coord_streams_cut_total 0", "warren_coord_netmap_full_total 1",
	}
	var page string
	eventually(t, "the machine's stream", func() bool {
		_, page = ask(t, r.Metrics(), "/metrics")
		return strings.Contains(page, "warren_coord_streams 1")
	})
	for _, name := range names {
		if !strings.Contains(page, "\n"+name) {
			t.Errorf("no %s", name)
		}
	}
	if strings.Contains(page, `why="other"`) || strings.Contains(page, `request_seconds_count{route="/v1/netmap"}`) {
		t.Error("what was refused counts as a failure, or a stream as slow")
	}
}

func TestWhatWaitsToBeToldIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{wake: make(chan struct{}, 1)}
		if h.behind() != 0 {
			t.Error("something waits")
		}
		h.kick()
		time.Sleep(time.Second)
		h.kick()
		if b := h.behind(); b != time.Second {
			t.Errorf("what came first waits for %v", b)
		}
	})
}

func TestAFailureOfTheDatabaseIsToldFromARefusal(t *testing.T) {
	for err, want := range map[error]string{
		store.ErrFull: "full", store.ErrAway: "away", store.ErrDamaged: "damaged", errors.New("something"): "other",
		store.ErrTaken: "", errNameTaken: "", context.Canceled: "",
	} {
		if got := storeFailure(err); got != want {
			t.Errorf("%v counts as %q, not %q", err, got, want)
		}
	}
}
