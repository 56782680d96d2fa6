package store

import (
	"context"
	"database/sql"
	"sync"
)

// maxStatements bounds how many statements stay prepared: the store has fewer, but for those whose text is made of a
// person's filter.
const maxStatements = 256

// statements keeps the statements of one pool of SQLite's connections prepared: parsing them took half the time of a
// transaction. (PostgreSQL's driver keeps its own.)
//
// A statement that a transaction asks for is prepared after it, since preparing takes a connection of the pool, and the
// transaction may hold the last one.
type statements struct {
	db *sql.DB

	mu    sync.Mutex
	ready map[string]*sql.Stmt
	asked []string
}

func newStatements(db *sql.DB) *statements {
	return &statements{db: db, ready: map[string]*sql.Stmt{}}
}

// find gives the statement of the query, or nil while it is not prepared.
func (s *statements) find(query string) *sql.Stmt {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, known := s.ready[query]
	if !known && len(s.ready) < maxStatements {
		s.ready[query] = nil
		s.asked = append(s.asked, query)
	}
	return p
}

// prepare prepares what was asked for. No transaction of the caller is open.
func (s *statements) prepare(ctx context.Context) {
	if s == nil {
		return
	}
	s.mu.Lock()
	asked := s.asked
	s.asked = nil
	s.mu.Unlock()
	for _, query := range asked {
		p, err := s.db.PrepareContext(ctx, query)
		s.mu.Lock()
		if err == nil {
			s.ready[query] = p
		} else { // the query itself has said so, or will
			delete(s.ready, query)
		}
		s.mu.Unlock()
	}
}
