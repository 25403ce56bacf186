package pgkind

import "time"

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
// a loop at once, or not now.
func (s *session) noted(done *op, how outcome, now time.Time) error {
	if s.wake == nil || !s.owing.Load() && s.guard.Room() {
		return s.note(done, how, now)
	}
	s.owing.Store(true)
	s.withheld.notes = append(s.withheld.notes, owed{done, how, now})
	return nil
}

// settle records what is owed, and waits where the record is full. On an error
// the session is being cut.
func (s *session) settle(notes []owed) error {
	for _, o := range notes {
		if err := s.note(o.done, o.how, o.at); err != nil {
			return err
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
