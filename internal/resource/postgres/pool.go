package pgkind

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// pool is a few connections of a server's login, made when they are needed.
type pool struct {
	s     *server
	slots chan struct{}
	idle  chan *pgconn.PgConn
}

func newPool(s *server, size int) pool {
	return pool{s, make(chan struct{}, size), make(chan *pgconn.PgConn, size)}
}

// with runs f on a connection. A connection that was kept and turns out to be
// dead is replaced once: f must bear to be run again, and must not ask the pool
// for another one.
func (p *pool) with(ctx context.Context, f func(conn) error) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	select {
	case kept := <-p.idle:
		err := f(conn{kept})
		if !kept.IsClosed() {
			p.keep(kept)
			return err
		}
		if _, said := errors.AsType[*pgconn.PgError](err); err == nil || said && !gone(err) || ctx.Err() != nil {
			return err
		}
	default:
	}
	fresh, err := p.s.connect(ctx, p.s.at.database)
	if err != nil {
		return err
	}
	err = f(conn{fresh})
	p.keep(fresh)
	return err
}

func (p *pool) keep(one *pgconn.PgConn) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if !p.s.closed && !one.IsClosed() && one.TxStatus() == 'I' {
		select {
		case p.idle <- one:
			return
		default:
		}
	}
	hangUp(one)
}

func (p *pool) close() {
	for {
		select {
		case one := <-p.idle:
			hangUp(one)
		default:
			return
		}
	}
}
