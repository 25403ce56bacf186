package live

import "math/bits"

// table finds records by a 64-bit key. It is made for what a map spends most
// memory on: a slot is a number and two bytes of the key, and a shard grows by
// a quarter, not to the double. Growing stops whoever waits for one shard's
// records to move, not for all of them. Records whose keys are equal may be in
// it together; the caller tells them apart. What changes a table is given the
// function that returns the key, well mixed, of each record that is in it.
type table struct {
	shards [256]shard
	n      int
}

// shard is open addressing with linear probing: a record is at its home or
// behind it with no empty slot in between.
type shard struct {
	tags  []uint16 // 0: the slot is empty
	items []ref
	n     int
}

func tagOf(key uint64) uint16 { return uint16(key) | 1 }

func (t *table) shard(key uint64) *shard { return &t.shards[key>>56] }

func (s *shard) home(key uint64) int {
	hi, _ := bits.Mul64(key<<8, uint64(len(s.items)))
	return int(hi)
}

func (s *shard) after(i int) int {
	if i++; i < len(s.items) {
		return i
	}
	return 0
}

// find returns the place of the record of this key that is says yes to; nil
// when there is none. It is good until the table changes.
func (t *table) find(key uint64, is func(ref) bool) *ref {
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
func (t *table) insert(r ref, key uint64, keyOf func(ref) uint64) {
	s := t.shard(key)
	if (s.n+1)*8 > len(s.items)*7 {
		s.grow(max(4, len(s.items)+len(s.items)/4), keyOf)
	}
	s.place(r, key)
	s.n++
	t.n++
}

func (s *shard) place(r ref, key uint64) {
	i := s.home(key)
	for s.tags[i] != 0 {
		i = s.after(i)
	}
	s.tags[i], s.items[i] = tagOf(key), r
}

func (s *shard) grow(size int, keyOf func(ref) uint64) {
	old := s.items
	s.tags, s.items = make([]uint16, size), make([]ref, size)
	for _, r := range old {
		if r != 0 {
			s.place(r, keyOf(r))
		}
	}
}

// expect makes room for so many records more.
func (t *table) expect(n int, keyOf func(ref) uint64) {
	for i := range t.shards {
		s := &t.shards[i]
		each := s.n + n/len(t.shards)
		each += each / 16 // they are not spread evenly
		if size := each*8/7 + 1; n >= len(t.shards) && size > len(s.items) {
			s.grow(size, keyOf)
		}
	}
}

// remove takes r out; it does nothing for a record that is not in the table.
func (t *table) remove(r ref, key uint64, keyOf func(ref) uint64) {
	s := t.shard(key)
	if s.n == 0 {
		return
	}
	i := s.home(key)
	for s.items[i] != r {
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
		home := s.home(keyOf(s.items[j]))
		if s.distance(home, j) >= s.distance(i, j) {
			s.tags[i], s.items[i] = s.tags[j], s.items[j]
			i = j
		}
	}
	s.tags[i], s.items[i] = 0, 0
}

// all yields every record, in no order.
func (t *table) all(yield func(ref) bool) {
	for i := range t.shards {
		for _, r := range t.shards[i].items {
			if r != 0 && !yield(r) {
				return
			}
		}
	}
}

func (s *shard) distance(from, to int) int {
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
