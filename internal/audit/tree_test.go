package audit

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/daypass/daypass/api"
)

// Invariant: A30
func TestAppendAssignsGaplessSeqAndOneLeaf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t)
		drawLog(t, m, rapid.IntRange(1, 20).Draw(t, "leaves"))
		next, index := int64(1), int64(0)
		for _, l := range m.leaves {
			if l.First != next || l.Index != index {
				t.Fatalf("leaf %+v, want first %d and index %d", l, next, index)
			}
			next += int64(l.Count)
			index++
		}
		for i, r := range m.rows {
			e, err := DecodeEntry(r.Bytes)
			if err != nil || e.Seq != int64(i+1) {
				t.Fatalf("row %d: %+v, %v", i, e, err)
			}
		}
		if m.head != (Head{Seq: next - 1, Leaves: index}) {
			t.Fatalf("head %+v", m.head)
		}
	})
}

func TestRootIsThatOfRFC6962(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t)
		drawLog(t, m, rapid.IntRange(0, 40).Draw(t, "leaves"))
		for n := range len(m.leaves) + 1 {
			h := Head{}
			if n > 0 {
				h = m.heads[n-1]
			}
			got, err := Root(h, &m.hashes)
			if err != nil {
				t.Fatal(err)
			}
			if want := m.oracle(n); got != want {
				t.Fatalf("root of %d leaves: %s, want %s", n, got, want)
			}
		}
	})
}

func TestAppendRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		head    Head
		entries []*Entry
	}{
		"nothing":           {Head{}, nil},
		"more leaves":       {Head{Seq: 1, Leaves: 2}, []*Entry{plain(1)}},
		"entries in no log": {Head{Seq: 1}, []*Entry{plain(1)}},
		"a negative head":   {Head{Seq: -1, Leaves: -1}, []*Entry{plain(1)}},
		"missing hashes":    {Head{Seq: 3, Leaves: 3}, []*Entry{plain(1)}},
		"a bad entry":       {Head{}, []*Entry{plain(1), {}}},
		"the last seq":      {Head{Seq: maxSeq, Leaves: 1}, []*Entry{plain(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			if a, err := Append(c.head, &hashes{}, c.entries); err == nil {
				t.Errorf("appended %+v", a)
			}
		})
	}
}

// A batch and the single entries that look like it are different logs.
func TestBatchIsNotItsEntries(t *testing.T) {
	single, batch := newMemory(t), newMemory(t)
	single.append(plain(1))
	single.append(plain(2))
	batch.append(plain(1), plain(2))
	if cmp.Diff(single.batchOf(Leaf{First: 1, Count: 2}), batch.batchOf(Leaf{First: 1, Count: 2})) != "" {
		t.Fatal("the entries should be the same")
	}
	x, y := must[tlog.Hash](t)(Root(single.head, &single.hashes)), must[tlog.Hash](t)(Root(batch.head, &batch.hashes))
	if x == y {
		t.Error("two entries and a batch of them have the same root")
	}
	rows := single.rowsCopy()
	for i := range rows {
		rows[i].Leaf = Leaf{Index: 0, First: 1, Count: 2}
	}
	if _, err := verify(VerifierOptions{Keys: []string{single.vkey}}, rows, single.checkpoint()); err == nil {
		t.Error("single entries passed as a batch")
	}
}

func TestEveryEntryHasAProof(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t)
		drawLog(t, m, rapid.IntRange(1, 12).Draw(t, "leaves"))
		var marks []*Checkpoint
		cp := m.open(m.checkpoint())
		marks = append(marks, cp)
		drawLog(t, m, rapid.IntRange(0, 6).Draw(t, "more"))
		marks = append(marks, m.open(m.checkpoint()))
		for _, cp := range marks {
			for _, l := range m.leaves {
				for seq := l.First; seq < l.First+int64(l.Count); seq++ {
					p, err := Prove(cp, l, m.batchOf(l), seq, &m.hashes)
					if l.Index >= cp.Head.Leaves {
						if err == nil {
							t.Fatalf("proved entry %d from a checkpoint of %d entries", seq, cp.Head.Seq)
						}
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					if err := VerifyProof(*p, m.vkey); err != nil {
						t.Fatalf("entry %d of %+v: %v", seq, l, err)
					}
					checkWithTlog(t, *p, cp, seq)
				}
			}
		}
	})
}

// checkWithTlog checks a proof with nothing of ours.
func checkWithTlog(t fatal, p api.Proof, cp *Checkpoint, seq int64) {
	t.Helper()
	var entries, tree []tlog.Hash
	for _, s := range p.BatchProof {
		h, err := tlog.ParseHash(s)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, h)
	}
	for _, s := range p.TreeProof {
		h, err := tlog.ParseHash(s)
		if err != nil {
			t.Fatal(err)
		}
		tree = append(tree, h)
	}
	leaf := []byte(p.Leaf.Bytes)
	if p.Leaf.Count > 1 {
		root, err := tlog.ParseHash(p.BatchRoot)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(entries, int64(p.Leaf.Count), root, seq-p.Leaf.First, tlog.RecordHash(leaf)); err != nil {
			t.Fatalf("batch proof of entry %d: %v", seq, err)
		}
		leaf = []byte("daypass-batch v1\n" + itoa(p.Leaf.First) + "\n" + itoa(int64(p.Leaf.Count)) + "\n" + p.BatchRoot + "\n")
	}
	if err := tlog.CheckRecord(tree, cp.Head.Leaves, cp.Root, p.Leaf.Index, tlog.RecordHash(leaf)); err != nil {
		t.Fatalf("tree proof of entry %d: %v", seq, err)
	}
}

// Invariant: A31
func TestForgedProofsFail(t *testing.T) {
	m := newMemory(t)
	for i := range 5 {
		m.append(plain(i))
	}
	m.append(plain(5), plain(6), plain(7))
	old := m.checkpoint()
	m.append(plain(8))
	cp := m.open(m.checkpoint())
	batch, single := m.leaves[5], m.leaves[2]
	_, other := newKey(t, 2)
	for name, c := range map[string]struct {
		leaf  Leaf
		seq   int64
		forge func(*api.Proof)
	}{
		"another event":          {single, 3, func(p *api.Proof) { p.Event = "evt_9" }},
		"other bytes":            {single, 3, func(p *api.Proof) { p.Leaf.Bytes = strings.Replace(p.Leaf.Bytes, "user:ana", "user:bob", 1) }},
		"bytes of another":       {single, 3, func(p *api.Proof) { p.Leaf.Bytes = string(m.rows[0].Bytes); p.Event = "evt_0" }},
		"another index":          {single, 3, func(p *api.Proof) { p.Leaf.Index++ }},
		"a negative index":       {single, 3, func(p *api.Proof) { p.Leaf.Index = -1 }},
		"an index past the end":  {single, 3, func(p *api.Proof) { p.Leaf.Index = 7 }},
		"another first":          {batch, 7, func(p *api.Proof) { p.Leaf.First-- }},
		"another count":          {batch, 7, func(p *api.Proof) { p.Leaf.Count = 4 }},
		"a count of none":        {single, 3, func(p *api.Proof) { p.Leaf.Count = 0 }},
		"a count of everything":  {single, 3, func(p *api.Proof) { p.Leaf.Count = 1 << 62 }},
		"a batch of one":         {single, 3, func(p *api.Proof) { p.BatchRoot = cp.Root.String() }},
		"another batch root":     {batch, 7, func(p *api.Proof) { p.BatchRoot = cp.Root.String() }},
		"no batch proof":         {batch, 7, func(p *api.Proof) { p.BatchProof = nil }},
		"a longer batch proof":   {batch, 7, func(p *api.Proof) { p.BatchProof = append(p.BatchProof, p.BatchProof[0]) }},
		"no tree proof":          {single, 3, func(p *api.Proof) { p.TreeProof = nil }},
		"a huge tree proof":      {single, 3, func(p *api.Proof) { p.TreeProof = make([]string, 1000) }},
		"a swapped tree proof":   {single, 3, func(p *api.Proof) { p.TreeProof[0], p.TreeProof[1] = p.TreeProof[1], p.TreeProof[0] }},
		"a hash in other words":  {single, 3, func(p *api.Proof) { p.TreeProof[0] += "\n" }},
		"an older checkpoint":    {single, 3, func(p *api.Proof) { p.Checkpoint = string(old) }},
		"a changed checkpoint":   {single, 3, func(p *api.Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "seq 9", "seq 8", 1) }},
		"an entry not an object": {single, 3, func(p *api.Proof) { p.Leaf.Bytes = "null" }},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Prove(cp, c.leaf, m.batchOf(c.leaf), c.seq, &m.hashes)
			if err != nil {
				t.Fatal(err)
			}
			if err := VerifyProof(*p, m.vkey); err != nil {
				t.Fatalf("the true proof: %v", err)
			}
			if err := VerifyProof(*p, other); !errors.Is(err, ErrProof) {
				t.Errorf("with another key: %v", err)
			}
			if err := VerifyProof(*p); !errors.Is(err, ErrProof) {
				t.Errorf("with no key: %v", err)
			}
			c.forge(p)
			if err := VerifyProof(*p, m.vkey); !errors.Is(err, ErrProof) {
				t.Errorf("the forged proof: %v", err)
			}
		})
	}
}

func TestProveRefusesALogThatDisagreesWithItsCheckpoint(t *testing.T) {
	m := newMemory(t)
	for i := range 4 {
		m.append(plain(i))
	}
	cp := m.open(m.checkpoint())
	m.hashes[0][0] ^= 1
	if _, err := Prove(cp, m.leaves[1], m.batchOf(m.leaves[1]), 2, &m.hashes); err == nil {
		t.Error("proved an entry with a changed hash beside it")
	}
	if _, err := Prove(cp, m.leaves[1], m.batchOf(m.leaves[1]), 3, &m.hashes); err == nil {
		t.Error("proved an entry that is not in the leaf")
	}
}

func TestConsistency(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t)
		marks := []*Checkpoint{m.open(m.checkpoint())}
		for range rapid.IntRange(1, 14).Draw(t, "leaves") {
			drawLog(t, m, 1)
			marks = append(marks, m.open(m.checkpoint()))
		}
		other := newMemory(t) // the same length, another past
		e := plain(99)
		e.Actor = "user:mallory"
		other.append(e)
		for range marks[2:] {
			drawLog(t, other, 1)
		}
		fork := m.open(other.checkpoint())
		for i, older := range marks {
			for j, newer := range marks {
				proof, err := ProveConsistency(older.Head.Leaves, newer.Head.Leaves, &m.hashes)
				if i > j {
					if err == nil {
						t.Fatalf("proved that %d leaves begin with %d", newer.Head.Leaves, older.Head.Leaves)
					}
					if err := CheckConsistency(nil, older, newer); !errors.Is(err, ErrProof) {
						t.Fatalf("a log that became shorter: %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := CheckConsistency(proof, older, newer); err != nil {
					t.Fatalf("%d to %d leaves: %v", older.Head.Leaves, newer.Head.Leaves, err)
				}
				if i == 0 {
					continue
				}
				forged := *older
				forged.Root[0] ^= 1
				if err := CheckConsistency(proof, &forged, newer); !errors.Is(err, ErrProof) {
					t.Fatalf("another old root: %v", err)
				}
				if fork.Head.Leaves == newer.Head.Leaves {
					forkProof, err := ProveConsistency(older.Head.Leaves, fork.Head.Leaves, &other.hashes)
					if err != nil {
						t.Fatal(err)
					}
					if err := CheckConsistency(forkProof, older, fork); !errors.Is(err, ErrProof) {
						t.Fatalf("a fork: %v", err)
					}
				}
			}
		}
	})
}
