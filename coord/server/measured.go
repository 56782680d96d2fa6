package server

import (
	"context"
	"errors"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// measured is a store whose transactions are timed, and whose failures are counted.
type measured struct {
	store.Store
	count *counters
}

func (m measured) Read(ctx context.Context, fn func(store.Tx) error) error {
	return m.transaction("read", func() error { return m.Store.Read(ctx, fn) })
}

func (m measured) Write(ctx context.Context, fn func(store.Tx) error) error {
	return m.transaction("write", func() error { return m.Store.Write(ctx, fn) })
}

func (m measured) WriteSoft(ctx context.Context, fn func(store.Tx) error) error {
	return m.transaction("soft", func() error { return m.Store.WriteSoft(ctx, fn) })
}

func (m measured) transaction(kind string, run func() error) error {
	began := time.Now()
	err := run()
	m.count.transactions.WithLabelValues(kind).Observe(time.Since(began).Seconds())
	if why := storeFailure(err); why != "" {
		m.count.storeErrors.WithLabelValues(why).Inc()
	}
	return err
}

// storeFailure says in a word why the database failed; empty: it did not, what was asked for was refused.
func storeFailure(err error) string {
	var e *coord.Error
	switch {
	case errors.Is(err, store.ErrFull):
		return "full"
	case errors.Is(err, store.ErrMoved):
		return "moved"
	case errors.Is(err, store.ErrAway), errors.Is(err, store.ErrUnsure):
		return "away"
	case errors.Is(err, store.ErrDamaged):
		return "damaged"
	case err == nil, errors.As(err, &e), errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrNoNumber),
		errors.Is(err, coord.ErrInvalid), errors.Is(err, context.Canceled):
		return ""
	}
	return "other"
}
