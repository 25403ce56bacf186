package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/daypass/daypass/internal/store/sqlstore"
)

// bubble runs test in a synctest bubble, where one can wait until all updates
// are queued.
func (s *suite) bubble(test func()) {
	outer := s.T
	synctest.Test(outer, func(t *testing.T) {
		s.T = t
		defer func() { s.T = outer }()
		s.begin()
		test()
	})
}

// together runs updates so that they share one commit, in this order, and
// returns their errors.
func (s *suite) together(updates ...func(*sqlstore.Tx) error) []error {
	s.Helper()
	release, held := make(chan struct{}), make(chan error, 1)
	go func() {
		held <- s.store.Update(context.Background(), sqlstore.Normal, func(*sqlstore.Tx) error { <-release; return nil })
	}()
	synctest.Wait() // the writer is inside that function
	answers := make([]chan error, len(updates))
	for i, fn := range updates {
		answers[i] = make(chan error, 1)
		go func() { answers[i] <- s.store.Update(context.Background(), sqlstore.Normal, fn) }()
		synctest.Wait() // queued
	}
	close(release)
	s.must(<-held)
	errs := make([]error, len(updates))
	for i := range answers {
		errs[i] = <-answers[i]
	}
	return errs
}

// savepoints: a failing update between two good ones of the same commit
// leaves nothing, neither a row nor an entry nor a gap nor a callback.
func (s *suite) savepoints() {
	s.bubble(func() {
		var ran []string
		put := func(name string, end func() error) func(*sqlstore.Tx) error {
			return func(tx *sqlstore.Tx) error {
				tx.AfterCommit(func() { ran = append(ran, name) })
				if err := errors.Join(
					tx.PutRequest(request("req_"+name, start)),
					tx.PutSetting(name, "set"), tx.PutSetting("last", name),
					tx.Append(record(name+"_1"), record(name+"_2")),
					tx.AppendBatch([]sqlstore.Record{record(name + "_3"), record(name + "_4")}),
					tx.Enqueue(sqlstore.Job{Kind: name, RunAt: start}),
				); err != nil {
					return err
				}
				return end()
			}
		}
		good := func() error { return nil }
		errs := s.together(
			put("a", good),
			put("b", func() error { return errWanted }),
			put("c", good),
			put("d", func() error { panic("d has a bug") }),
			func(tx *sqlstore.Tx) error { return tx.PutRequest(request("req_a", start)) }, // the first of the group is seen by the later ones
			put("f", good),
			put("f", good), // fails in the middle, at a key that is there
		)
		s.verify()
		for i, want := range []string{"", errWanted.Error(), "", "d has a bug", sqlstore.ErrConflict.Error(), "", sqlstore.ErrConflict.Error()} {
			if got := fmt.Sprint(errs[i]); want == "" && errs[i] != nil || !strings.Contains(got, want) {
				s.Errorf("update %d: got %v, want %q", i, errs[i], want)
			}
		}
		if diff := cmp.Diff([]string{"a", "c", "f"}, ran); diff != "" {
			s.Errorf("callbacks (-want +got):\n%s", diff)
		}
		s.view(func(tx *sqlstore.Tx) error {
			requests, err := tx.Requests(sqlstore.RequestFilter{})
			if err != nil {
				return err
			}
			var ids []string
			for _, r := range requests {
				ids = append(ids, r.ID)
			}
			if diff := cmp.Diff([]string{"req_f", "req_c", "req_a"}, ids); diff != "" {
				s.Errorf("requests (-want +got):\n%s", diff)
			}
			events, err := tx.Events(sqlstore.EventFilter{})
			if err == nil && len(events) != 12 {
				err = fmt.Errorf("%d entries, want 12", len(events))
			}
			if err != nil {
				return err
			}
			for _, name := range []string{"b", "d"} {
				got, err := tx.Setting(name)
				if err == nil && got != "" {
					err = fmt.Errorf("the failed update %s left a setting", name)
				}
				if err != nil {
					return err
				}
			}
			last, err := tx.Setting("last")
			if err == nil && last != "f" {
				err = fmt.Errorf("the last update is %q", last)
			}
			return err
		})
		var kinds []string
		s.must(s.update(func(tx *sqlstore.Tx) error {
			jobs, err := tx.ClaimJobs(at(time.Hour), at(2*time.Hour), 100)
			for _, j := range jobs {
				kinds = append(kinds, j.Kind)
			}
			return err
		}))
		if diff := cmp.Diff([]string{"a", "c", "f"}, kinds); diff != "" {
			s.Errorf("jobs (-want +got):\n%s", diff)
		}
	})
}

// afterCommit: callbacks run in commit order, when the commit is visible and
// before its Update returns; not for a failed update.
func (s *suite) afterCommit() {
	s.bubble(func() {
		var order []int
		update := func(i int) func(*sqlstore.Tx) error {
			return func(tx *sqlstore.Tx) error {
				name := fmt.Sprint("s", i)
				for range 2 {
					tx.AfterCommit(func() {
						order = append(order, i)
						err := s.store.View(context.Background(), func(tx *sqlstore.Tx) error {
							if got, err := tx.Setting(name); err != nil || got != "set" {
								return fmt.Errorf("update %d is not visible: %q, %w", i, got, err)
							}
							return nil
						})
						if err != nil {
							s.Error(err)
						}
					})
				}
				if i == 2 {
					return errWanted
				}
				return tx.PutSetting(name, "set")
			}
		}
		var updates []func(*sqlstore.Tx) error
		for i := range 5 {
			updates = append(updates, update(i))
		}
		s.together(updates...)
		if want := []int{0, 0, 1, 1, 3, 3, 4, 4}; !slices.Equal(order, want) {
			s.Errorf("callbacks ran as %v, want %v", order, want)
		}
		for i := 10; i < 20; i++ {
			order = nil
			s.must(s.update(update(i)))
			if want := []int{i, i}; !slices.Equal(order, want) {
				s.Errorf("when Update returned, %v had run, want %v", order, want)
			}
		}
	})
}

// signFailure: without a signature there is no commit (A20), and afterwards the
// log goes on where it was.
func (s *suite) signFailure() {
	s.bubble(func() {
		s.must(s.update(func(tx *sqlstore.Tx) error { return tx.Append(record("1")) }))
		s.signErr = errWanted
		called := false
		errs := s.together(
			func(tx *sqlstore.Tx) error {
				tx.AfterCommit(func() { called = true })
				return errors.Join(tx.PutSetting("x", "y"), tx.Append(record("2")))
			},
			func(tx *sqlstore.Tx) error {
				return tx.AppendBatch([]sqlstore.Record{record("3"), record("4")})
			},
		)
		for _, err := range errs {
			s.want(err, errWanted)
		}
		if called {
			s.Error("a callback ran without a commit")
		}
		s.verify()
		s.signErr = nil
		s.must(s.update(func(tx *sqlstore.Tx) error { return tx.Append(record("2")) }))
		s.view(func(tx *sqlstore.Tx) error {
			got, err := tx.Setting("x")
			head, _, err2 := tx.Head()
			if err := errors.Join(err, err2); err != nil {
				return err
			}
			if got != "" || head.Seq != 2 {
				return fmt.Errorf("the setting is %q, the head %+v", got, head)
			}
			return nil
		})
	})
}

// cancelled: who stops waiting before the update has begun finds nothing done;
// who stops later learns what came of it.
func (s *suite) cancelled() {
	s.bubble(func() {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		s.want(s.store.Update(gone, sqlstore.Normal, func(tx *sqlstore.Tx) error { return tx.PutSetting("a", "1") }), context.Canceled)

		release, begun := make(chan struct{}), make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			begun <- s.store.Update(ctx, sqlstore.Normal, func(tx *sqlstore.Tx) error { <-release; return tx.PutSetting("b", "1") })
		}()
		synctest.Wait()
		waiting, leave := context.WithCancel(context.Background())
		waited := make(chan error, 1)
		go func() {
			waited <- s.store.Update(waiting, sqlstore.Normal, func(tx *sqlstore.Tx) error { return tx.PutSetting("c", "1") })
		}()
		synctest.Wait()
		cancel()
		leave()
		s.want(<-waited, context.Canceled) // while the writer is still busy
		close(release)
		s.must(<-begun)
		s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutSetting("d", "1") })) // has been behind c
		s.view(func(tx *sqlstore.Tx) error {
			for name, want := range map[string]string{"a": "", "b": "1", "c": "", "d": "1"} {
				if got, err := tx.Setting(name); err != nil || got != want {
					return fmt.Errorf("%s is %q, want %q: %w", name, got, want, err)
				}
			}
			return nil
		})
	})
}

// goexit: an update that ends the writer's goroutine, as a test's Fatal does,
// leaves nobody waiting and nothing written.
func (s *suite) goexit() {
	s.bubble(func() {
		errs := s.together(
			func(tx *sqlstore.Tx) error { return tx.PutSetting("a", "1") },
			func(*sqlstore.Tx) error { runtime.Goexit(); return nil },
			func(tx *sqlstore.Tx) error { return tx.PutSetting("b", "1") },
		)
		for _, err := range errs {
			s.want(err, sqlstore.ErrFailed)
		}
		s.want(s.store.Update(context.Background(), sqlstore.Ends, func(*sqlstore.Tx) error { return nil }), sqlstore.ErrFailed)
		s.want(s.store.View(context.Background(), func(*sqlstore.Tx) error { return nil }), sqlstore.ErrFailed)
		synctest.Wait()
		s.mu.Lock()
		if len(s.failed) != 1 || !errors.Is(s.failed[0], sqlstore.ErrFailed) {
			s.Errorf("Failed was called with %v, want one ErrFailed", s.failed)
		}
		s.mu.Unlock()
		s.restart()
		s.view(func(tx *sqlstore.Tx) error {
			if got, err := tx.Setting("a"); err != nil || got != "" {
				return fmt.Errorf("a is %q: %w", got, err)
			}
			return nil
		})
	})
}

// closing: what waits is still written, what comes later is refused.
func (s *suite) closing() {
	s.bubble(func() {
		release := make(chan struct{})
		answers := make(chan error, 10)
		for i := range 10 {
			go func() {
				answers <- s.store.Update(context.Background(), sqlstore.Normal, func(tx *sqlstore.Tx) error {
					<-release
					return tx.PutSetting(fmt.Sprint("s", i), "set")
				})
			}()
			synctest.Wait()
		}
		closed := make(chan error, 1)
		go func() { closed <- s.store.Close() }()
		synctest.Wait()
		s.want(s.store.Update(context.Background(), sqlstore.Normal, func(*sqlstore.Tx) error { return nil }), sqlstore.ErrClosed)
		close(release)
		s.must(<-closed)
		for range 10 {
			s.must(<-answers)
		}
		s.want(s.store.View(context.Background(), func(*sqlstore.Tx) error { return nil }), sqlstore.ErrClosed)
		s.must(s.store.Close())
		s.restart()
		s.view(func(tx *sqlstore.Tx) error {
			for i := range 10 {
				if got, err := tx.Setting(fmt.Sprint("s", i)); err != nil || got != "set" {
					return fmt.Errorf("s%d is %q: %w", i, got, err)
				}
			}
			return nil
		})
	})
}

// snapshot: a View sees one state, whatever is committed meanwhile, and every
// Update that has returned.
func (s *suite) snapshot() {
	s.begin()
	for i := range 20 {
		value := fmt.Sprint(i)
		s.must(s.update(func(tx *sqlstore.Tx) error {
			if err := tx.PutSetting("x", value); err != nil {
				return err
			}
			if got, err := tx.Setting("x"); err != nil || got != value {
				return fmt.Errorf("an update does not see its own write: %q, %w", got, err)
			}
			return tx.PutSetting("y", value)
		}))
		s.view(func(tx *sqlstore.Tx) error {
			x, err := tx.Setting("x")
			if err != nil || x != value {
				return fmt.Errorf("%q is read after %q was written: %w", x, value, err)
			}
			s.must(s.store.Update(s.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error {
				return errors.Join(tx.PutSetting("x", "later"), tx.PutSetting("y", "later"), tx.Append(record(value)))
			}))
			y, err := tx.Setting("y")
			if err != nil || y != x {
				return fmt.Errorf("one view reads x = %q and y = %q: %w", x, y, err)
			}
			head, _, err := tx.Head()
			if err == nil && head.Seq != int64(i) {
				err = fmt.Errorf("the view has the head %+v, it began at %d", head, i)
			}
			return err
		})
	}
}

// readOnly: a View writes nothing, and no Tx outlives its function.
func (s *suite) readOnly() {
	s.begin()
	var leaked []*sqlstore.Tx
	s.view(func(tx *sqlstore.Tx) error {
		leaked = append(leaked, tx)
		s.want(tx.PutSetting("x", "y"), sqlstore.ErrReadOnly)
		s.want(tx.PutRequest(request("req_1", start)), sqlstore.ErrReadOnly)
		s.want(tx.Append(record("1")), sqlstore.ErrReadOnly)
		_, err := tx.ClaimJobs(start, start, 1)
		s.want(err, sqlstore.ErrReadOnly)
		return nil
	})
	s.must(s.update(func(tx *sqlstore.Tx) error {
		leaked = append(leaked, tx)
		return nil
	}))
	for _, tx := range leaked {
		if err := tx.PutSetting("x", "y"); err == nil {
			s.Error("a transaction writes after it is over")
		}
		if _, err := tx.Setting("x"); err == nil {
			s.Error("a transaction reads after it is over")
		}
	}
	if err := s.store.View(s.Context(), func(*sqlstore.Tx) error { return errWanted }); !errors.Is(err, errWanted) {
		s.Errorf("a view's error became %v", err)
	}
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutSetting("x", "y") })) // nothing was poisoned
}

// slowDisk: while a commit takes its time, Normal updates are not held for
// ever but refused, and have not happened; Ends wait, and go first.
func (s *suite) slowDisk() {
	s.bubble(func() {
		release, held := make(chan struct{}), make(chan error, 1)
		go func() {
			held <- s.store.Update(context.Background(), sqlstore.Normal, func(*sqlstore.Tx) error { <-release; return nil })
		}()
		synctest.Wait()
		const many = 3000 // more than any queue holds
		var order []string
		answers := make(chan error, many)
		normal := func(name string) func(*sqlstore.Tx) error {
			return func(tx *sqlstore.Tx) error {
				tx.AfterCommit(func() { order = append(order, name) })
				return tx.PutSetting(name, "set")
			}
		}
		began := time.Now()
		for range many {
			go func() { answers <- s.store.Update(context.Background(), sqlstore.Normal, normal("late")) }()
		}
		for range many {
			if err := <-answers; !errors.Is(err, sqlstore.ErrBusy) {
				s.Fatalf("a Normal update behind a commit that does not end: %v", err)
			}
		}
		if waited := time.Since(began); waited > 5*time.Second {
			s.Errorf("they were held for %v", waited)
		}
		ended := make(chan error, 2)
		go func() { ended <- s.store.Update(context.Background(), sqlstore.Normal, normal("normal")) }()
		synctest.Wait()
		go func() { ended <- s.store.Update(context.Background(), sqlstore.Ends, normal("end")) }()
		synctest.Wait()
		close(release)
		s.must(<-held)
		s.must(<-ended)
		s.must(<-ended)
		if got := strings.Join(order, " "); got != "end normal" {
			s.Errorf("committed: %q", got)
		}
	})
}

// crowdOfEnds: more ends at once than a group takes, again and again, do not
// keep everybody else from writing: each group has room for some (A37).
func (s *suite) crowdOfEnds() {
	s.bubble(func() {
		release, held := make(chan struct{}), make(chan error, 1)
		go func() {
			held <- s.store.Update(context.Background(), sqlstore.Normal, func(*sqlstore.Tx) error { <-release; return nil })
		}()
		synctest.Wait()
		const many = 600 // more than two groups
		var order []string
		answers := make(chan error, many+1)
		update := func(class sqlstore.Class, name string) {
			answers <- s.store.Update(context.Background(), class, func(tx *sqlstore.Tx) error {
				tx.AfterCommit(func() { order = append(order, name) })
				return tx.PutSetting(name, "set")
			})
		}
		for range many {
			go update(sqlstore.Ends, "end")
		}
		go update(sqlstore.Normal, "normal")
		synctest.Wait()
		close(release)
		s.must(<-held)
		for range many + 1 {
			s.must(<-answers)
		}
		if at := slices.Index(order, "normal"); at < 200 || at > 256 {
			s.Errorf("the Normal update was committed after %d of %d ends", at, many)
		}
	})
}
