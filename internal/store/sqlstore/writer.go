package sqlstore

// This file is the writer: one goroutine that runs updates in groups, commits
// each group and answers. What waits for it is in queue.go.

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/daypass/daypass/internal/failpoint"
)

// serve is the writer goroutine.
func (s *DB) serve() {
	var group []*update
	ended := false
	defer func() {
		if ended {
			close(s.stopped)
			return
		}
		// An update left by runtime.Goexit (testing.T.Fatal does) with a
		// transaction open. Nobody may wait for ever because of it.
		err := s.poison(errors.New("an update ended the writer's goroutine"))
		for _, u := range group {
			u.reply(err)
		}
		go s.refuse()
	}()
	for u := s.next(true); u != nil; u = s.next(true) {
		group = s.gather(append(group[:0], u))
		s.group(group)
		clear(group)
	}
	ended = true
}

// refuse answers what comes after the writer's goroutine has died.
func (s *DB) refuse() {
	for u := s.next(true); u != nil; u = s.next(true) {
		u.reply(s.failure())
	}
	close(s.stopped)
}

// group commits updates together and answers them.
func (s *DB) group(group []*update) {
	if err := s.failure(); err != nil {
		answer(group, err)
		return
	}
	normal := s.dialect.Space == nil || s.dialect.Space.Normal()
	s.full.Store(!normal)
	updates := make([]*update, 0, len(group))
	for _, u := range group {
		switch {
		case u.class != Ends && !normal:
			u.reply(ErrFull)
		case u.taken.CompareAndSwap(false, true):
			updates = append(updates, u)
		}
	}
	lost := s.attempt(updates)
	if lost == nil || s.dialect.Space == nil || s.dialect.Fault(lost) != Full {
		return
	}
	// The disk is full. Ends alone go on, in the room of the reserve.
	s.full.Store(true)
	ends := updates[:0:0]
	for _, u := range updates {
		if u.class == Ends {
			ends = append(ends, u)
		} else {
			u.reply(ErrFull)
		}
	}
	if err := s.dialect.Space.Release(); err != nil {
		answer(ends, fmt.Errorf("%w: releasing the reserve: %w", ErrFull, err))
		return
	}
	if lost := s.attempt(ends); lost != nil && s.dialect.Fault(lost) == Full {
		answer(ends, fmt.Errorf("%w: %w", ErrFull, lost))
	}
}

// attempt runs updates in one transaction and answers them, unless the disk is
// full: then nothing was kept, nobody has an answer and that error is returned.
func (s *DB) attempt(updates []*update) (lost error) {
	if len(updates) == 0 {
		return nil
	}
	answers, err := s.together(updates)
	if err == nil {
		if s.dialect.Committed != nil {
			s.dialect.Committed(Newest{Seq: s.log.head.Seq, Mark: s.mark})
		}
		for _, u := range updates {
			for _, f := range u.after {
				failpoint.Hit("store.hook.before")
				f()
			}
		}
		failpoint.Hit("store.answer.before")
		for i, u := range updates {
			u.reply(answers[i])
			failpoint.Hit("store.answer.after")
		}
		s.upkeep()
		return nil
	}
	fault := s.dialect.Fault(err)
	s.rollback()
	if fault != Fatal {
		// Nothing of the group is in the database, so nothing of it may be in
		// memory. After a failed COMMIT only the database knows.
		log, reload := loadTree(context.Background(), s.write)
		if reload != nil {
			err, fault = fmt.Errorf("%w; then %w", err, reload), Fatal
		}
		s.log = log
	}
	switch {
	case fault == Fatal:
		answer(updates, s.poison(err))
		return nil
	case fault == Full && s.dialect.Space == nil:
		answer(updates, fmt.Errorf("%w: %w", ErrFull, err))
		return nil
	case fault == Full:
		return err
	}
	answer(updates, err)
	return nil
}

// postponeMax bounds how often upkeep gives way to Ends.
const postponeMax = 16

func (s *DB) upkeep() {
	if s.dialect.Upkeep == nil {
		return
	}
	// On a slow disk it takes as long as some commits: no end waits for it.
	if len(s.ends) > 0 && s.postponed < postponeMax {
		s.postponed++
		return
	}
	s.postponed = 0
	failpoint.Hit("store.upkeep.before")
	// Other errors come again when it is tried again, after the next commit.
	if err := s.dialect.Upkeep(context.Background(), s.dialect.Write, s.ask); err != nil && s.dialect.Fault(err) == Fatal {
		_ = s.poison(err)
	}
}

// rollback ends whatever transaction is open. SQLite rolls some errors back by
// itself and then says that there is none.
func (s *DB) rollback() {
	failpoint.Hit("store.rollback.before")
	if err := s.exec("ROLLBACK"); err != nil && s.dialect.Fault(err) == Fatal {
		_ = s.poison(err)
	}
}

// errUndo: an update failed that had written something, and others are in its
// transaction.
var errUndo = errors.New("an update is to be undone")

// together runs and commits updates. Savepoints cost each of them, and are of
// use only to one that fails after it has written something, which is rare:
// then all are run once more, each under its own.
func (s *DB) together(updates []*update) ([]error, error) {
	log := s.log
	answers, err := s.transaction(updates, false)
	if !errors.Is(err, errUndo) {
		return answers, err
	}
	if err := s.exec("ROLLBACK"); err != nil {
		return nil, fmt.Errorf("rolling a group back: %w", err)
	}
	s.log = log
	return s.transaction(updates, true)
}

// transaction runs and commits updates, each under a savepoint when saved is
// true. An error means that none is kept; after errUndo the transaction is
// still open.
func (s *DB) transaction(updates []*update, saved bool) (answers []error, err error) {
	failpoint.Hit("store.begin.before")
	if err := s.exec(s.dialect.Begin); err != nil {
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	failpoint.Hit("store.begin.after")
	before, wrote := s.log.head, false
	answers = make([]error, len(updates))
	for i, u := range updates {
		w, err := s.step(u, &answers[i], saved, len(updates) == 1)
		if err != nil {
			return nil, err
		}
		wrote = wrote || w
	}
	if !wrote {
		if err := s.exec("ROLLBACK"); err != nil {
			return nil, fmt.Errorf("leaving a transaction: %w", err)
		}
		return answers, nil
	}
	if err := s.seal(s.log.head != before); err != nil {
		return nil, err
	}
	if err := failpoint.Fail("store.commit.before"); err != nil {
		return nil, fmt.Errorf("committing: %w", err)
	}
	if err := s.exec("COMMIT"); err != nil {
		return nil, fmt.Errorf("committing: %w", err)
	}
	failpoint.Hit("store.commit.after")
	return answers, nil
}

// step runs one update, under a savepoint when saved is true. One that is alone
// in its transaction needs none: when it fails, that is rolled back because
// nothing was written. An error means that the whole transaction is lost.
func (s *DB) step(u *update, answer *error, saved, alone bool) (wrote bool, err error) {
	if saved {
		if err := s.exec("SAVEPOINT one"); err != nil {
			return false, fmt.Errorf("setting a savepoint: %w", err)
		}
	}
	failpoint.Hit("store.update.before")
	log := s.log
	t := &Tx{ctx: context.Background(), q: s.write, conn: s.dialect.Write, log: &s.log, classify: s.dialect.Fault}
	*answer = call(u.fn, t)
	t.over = true
	if t.fault != Ordinary {
		return false, t.cause
	}
	if *answer != nil {
		if t.wrote && !saved && !alone {
			return false, errUndo
		}
		s.log, t.wrote, t.after = log, false, nil
		failpoint.Hit("store.undo.before")
		if saved {
			if err := s.exec("ROLLBACK TO one"); err != nil {
				return false, fmt.Errorf("rolling one update back: %w", err)
			}
		}
	}
	u.after = t.after
	failpoint.Hit("store.update.after")
	if saved {
		if err := s.exec("RELEASE one"); err != nil {
			return false, fmt.Errorf("releasing a savepoint: %w", err)
		}
	}
	failpoint.Hit("store.release.after")
	return t.wrote, nil
}

// call runs fn; a panic becomes its error.
func call(fn func(*Tx) error, t *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("an update panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(t)
}

// seal writes what belongs to the transaction as a whole: the clock's mark
// and, if the log has grown, its head.
func (s *DB) seal(grown bool) error {
	ctx, now := context.Background(), time.Now()
	if s.opts.Clock != nil {
		mark := s.opts.Clock()
		now, s.mark = mark.At, mark.At
		if _, err := s.write.PutMark(ctx, mark.At.UnixMicro(), mark.Boot, mark.Up.Microseconds()); err != nil {
			return fmt.Errorf("keeping the clock's mark: %w", err)
		}
		failpoint.Hit("store.mark.after")
	}
	if !grown {
		return nil
	}
	checkpoint := []byte{}
	if s.opts.SignHead != nil {
		root, err := s.log.root()
		if err != nil {
			return err
		}
		if err := failpoint.Fail("store.sign.before"); err != nil {
			return fmt.Errorf("signing the audit head: %w", err)
		}
		if checkpoint, err = s.opts.SignHead(s.log.head, root, now.UTC().Truncate(time.Millisecond)); err != nil {
			return fmt.Errorf("signing the audit head: %w", err)
		}
	}
	failpoint.Hit("store.head.before")
	if _, err := s.write.PutHead(ctx, s.log.head.Seq, s.log.head.Leaves, checkpoint); err != nil {
		return fmt.Errorf("keeping the audit head: %w", err)
	}
	failpoint.Hit("store.head.after")
	return nil
}

// exec runs one of the few statements that frame the writer's work.
func (s *DB) exec(statement string) error {
	if err := s.prepare(statement); err != nil {
		return err
	}
	_, err := s.frame[statement].ExecContext(context.Background())
	return err
}

// ask runs a query for one row.
func (s *DB) ask(statement string, into ...any) error {
	if err := s.prepare(statement); err != nil {
		return err
	}
	return s.frame[statement].QueryRowContext(context.Background()).Scan(into...)
}

// prepare prepares a statement when it is first needed: there are several in
// every update.
func (s *DB) prepare(statement string) error {
	stmt := s.frame[statement]
	if stmt != nil {
		return nil
	}
	var err error
	if stmt, err = s.dialect.Write.PrepareContext(context.Background(), statement); err != nil { //nolint:sqlclosecheck // kept in frame, and closed with the store
		return err
	}
	s.frame[statement] = stmt
	return nil
}
