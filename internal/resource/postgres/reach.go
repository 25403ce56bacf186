package pgkind

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// keepReach is how long it holds what a role with certain privileges would
// reach. The question is dear: it goes through all that the catalog of the
// database has. What PUBLIC may do can change in any instant, also in the one
// after a look, and reaches grants that are running: an answer that is some
// seconds old says nothing less than one that is some seconds away from its use.
// What names stand for is asked anew each time. When a role is made it is looked
// at once more, for hours may have passed since somebody asked for it.
const keepReach = 5 * time.Second

// lookTimeout bounds one look.
const lookTimeout = 30 * time.Second

// reach is one answer, or the wait for it.
type reach struct {
	began time.Time
	done  chan struct{} // closed when what follows is there
	effective
	err error
}

// reaching returns what a role for f would reach, as of at most keepReach ago.
// Those who ask the same thing at once share one look.
func (s *server) reaching(ctx context.Context, f found) (effective, error) {
	key := strings.Join([]string{oids(f.Tables), array(f.schemas()), oids(f.Functions)}, " ")
	now := s.c.deps.Now()
	s.mu.Lock()
	for of, r := range s.reaches {
		if age := now.Sub(r.began); age < 0 || age >= keepReach {
			delete(s.reaches, of)
		}
	}
	r := s.reaches[key]
	if r == nil {
		r = &reach{began: now, done: make(chan struct{})}
		s.reaches[key] = r
		go s.reach(key, r, f)
	}
	s.mu.Unlock()
	select {
	case <-r.done:
		return r.effective, r.err
	case <-ctx.Done():
		return effective{}, ctx.Err()
	}
}

// reach looks. An error is told to those who wait, and not kept.
func (s *server) reach(key string, r *reach, f found) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	defer close(r.done)
	r.err = s.looks.with(ctx, func(on conn) (err error) {
		r.effective, err = preview(ctx, on, f)
		return err
	})
	if r.err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reaches[key] == r {
		delete(s.reaches, key)
	}
}

// bears refuses, when a role is made, what reaches further by now than the
// catalog lets a grant reach. A role that is there stays: more time on it is no
// wider access.
func (g *making) bears(ctx context.Context) error {
	if g.config.relations == nil && g.config.functions == nil {
		return nil
	}
	f := g.was
	var err error
	if f.Effective, err = g.on.reaching(ctx, f); err != nil {
		return err
	}
	over := g.config.bears(f)
	if over == nil {
		return nil
	}
	return g.on.with(ctx, func(on conn) error {
		there, err := on.query(ctx, "select 1 from pg_roles where rolname = $1", g.role.name)
		if err == nil && len(there) == 0 {
			err = fmt.Errorf("it would reach more by now than is allowed: %w", over)
		}
		return err
	})
}
