package server

import (
	"net/http"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// How long a browser's sign-in lasts.
const (
	webLife = 30 * 24 * time.Hour
	webIdle = 7 * 24 * time.Hour
)

type visit struct{ user store.User }

func (s *Server) visit(r *http.Request) (*visit, error)                  { return &visit{}, nil }
func (s *Server) askSignIn(w http.ResponseWriter, r *http.Request) error { return errNotFound }
func (s *Server) failPage(w http.ResponseWriter, e *coord.Error)         { http.Error(w, e.Message, e.Status) }
