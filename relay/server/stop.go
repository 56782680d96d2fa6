package server

import "github.com/warren-mesh/warren/relay"

// stop tells every client that the relay stops, and lets nobody else in.
func (s *Server) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	sender := s.borrow()
	for _, session := range s.hub.sessions.all() {
		s.hub.end(asOutlet(sender), session, relay.ReasonShutdown)
	}
	s.giveBack(sender)
	s.sockets.Range(func(ws, _ any) bool {
		ws.(*webSocket).queue.Close()
		return true
	})
}

// cut closes what is left of the WebSockets.
func (s *Server) cut() {
	s.sockets.Range(func(ws, _ any) bool {
		_ = ws.(*webSocket).conn.CloseNow()
		return true
	})
}

func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// enter lets a WebSocket in unless the server stops.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.running.Add(1)
	return true
}
