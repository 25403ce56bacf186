package live

import "math/bits"

// table finds records by a 64-bit key. It is made for what a map spends most
// memory on: a slot is a pointer and two bytes of the key, and a shard grows by
// a quarter, not to the double. Growing stops whoever waits for one shard's
// records to move, not for all of them. Records whose keys are equal may be in
// it together; the caller tells them apart.
type table[T any] struct {
	key    func(*T) uint64 // well mixed
	shards [256]shard[T]
	n      int
}

// shard is open addressing with linear probing: a record is at its home or
// behind it with no empty slot in between.
type shard[T any] struct {
	tags  []uint16 // 0: the slot is empty
	items []*T
	n     int
}

func tagOf(key uint64) uint16 { return uint16(key) | 1 }

func (t *table[T]) shard(key uint64) *shard[T] { return &t.shards[key>>56] }

func (s *shard[T]) home(key uint64) int {
	hi, _ := bits.Mul64(key<<8, uint64(len(s.items)))
	return int(hi)
}

func (s *shard[T]) after(i int) int {
	if i++; i < len(s.items) {
		return i
	}
	return 0
}

// find returns the place of the record of this key that is says yes to; nil
// when there is none. It is good until the table changes.
func (t *table[T]) find(key uint64, is func(*T) bool) **T {
	s := t.shard(key)
	if s.n == 0 {
		return nil
	}
	tag := tagOf(key)
	for i := s.home(key); s.tags[i] != 0; i = s.after(i) {
		if s.tags[i] == tag && is(s.items[i]) {
			return &s.items[i]
		}
	}
	return nil
}

// insert adds a record that is not in the table.
func (t *table[T]) insert(p *T) {
	key := t.key(p)
	s := t.shard(key)
	if (s.n+1)*8 > len(s.items)*7 {
		t.grow(s)
	}
	s.place(key, p)
	s.n++
	t.n++
}

func (s *shard[T]) place(key uint64, p *T) {
	i := s.home(key)
	for s.tags[i] != 0 {
		i = s.after(i)
	}
	s.tags[i], s.items[i] = tagOf(key), p
}

func (t *table[T]) grow(s *shard[T]) {
	old := s.items
	size := max(4, len(old)+len(old)/4)
	s.tags, s.items = make([]uint16, size), make([]*T, size)
	for _, p := range old {
		if p != nil {
			s.place(t.key(p), p)
		}
	}
}

// remove takes p out; it does nothing for a p that is not in the table.
func (t *table[T]) remove(p *T) {
	key := t.key(p)
	s := t.shard(key)
	if s.n == 0 {
		return
	}
	i := s.home(key)
	for s.items[i] != p {
		if s.tags[i] == 0 {
			return
		}
		i = s.after(i)
	}
	s.n--
	t.n--
	if s.n == 0 {
		s.tags, s.items = nil, nil
		return
	}
	// Whatever could not have been put where it is, had the slot been empty
	// then, moves there.
	for j := s.after(i); s.tags[j] != 0; j = s.after(j) {
		home := s.home(t.key(s.items[j]))
		if s.distance(home, j) >= s.distance(i, j) {
			s.tags[i], s.items[i] = s.tags[j], s.items[j]
			i = j
		}
	}
	s.tags[i], s.items[i] = 0, nil
}

// all yields every record, in no order.
func (t *table[T]) all(yield func(*T) bool) {
	for i := range t.shards {
		for _, p := range t.shards[i].items {
			if p != nil && !yield(p) {
				return
			}
		}
	}
}

func (s *shard[T]) distance(from, to int) int {
	if to >= from {
		return to - from
	}
	return to - from + len(s.items)
}

// mix spreads the bits of x over all of the result.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	hi, lo = bits.Mul64(hi^lo, 0xa0761d6478bd642f)
	return hi ^ lo
}
