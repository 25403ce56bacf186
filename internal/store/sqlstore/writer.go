package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/failpoint"
)

// groupSize bounds how many updates share one commit, so that a flood does not
// make the first of them wait for all the others.
const groupSize = 256

// groupShare is how many places of a group Ends leave to Normal updates that
// wait. They come last and cost the Ends next to nothing; without them whoever
// asks for ends without end would keep everybody else from writing.
const groupShare = 32

// normalWait bounds how long a Normal update waits to be begun. Where the disk
// is so slow, or so much comes, that it is not, its caller hears so at once
// instead of waiting for ever. Ends wait as long as their callers do, and are
// begun before all else (A38).
const normalWait = 3 * time.Second

// update is one call of Update on its way through the writer.
type update struct {
	ctx    context.Context
	class  Class
	fn     func(*Tx) error
	taken  atomic.Bool // by the writer, or by a caller that stopped waiting
	answer chan error
	after  []func() // of the attempt that was committed
}

// Update implements Store.
func (s *DB) Update(ctx context.Context, class Class, fn func(*Tx) error) error {
	if err := s.failure(); err != nil {
		return err
	}
	if s.dialect.Write == nil {
		return ErrReadOnly
	}
	u := &update{ctx: ctx, class: class, fn: fn, answer: make(chan error, 1)}
	var late <-chan time.Time // never, for Ends
	if class != Ends {
		timer := time.NewTimer(normalWait)
		defer timer.Stop()
		late = timer.C
	}
	if err := s.put(u, late); err != nil {
		return err
	}
	why := ctx.Err
	select {
	case err := <-u.answer:
		return err
	case <-ctx.Done():
	case <-late:
		why = func() error { return ErrBusy }
	}
	if u.taken.CompareAndSwap(false, true) {
		return why()
	}
	return <-u.answer // it has been begun: what came of it must be told
}

func (s *DB) put(u *update, late <-chan time.Time) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	queue := s.queue
	if u.class == Ends {
		queue = s.ends
	}
	select {
	case queue <- u:
		return nil
	case <-u.ctx.Done():
		return u.ctx.Err()
	case <-late:
		return ErrBusy
	}
}

// next takes what is to be begun next, nil when there is nothing: Ends before
// everything else. It waits if told to, and then nil says that the store is
// closed and nothing is left.
func (s *DB) next(wait bool) *update {
	select {
	case u, ok := <-s.ends:
		if ok {
			return u
		}
		// Closed, and so is the other one; what is in it is still written.
		return <-s.queue
	default:
	}
	if !wait {
		select {
		case u := <-s.queue:
			return u
		default:
			return nil
		}
	}
	select {
	case u, ok := <-s.ends:
		if ok {
			return u
		}
		return <-s.queue
	case u, ok := <-s.queue:
		if ok {
			return u
		}
		return <-s.ends
	}
}

// fill takes what joins a group of n without waiting; nil when there is nothing.
func (s *DB) fill(n int) *update {
	if n >= groupSize-groupShare {
		select {
		case u := <-s.queue:
			if u != nil { // else it is closed
				return u
			}
		default:
		}
	}
	return s.next(false)
}

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
		group = append(group[:0], u)
		for len(group) < groupSize {
			more := s.fill(len(group))
			if more == nil {
				break
			}
			group = append(group, more)
		}
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

// reply answers once; what comes second is dropped.
func (u *update) reply(err error) {
	select {
	case u.answer <- err:
	default:
	}
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
	answers, err := s.transaction(updates)
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
	if err := s.dialect.Upkeep(context.Background(), s.dialect.Write); err != nil && s.dialect.Fault(err) == Fatal {
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

func answer(updates []*update, err error) {
	for _, u := range updates {
		u.reply(err)
	}
}

// transaction runs and commits updates. An error means that none is kept.
func (s *DB) transaction(updates []*update) (answers []error, err error) {
	failpoint.Hit("store.begin.before")
	if err := s.exec(s.dialect.Begin); err != nil {
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	failpoint.Hit("store.begin.after")
	before, wrote := s.log.head, false
	answers = make([]error, len(updates))
	for i, u := range updates {
		w, err := s.step(u, &answers[i], len(updates) == 1)
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

// step runs one update, under a savepoint unless it is alone in its
// transaction: then, when it fails, that is rolled back because nothing was
// written. An error means that the whole transaction is lost.
func (s *DB) step(u *update, answer *error, alone bool) (wrote bool, err error) {
	if !alone {
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
		s.log, t.wrote, t.after = log, false, nil
		failpoint.Hit("store.undo.before")
		if !alone {
			if err := s.exec("ROLLBACK TO one"); err != nil {
				return false, fmt.Errorf("rolling one update back: %w", err)
			}
		}
	}
	u.after = t.after
	failpoint.Hit("store.update.after")
	if !alone {
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

// exec runs one of the few statements that frame the writer's work. Each is
// prepared when it is first needed: there are several in every update.
func (s *DB) exec(statement string) error {
	ctx := context.Background()
	stmt := s.frame[statement]
	if stmt == nil {
		var err error
		if stmt, err = s.dialect.Write.PrepareContext(ctx, statement); err != nil {
			return err
		}
		s.frame[statement] = stmt
	}
	_, err := stmt.ExecContext(ctx)
	return err
}
