package sqlstore

import (
	"context"
	"sync/atomic"
	"time"
)

// This file is the queue in front of the writer: what waits, in which order it
// is begun, and what is committed together.

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
	if err := ctx.Err(); err != nil {
		return err
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

// gatherMost bounds how long a group waits for those who were in the last one.
const gatherMost = time.Millisecond

// gather lets what waits join a group. A commit costs the same for one update
// as for twenty, and whoever was answered by the last one tends to come again
// at once: so many are waited for, for a moment. Nobody waits who was alone,
// and no end does.
func (s *DB) gather(group []*update) []*update {
	last := s.last
	var late <-chan time.Time
	for {
		for len(group) < groupSize {
			more := s.fill(len(group))
			if more == nil {
				break
			}
			group = append(group, more)
		}
		s.last = len(group)
		if len(group) >= last || group[0].class == Ends {
			return group
		}
		if late == nil {
			late = time.After(gatherMost)
		}
		select {
		case u := <-s.ends:
			if u != nil { // else it is closed
				group = append(group, u)
			}
			last = 0
		case u := <-s.queue:
			if u != nil {
				group = append(group, u)
			} else {
				last = 0
			}
		case <-late:
			last = 0
		}
	}
}

// reply answers once; what comes second is dropped.
func (u *update) reply(err error) {
	select {
	case u.answer <- err:
	default:
	}
}

func answer(updates []*update, err error) {
	for _, u := range updates {
		u.reply(err)
	}
}
