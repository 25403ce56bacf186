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
	maxCuts    = 250                  // roles in one statement
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

// run cuts until nothing waits.
func (k *cutter) run() {
	time.Sleep(gatherCuts)
	for {
		k.mu.Lock()
		batch := k.waiting[:min(maxCuts, len(k.waiting))]
		if k.waiting = k.waiting[len(batch):]; len(batch) == 0 {
			k.running = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		roles := make([]string, len(batch))
		for i, w := range batch {
			roles[i] = w.role
		}
		ctx, cancel := context.WithTimeout(context.Background(), cutTimeout)
		err := k.cut(ctx, sorted(roles))
		cancel()
		for _, w := range batch {
			w.done <- err
		}
	}
}

const (
	terminateSQL = `select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = any(%s::text[])`
	openSQL      = `select rolname from pg_roles where rolcanlogin and rolname = any($1::text[]) and (` + terminateSQL + `) >= 0`
)

// cut ends sessions first, for that is what must not wait; then it shuts the
// door, and ends those that came in meanwhile.
func (k *cutter) cut(ctx context.Context, roles []string) error {
	return k.with(ctx, func(on conn) error {
		f, err := k.s.look(ctx, on)
		if err != nil {
			return err
		}
		return patiently(ctx, func() error {
			rows, err := on.query(ctx, fmt.Sprintf(openSQL, "$1"), array(roles))
			if err != nil || len(rows) == 0 || f.standby { // a standby hears of the rest
				return err
			}
			shut := column(rows)
			for i, role := range shut {
				shut[i] = "ALTER ROLE " + ident(role) + " NOLOGIN"
			}
			return on.transact(ctx, strings.Join(shut, "; "), fmt.Sprintf(terminateSQL, literal(array(roles))))
		})
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
