package live

import "math/bits"

// ref is the number of a record in a slab; 0 is none. Records name each other
// by numbers, not by pointers: the collector of garbage reads whatever may hold
// a pointer again and again, and of a million grants that takes a core for
// longer than a check may wait.
type ref uint32

// slab keeps records in chunks. A chunk whose records were all given back goes
// back to the collector; the places of the others are taken anew. A number is
// good until its record is given back, so whoever keeps one beyond the lock
// keeps what the record must look like beside it: see place.
type slab[T any] struct {
	chunks  []chunk[T]
	partial []uint32 // chunks with room, in use when they were put here
	empty   []uint32 // chunks that are gone
}

const chunkLen = 1024

type chunk[T any] struct {
	items *[chunkLen]T // nil: all were given back
	taken [chunkLen / 64]uint64
	n     int
}

// take returns a new record, which is zero, and its number.
func (s *slab[T]) take() (ref, *T) {
	k := s.room()
	c := &s.chunks[k]
	for w, word := range c.taken {
		if word == ^uint64(0) {
			continue
		}
		i := w*64 + bits.TrailingZeros64(^word)
		c.taken[w] |= 1 << (i % 64)
		if c.n++; c.n == chunkLen {
			s.partial = s.partial[:len(s.partial)-1] // it is the last there
		}
		return ref(k)*chunkLen + ref(i) + 1, &c.items[i]
	}
	panic("live: a chunk that counts room has none")
}

// room returns the last of partial, which it makes if need be.
func (s *slab[T]) room() uint32 {
	for n := len(s.partial); n > 0; n = len(s.partial) {
		k := s.partial[n-1]
		if s.chunks[k].items != nil {
			return k
		}
		s.partial, s.empty = s.partial[:n-1], append(s.empty, k)
	}
	k := uint32(len(s.chunks)) //nolint:gosec // memory ends before the numbers do
	if n := len(s.empty); n > 0 {
		k, s.empty = s.empty[n-1], s.empty[:n-1]
	} else {
		s.chunks = append(s.chunks, chunk[T]{})
	}
	s.chunks[k].items = new([chunkLen]T)
	s.partial = append(s.partial, k)
	return k
}

// give takes a record back.
func (s *slab[T]) give(r ref) {
	k, i := (r-1)/chunkLen, (r-1)%chunkLen
	c := &s.chunks[k]
	if c.n == chunkLen {
		s.partial = append(s.partial, uint32(k))
	}
	var zero T
	c.items[i] = zero
	c.taken[i/64] &^= 1 << (i % 64)
	if c.n--; c.n == 0 {
		c.items = nil
	}
}

// at returns the record of a number that is good.
func (s *slab[T]) at(r ref) *T { return &s.chunks[(r-1)/chunkLen].items[(r-1)%chunkLen] }

// get returns the record of a number that was good once: nil, or what is in its
// place now.
func (s *slab[T]) get(r ref) *T {
	if r == 0 || int((r-1)/chunkLen) >= len(s.chunks) {
		return nil
	}
	c, i := &s.chunks[(r-1)/chunkLen], (r-1)%chunkLen
	if c.taken[i/64]&(1<<(i%64)) == 0 {
		return nil
	}
	return &c.items[i]
}
