package live

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The table is a set, whatever keys collide: of all of it, of the shard, of the
// tag, or of the home.
//
// Invariant: A1
func TestTableAgreesWithAMap(t *testing.T) {
	type record struct{ key, n uint64 }
	rapid.Check(t, func(t *rapid.T) {
		var tab table
		var records slab[record]
		keyOf := func(r ref) uint64 { return records.at(r).key }
		all := map[record]ref{}
		// One shard, few homes, few tags: all of them crowd and wrap around.
		keys := rapid.Custom(func(t *rapid.T) uint64 {
			return rapid.Uint64Range(0, 7).Draw(t, "home")<<53&(1<<56-1) | rapid.Uint64Range(0, 3).Draw(t, "tag") | rapid.Uint64Range(0, 1).Draw(t, "shard")<<56
		})
		numbers := rapid.Uint64Range(0, 3)
		find := func(want record) ref {
			if p := tab.find(want.key, func(r ref) bool { return *records.at(r) == want }); p != nil {
				return *p
			}
			return 0
		}
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				r := record{keys.Draw(t, "key"), numbers.Draw(t, "n")}
				if all[r] == 0 {
					at, place := records.take()
					*place, all[r] = r, at
					tab.insert(at, r.key, keyOf)
				}
			},
			"remove": func(t *rapid.T) {
				r := record{keys.Draw(t, "key"), numbers.Draw(t, "n")}
				at := all[r]
				if at == 0 { // not there: nothing
					var place *record
					at, place = records.take()
					*place = r
				}
				tab.remove(at, r.key, keyOf)
				records.give(at)
				delete(all, r)
			},
			"expect": func(t *rapid.T) { tab.expect(rapid.IntRange(0, 2000).Draw(t, "more"), keyOf) },
			"": func(t *rapid.T) {
				for r, p := range all {
					if find(r) != p {
						t.Fatalf("%+v is not found", r)
					}
				}
				r := record{keys.Draw(t, "key"), numbers.Draw(t, "n")}
				if find(r) != all[r] {
					t.Fatalf("%+v was taken out and is found", r)
				}
				n := 0
				for range tab.all {
					n++
				}
				if n != len(all) || tab.n != n {
					t.Fatalf("%d records, counted %d, want %d", n, tab.n, len(all))
				}
			},
		})
	})
}

// A table that was emptied holds nothing, nor does what its records were in.
func TestTableForgets(t *testing.T) {
	x := New(func() time.Time { return epoch })
	refs := make([]ref, 20_000)
	for i := range refs {
		r, c := x.proofs.take()
		c.hash = hashOf(uint64(i))
		x.creds.insert(r, c.key(), x.proofKey)
		refs[i] = r
	}
	for _, r := range refs {
		x.creds.remove(r, x.proofKey(r), x.proofKey)
		x.proofs.give(r)
	}
	for i := range x.creds.shards {
		if s := &x.creds.shards[i]; s.n != 0 || s.items != nil || s.tags != nil {
			t.Fatalf("shard %d holds %d of %d", i, s.n, len(s.items))
		}
	}
	for i := range x.proofs.chunks {
		if x.proofs.chunks[i].items != nil {
			t.Fatalf("chunk %d is kept", i)
		}
	}
}
