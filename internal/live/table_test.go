package live

import (
	"testing"

	"pgregory.net/rapid"
)

// The table is a set, whatever keys collide: of all of it, of the shard, of the
// tag, or of the home.
//
// Invariant: A1
func TestTableAgreesWithAMap(t *testing.T) {
	type record struct{ key, n uint64 }
	rapid.Check(t, func(t *rapid.T) {
		tab := table[record]{key: func(r *record) uint64 { return r.key }}
		all := map[record]*record{}
		// One shard, few homes, few tags: all of them crowd and wrap around.
		keys := rapid.Custom(func(t *rapid.T) uint64 {
			return rapid.Uint64Range(0, 7).Draw(t, "home")<<53&(1<<56-1) | rapid.Uint64Range(0, 3).Draw(t, "tag") | rapid.Uint64Range(0, 1).Draw(t, "shard")<<56
		})
		numbers := rapid.Uint64Range(0, 3)
		find := func(r record) *record {
			if p := tab.find(r.key, func(o *record) bool { return *o == r }); p != nil {
				return *p
			}
			return nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				r := record{keys.Draw(t, "key"), numbers.Draw(t, "n")}
				if all[r] == nil {
					all[r] = &r
					tab.insert(&r)
				}
			},
			"remove": func(t *rapid.T) {
				r := record{keys.Draw(t, "key"), numbers.Draw(t, "n")}
				if p := all[r]; p != nil {
					tab.remove(p)
					delete(all, r)
				} else {
					tab.remove(&r) // not there: nothing
				}
			},
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

// A table that was emptied holds nothing.
func TestTableForgets(t *testing.T) {
	tab := table[credential]{key: (*credential).key}
	all := make([]*credential, 20_000)
	for i := range all {
		all[i] = &credential{hash: hashOf(uint64(i))}
		tab.insert(all[i])
	}
	for _, c := range all {
		tab.remove(c)
	}
	for i := range tab.shards {
		if s := &tab.shards[i]; s.n != 0 || s.items != nil || s.tags != nil {
			t.Fatalf("shard %d holds %d of %d", i, s.n, len(s.items))
		}
	}
}
