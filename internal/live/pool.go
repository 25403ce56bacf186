package live

// pool keeps what many records have in common once, for as long as any of them
// has it. What is in it does not change, so that a pointer to it is good for
// whoever holds it.
type pool[T any] struct {
	items slab[pooled[T]]
	found table
}

type pooled[T any] struct {
	value *T
	key   uint64
	uses  int
}

// take returns the number of a value, for one record more: of the one of this
// key that is says yes to, or else of a new one. A key is well mixed.
func (p *pool[T]) take(key uint64, is func(*T) bool, value func() T) ref {
	if at := p.found.find(key, func(r ref) bool { return is(p.at(r)) }); at != nil {
		p.items.at(*at).uses++
		return *at
	}
	v := value()
	r, item := p.items.take()
	*item = pooled[T]{value: &v, key: key, uses: 1}
	p.found.insert(r, key, p.key)
	return r
}

// drop says that one record less has the value.
func (p *pool[T]) drop(r ref) {
	item := p.items.at(r)
	if item.uses--; item.uses == 0 {
		p.found.remove(r, item.key, p.key)
		p.items.give(r)
	}
}

func (p *pool[T]) at(r ref) *T { return p.items.at(r).value }

func (p *pool[T]) key(r ref) uint64 { return p.items.at(r).key }
