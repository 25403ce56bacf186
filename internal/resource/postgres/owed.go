package pgkind

import (
	"context"
	"time"
)

// waiting is what a client gets once the record has taken what was due before
// it. On a loop nobody waits for the record: there its answers wait here, which
// are those of one chunk, since no further one is read.
type waiting struct {
	notes   []owed
	bytes   []byte
	partial bool // they end within a message
}

// owed is a statement that is over and not on record yet.
type owed struct {
	done *op
	how  outcome
	at   time.Time
}

// noted records a statement that is over, before the client has its answer: on
// a loop at once, or not now. What could not be recorded has happened all the
// same, and is tried once more when the session is closed.
func (s *session) noted(done *op, how outcome, now time.Time) error {
	o := owed{done, how, now}
	if s.wake == nil || !s.owing.Load() && s.guard.Room() {
		err := s.note(s.guard.Context(), o)
		if err != nil && !s.guard.Durable() { // else it may be there, and nobody waited to the end
			s.withheld.notes = append(s.withheld.notes, o)
		}
		return err
	}
	s.owing.Store(true)
	s.withheld.notes = append(s.withheld.notes, o)
	return nil
}

// settle records what is owed, and waits where the record is full. It returns
// what is owed still; then the session is being cut.
func (s *session) settle(ctx context.Context, notes []owed) []owed {
	for i, o := range notes {
		if s.note(ctx, o) != nil {
			return notes[i:]
		}
	}
	return nil
}

// give passes on what was withheld.
func (s *session) give() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	b, partial := s.withheld.bytes, s.withheld.partial
	s.withheld = waiting{}
	s.owing.Store(false)
	return s.write(b, partial)
}
