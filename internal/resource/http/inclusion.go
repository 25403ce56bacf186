package httpkind

import "encoding/binary"

// maxSteps bounds the work of one inclusion. Patterns that people write need
// some dozens of steps; only many ** followed by many * come near.
const maxSteps = 1 << 15

// inclusion follows one pattern p and a set of others over the same paths.
//
// A place in a pattern is how many of its parts are behind it. The alphabet is
// finite: every literal that occurs, and one symbol for all other segments.
// The empty segment is apart, for it can only come last.
type inclusion struct {
	p        pattern
	others   []pattern
	alphabet []string
	starts   []int // where the places of each of others begin in a bit set
	words    int   // of a bit set
}

func newInclusion(p pattern, others []pattern) *inclusion {
	in := &inclusion{p: p, others: others}
	seen := map[string]bool{"": true}
	unnamed := "x" // a segment that no pattern names, for it is longer than all
	for _, q := range append([]pattern{p}, others...) {
		for _, part := range q {
			for len(unnamed) <= len(part.text) {
				unnamed += unnamed
			}
			if part.kind == literal && !seen[part.text] {
				seen[part.text] = true
				in.alphabet = append(in.alphabet, part.text)
			}
		}
	}
	in.alphabet = append(in.alphabet, unnamed)
	bits := 0
	for _, o := range others {
		in.starts = append(in.starts, bits)
		bits += len(o) + 1
	}
	in.words = (bits + 63) / 64
	return in
}

// state is one place in p, with all the places in others that the same path
// leads to. Before the first segment it is no path yet.
type state struct {
	at     int
	first  bool
	places []uint64
}

func (s state) key() string {
	b := make([]byte, 0, 3+8*len(s.places))
	b = binary.LittleEndian.AppendUint16(b, uint16(s.at))
	if s.first {
		b = append(b, 1)
	}
	for _, w := range s.places {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return string(b)
}

// holds looks for a path that p matches and none of others does.
func (in *inclusion) holds() bool {
	var todo []state
	seen := map[string]bool{}
	push := func(s state) {
		for {
			if k := s.key(); !seen[k] {
				seen[k] = true
				todo = append(todo, s)
			}
			if s.at == len(in.p) || in.p[s.at].kind != anyCount {
				return
			}
			s.at++ // ** may stand for nothing
		}
	}
	start := make([]uint64, in.words)
	for i := range in.others {
		in.enter(start, i, 0)
	}
	push(state{first: true, places: start})
	for len(todo) > 0 {
		if len(seen) > maxSteps {
			return false
		}
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if s.at == len(in.p) {
			if !s.first && !in.matched(s.places) {
				return false
			}
			continue
		}
		q := in.p[s.at]
		if s.at == len(in.p)-1 && (q.kind == anyCount || q.takes("")) && !in.matched(in.step(s.places, "")) {
			return false // a path that ends in a slash
		}
		for _, a := range in.alphabet {
			switch {
			case q.kind == anyCount:
				push(state{at: s.at, places: in.step(s.places, a)})
			case q.takes(a):
				push(state{at: s.at + 1, places: in.step(s.places, a)})
			}
		}
	}
	return true
}

// enter adds a place in others[i], and those that ** lets it skip to.
func (in *inclusion) enter(places []uint64, i, at int) {
	for {
		bit := in.starts[i] + at
		places[bit/64] |= 1 << (bit % 64)
		if at == len(in.others[i]) || in.others[i][at].kind != anyCount {
			return
		}
		at++
	}
}

func (in *inclusion) is(places []uint64, i, at int) bool {
	bit := in.starts[i] + at
	return places[bit/64]&(1<<(bit%64)) != 0
}

// step returns where a segment leads from places.
func (in *inclusion) step(places []uint64, segment string) []uint64 {
	next := make([]uint64, in.words)
	for i, o := range in.others {
		for at, q := range o {
			if !in.is(places, i, at) {
				continue
			}
			switch {
			case q.kind == anyCount:
				in.enter(next, i, at)
			case q.takes(segment):
				in.enter(next, i, at+1)
			}
		}
	}
	return next
}

// matched reports whether one of others ends at one of places.
func (in *inclusion) matched(places []uint64) bool {
	for i, o := range in.others {
		if in.is(places, i, len(o)) {
			return true
		}
	}
	return false
}
