package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord/key"
)

func TestMetricsAndHealth(t *testing.T) {
	s, err := New(Config{UDP: "127.0.0.1:0", Metrics: "127.0.0.1:0", Key: key.NewRelay(), Issuers: []key.ServerPublic{key.NewServer().Public()}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]string{
		"/healthz": "ok\n",
		"/metrics": "# HELP warren_relay_sessions Nodes that have a session now.",
		"/nothing": "404",
	} {
		r, err := client.Get("http://" + s.metrics.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if !strings.Contains(string(body), want) {
			t.Errorf("%s: %s", path, body)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
