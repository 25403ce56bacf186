package gateway

// Roomy is a Recorder that knows whether it has room.
type Roomy interface {
	// Room reports whether Record takes an entry now, one that need not be
	// durable, without waiting; and a good many more, so that those who ask at
	// once do not take the room from each other.
	Room() bool
}

// Room reports whether Note, not durable, would return at once. A gateway that
// must not wait where it is asks first.
func (s *Session) Room() bool {
	if s.guard.strict {
		return false
	}
	r, ok := s.guard.rec.(Roomy)
	return !ok || r.Room()
}

// Durable reports whether every entry of the session waits until it is
// committed.
func (s *Session) Durable() bool { return s.guard.strict }
