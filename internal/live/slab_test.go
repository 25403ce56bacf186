package live

import (
	"hash/maphash"
	"testing"

	"pgregory.net/rapid"
)

// A slab gives each record a number of its own, keeps what is put there, and
// hands out nothing but zero anew.
//
// Invariant: A1
func TestSlabKeepsRecordsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s slab[uint64]
		all := map[ref]uint64{}
		var order []ref
		next := uint64(1)
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				for range rapid.SampledFrom([]int{1, 3, chunkLen, chunkLen + 1}).Draw(t, "n") {
					r, p := s.take()
					if r == 0 || all[r] != 0 || *p != 0 {
						t.Fatalf("%d was given out, with %d in it, while %d is there", r, *p, all[r])
					}
					*p, all[r] = next, next
					order = append(order, r)
					next++
				}
			},
			"give": func(t *rapid.T) {
				for range min(len(order), rapid.SampledFrom([]int{1, 3, chunkLen, 2 * chunkLen}).Draw(t, "n")) {
					i := rapid.IntRange(0, 1).Draw(t, "end") * (len(order) - 1) // the oldest or the newest
					r := order[i]
					order = append(order[:i], order[i+1:]...)
					s.give(r)
					delete(all, r)
					if s.get(r) != nil {
						t.Fatalf("%d was given back and is there", r)
					}
				}
			},
			"": func(t *rapid.T) {
				for r, v := range all {
					if *s.at(r) != v || s.get(r) == nil {
						t.Fatalf("%d holds %d, want %d", r, *s.at(r), v)
					}
				}
				held := 0
				for i := range s.chunks {
					if s.chunks[i].items != nil {
						held++
					}
				}
				if len(all) == 0 && held != 0 {
					t.Fatalf("%d chunks are kept for nothing", held)
				}
				if s.get(0) != nil || s.get(ref(len(s.chunks)*chunkLen+1)) != nil {
					t.Fatal("there is what was never given out")
				}
			},
		})
	})
}

// What nobody has any more is not kept, and what somebody has is.
func TestPoolForgets(t *testing.T) {
	s := shared{seed: maphash.MakeSeed()}
	a, b := s.takeReason("a"), s.takeReason("b")
	if s.takeReason("a") != a || a == b {
		t.Fatalf("numbers %d and %d", a, b)
	}
	s.reasons.drop(a)
	if *s.reasons.at(a) != "a" || *s.reasons.at(b) != "b" {
		t.Fatalf("%s, %s", *s.reasons.at(a), *s.reasons.at(b))
	}
	s.reasons.drop(a)
	s.reasons.drop(b)
	if s.reasons.found.n != 0 || s.reasons.items.get(a) != nil {
		t.Errorf("%d are kept", s.reasons.found.n)
	}
}
