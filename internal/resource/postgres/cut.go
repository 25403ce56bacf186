package pgkind

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/policy"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	gatherCuts = 2 * time.Millisecond // how long a cut waits for others
	maxShuts   = 250                  // roles that are locked out in one transaction
	cutTimeout = 20 * time.Second
)

// cutter ends sessions over a connection of its own, so that nothing waits
// before it. What is asked for at about the same time goes in one statement.
type cutter struct {
	s *server

	mu      sync.Mutex
	waiting []wanted
	running bool

	using sync.Mutex // held by who uses kept
	kept  *pgconn.PgConn
}

type wanted struct {
	role string
	done chan<- error
}

// cut lets role log in no more and ends all its sessions. It returns at once;
// the error comes when the server has been told, and the sessions end within
// milliseconds of that.
func (c *connector) cut(r *policy.Resource, role string) <-chan error {
	c.finish(role, false)
	done := make(chan error, 1)
	s, config, err := c.primary(r)
	if err != nil {
		done <- err
		return done
	}
	follower := c.standby(config)
	if follower == nil {
		s.cutter.want(role, done)
		return done
	}
	both := make(chan error, 2)
	s.cutter.want(role, both)
	follower.cutter.want(role, both)
	go func() { done <- errors.Join(<-both, <-both) }()
	return done
}

func (k *cutter) want(role string, done chan<- error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiting = append(k.waiting, wanted{role, done})
	if !k.running {
		k.running = true
		go k.run()
	}
}

// run cuts until nothing waits: the sessions of all who wait first, for that is
// what must not, and then the doors, some at a time, unless others have come to
// wait meanwhile.
func (k *cutter) run() {
	time.Sleep(gatherCuts)
	var ended []wanted // whose doors are open
	for {
		k.mu.Lock()
		batch := k.waiting
		k.waiting = nil
		if len(batch) == 0 && len(ended) == 0 {
			k.running = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		if len(batch) > 0 {
			if err := k.do(batch, k.terminate); err == nil {
				ended = append(ended, batch...)
			}
			continue
		}
		batch = ended[:min(maxShuts, len(ended))]
		ended = ended[len(batch):]
		if k.do(batch, k.shut) == nil {
			tell(batch, nil)
		}
	}
}

// do runs one step for those who wait for it, who are told when it fails.
func (k *cutter) do(batch []wanted, step func(ctx context.Context, on conn, f *facts, roles []string) error) error {
	roles := make([]string, len(batch))
	for i, w := range batch {
		roles[i] = w.role
	}
	ctx, cancel := context.WithTimeout(context.Background(), cutTimeout)
	defer cancel()
	err := k.with(ctx, func(on conn) error {
		f, err := k.s.look(ctx, on)
		if err != nil {
			return err
		}
		return step(ctx, on, f, sorted(roles))
	})
	if err != nil {
		tell(batch, err)
	}
	return err
}

func tell(batch []wanted, err error) {
	for _, w := range batch {
		w.done <- err
	}
}

const (
	// Of many roles: rolname::text can be looked up in a hash of them, rolname not.
	terminateSQL = `select count(pg_terminate_backend(pid)) from pg_stat_activity where usesysid in (select oid from pg_roles where rolname::text = any(%s::text[]))`
	openSQL      = `select rolname from pg_roles where rolcanlogin and rolname::text = any($1::text[])`
)

// terminate ends the sessions that there are.
func (k *cutter) terminate(ctx context.Context, on conn, _ *facts, roles []string) error {
	_, err := on.query(ctx, fmt.Sprintf(terminateSQL, "$1"), array(roles))
	return err
}

// shut locks roles out, and ends the sessions that came in meanwhile.
func (k *cutter) shut(ctx context.Context, on conn, f *facts, roles []string) error {
	if f.standby {
		return nil // it hears of that
	}
	return patiently(ctx, func() error {
		rows, err := on.query(ctx, openSQL, array(roles))
		if err != nil || len(rows) == 0 {
			return err
		}
		open := column(rows)
		sql := make([]string, len(open))
		for i, role := range open {
			sql[i] = "ALTER ROLE " + ident(role) + " NOLOGIN"
		}
		return on.transact(ctx, strings.Join(sql, "; "), fmt.Sprintf(terminateSQL, literal(array(open))))
	})
}

// warm has the connection there before it is needed.
func (k *cutter) warm(ctx context.Context) error {
	if !k.using.TryLock() {
		return nil // in use, so it is there
	}
	defer k.using.Unlock()
	return k.connected(ctx)
}

func (k *cutter) connected(ctx context.Context) (err error) {
	if k.kept == nil || k.kept.IsClosed() {
		k.kept, err = k.s.connect(ctx, k.s.at.database)
	}
	return err
}

func (k *cutter) with(ctx context.Context, f func(conn) error) error {
	k.using.Lock()
	defer k.using.Unlock()
	for attempt := 1; ; attempt++ {
		if err := k.connected(ctx); err != nil {
			return err
		}
		err := f(conn{k.kept})
		if !k.kept.IsClosed() && k.kept.TxStatus() != 'I' {
			hangUp(k.kept)
		}
		if err == nil || !k.kept.IsClosed() || attempt == 2 || ctx.Err() != nil {
			return err
		}
	}
}

func (k *cutter) close() {
	k.using.Lock()
	defer k.using.Unlock()
	if k.kept != nil {
		hangUp(k.kept)
		k.kept = nil
	}
}
