package audit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func TestAWholeLogIsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t)
		var marks [][]byte
		for range rapid.IntRange(0, 12).Draw(t, "leaves") {
			drawLog(t, m, 1)
			if rapid.Bool().Draw(t, "checkpoint") {
				marks = append(marks, m.checkpoint())
			}
		}
		marks = append(marks, m.checkpoint())
		report, err := verify(VerifierOptions{Keys: []string{m.vkey}, Checkpoints: marks, Hashes: &m.hashes}, m.rows, m.checkpoint())
		if err != nil {
			t.Fatal(err)
		}
		if report.Head != m.head || report.Root != m.oracle(len(m.leaves)) || report.Vouched != m.head.Seq || report.Checkpoints != len(marks)+1 {
			t.Fatalf("%+v", report)
		}
	})
}

// tampering changes the rows from row i (from 0) on, and returns the seq that a
// verification must name.
var tamperings = map[string]func(t *rapid.T, rows []Row, i int) ([]Row, int64){
	"a byte is changed": func(t *rapid.T, rows []Row, i int) ([]Row, int64) {
		at := rapid.IntRange(0, len(rows[i].Bytes)-1).Draw(t, "byte")
		rows[i].Bytes[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		return rows, int64(i + 1)
	},
	"bytes are cut off": func(t *rapid.T, rows []Row, i int) ([]Row, int64) {
		rows[i].Bytes = rows[i].Bytes[:rapid.IntRange(0, len(rows[i].Bytes)-1).Draw(t, "length")]
		return rows, int64(i + 1)
	},
	"a row is deleted": func(t *rapid.T, rows []Row, i int) ([]Row, int64) {
		return slices.Delete(rows, i, i+1), int64(i + 1)
	},
	"some rows are deleted": func(t *rapid.T, rows []Row, i int) ([]Row, int64) {
		return slices.Delete(rows, i, rapid.IntRange(i+1, len(rows)).Draw(t, "end")), int64(i + 1)
	},
	"a row is deleted and the later ones renumbered": func(t *rapid.T, rows []Row, i int) ([]Row, int64) {
		rows = slices.Delete(rows, i, i+1)
		for j := i; j < len(rows); j++ {
			rows[j].Seq--
		}
		return rows, int64(i + 1)
	},
	"a row is there twice": func(t *rapid.T, rows []Row, i int) ([]Row, int64) {
		return slices.Insert(rows, i+1, rows[i]), int64(i + 1)
	},
	"two rows swap places": func(t *rapid.T, rows []Row, i int) ([]Row, int64) {
		j := rapid.IntRange(0, len(rows)-1).Filter(func(j int) bool { return j != i }).Draw(t, "other")
		rows[i], rows[j] = rows[j], rows[i]
		return rows, int64(min(i, j) + 1)
	},
	"two rows swap their bytes and hashes": func(t *rapid.T, rows []Row, i int) ([]Row, int64) {
		j := rapid.IntRange(0, len(rows)-1).Filter(func(j int) bool { return j != i }).Draw(t, "other")
		rows[i].Bytes, rows[j].Bytes = rows[j].Bytes, rows[i].Bytes
		rows[i].LeafHash, rows[j].LeafHash = rows[j].LeafHash, rows[i].LeafHash
		return rows, int64(min(i, j) + 1)
	},
	"a row is inserted and the later ones renumbered": func(t *rapid.T, rows []Row, i int) ([]Row, int64) {
		// At the front of a leaf, as an attacker would who wants to be filed well.
		i = int(rows[i].Leaf.First) - 1
		e := plain(77)
		e.Seq = int64(i + 1)
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		rows = slices.Insert(rows, i, Row{Seq: e.Seq, Leaf: Leaf{rows[i].Leaf.Index, e.Seq, 1}, Bytes: b, LeafHash: tlog.RecordHash(b)})
		for j := i + 1; j < len(rows); j++ {
			rows[j].Seq++
			rows[j].Leaf.Index++
			rows[j].Leaf.First++
		}
		return rows, int64(i + 1)
	},
	"a row is inserted at the end": func(t *rapid.T, rows []Row, _ int) ([]Row, int64) {
		last := rows[len(rows)-1]
		e := plain(77)
		e.Seq = last.Seq + 1
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return append(rows, Row{Seq: e.Seq, Leaf: Leaf{last.Leaf.Index + 1, e.Seq, 1}, Bytes: b, LeafHash: tlog.RecordHash(b)}), e.Seq
	},
	"a row is filed under another leaf": func(t *rapid.T, rows []Row, i int) ([]Row, int64) {
		switch rapid.IntRange(0, 2).Draw(t, "column") {
		case 0:
			rows[i].Leaf.Index++
		case 1:
			rows[i].Leaf.First--
		case 2:
			rows[i].Leaf.Count = 0
		}
		return rows, int64(i + 1)
	},
}

// Invariant: A31
// Attack: AUD-01
func TestTamperingIsNamed(t *testing.T) {
	for name, tamper := range tamperings {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := newMemory(t)
				drawLog(t, m, rapid.IntRange(2, 10).Draw(t, "leaves"))
				mark := m.checkpoint()
				if _, err := verify(VerifierOptions{Keys: []string{m.vkey}, Hashes: &m.hashes}, m.rows, mark); err != nil {
					t.Fatalf("the untouched log: %v", err)
				}
				rows, seq := tamper(t, m.rowsCopy(), rapid.IntRange(0, len(m.rows)-1).Draw(t, "row"))

				// As a store keeps it: hashes beside the entries and of the tree.
				_, err := verify(VerifierOptions{Keys: []string{m.vkey}, Hashes: &withoutEnd{&m.hashes}}, slices.Clone(rows), mark)
				if f := faultOf(t, err); f.Seq != seq {
					t.Fatalf("named %v, want entry %d", f, seq)
				} else if strings.HasSuffix(name, "deleted") && !strings.Contains(f.What, "missing") {
					t.Fatalf("a missing entry is said to be %q", f.What)
				}
				// Without any stored hash and only the last checkpoint it is still
				// found, and no entry behind the first bad one is named, but for one
				// inserted row whose successor is the first that does not fit.
				for i := range rows {
					rows[i].LeafHash = tlog.Hash{}
				}
				_, err = verify(VerifierOptions{Keys: []string{m.vkey}}, rows, mark)
				if f := faultOf(t, err); f.Seq > seq && !strings.Contains(name, "inserted") || f.Seq > seq+1 {
					t.Fatalf("without hashes: named %v, want entry %d or before", f, seq)
				}
			})
		})
	}
}

// withoutEnd answers reads past the end with zero hashes, as a store does
// where an attacker has left no row.
type withoutEnd struct{ h *hashes }

func (w *withoutEnd) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < int64(len(*w.h)) {
			out[i] = (*w.h)[x]
		}
	}
	return out, nil
}

// Invariant: A31
// Attack: AUD-02
func TestALostTailIsFoundFromALaterCheckpoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t)
		drawLog(t, m, rapid.IntRange(2, 10).Draw(t, "leaves"))
		outside := m.checkpoint()
		drawLog(t, m, rapid.IntRange(0, 3).Draw(t, "later"))

		keep := rapid.IntRange(0, len(m.leaves)-1).Draw(t, "kept leaves")
		old := newMemory(t)
		old.rows = m.rows[:m.leaves[keep].First-1]
		lost := m.open(outside).Head.Leaves > int64(keep)
		report, err := verify(VerifierOptions{Keys: []string{m.vkey}, Checkpoints: [][]byte{outside}, Hashes: &m.hashes}, old.rows)
		if !lost {
			if err != nil || report.Vouched > report.Head.Seq {
				t.Fatalf("nothing that was signed is lost: %+v, %v", report, err)
			}
			return
		}
		if f := faultOf(t, err); f.Seq != int64(len(old.rows)+1) || !strings.Contains(f.What, "missing") {
			t.Fatalf("named %v, want entry %d", f, len(old.rows)+1)
		}
	})
}

// Invariant: A31
// Attack: AUD-03
func TestALogRewrittenWithAllItsHashesIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t)
		var marks [][]byte
		var covered []int64
		for range rapid.IntRange(2, 12).Draw(t, "leaves") {
			drawLog(t, m, 1)
			if rapid.IntRange(0, 2).Draw(t, "checkpoint") == 0 {
				marks, covered = append(marks, m.checkpoint()), append(covered, m.head.Seq)
			}
		}
		marks, covered = append(marks, m.checkpoint()), append(covered, m.head.Seq)
		slices.Reverse(marks) // the order in which they are given does not matter

		// Mallory has the database but not the key: one entry says another
		// actor, and every hash after it is made anew.
		changed := rapid.IntRange(0, len(m.rows)-1).Draw(t, "row")
		forged := newMemory(t)
		for _, l := range m.leaves {
			var entries []*Entry
			for _, b := range m.batchOf(l) {
				e, err := DecodeEntry(b)
				if err != nil {
					t.Fatal(err)
				}
				if e.Seq == int64(changed+1) {
					e.Actor = "user:bo"
				}
				entries = append(entries, e)
			}
			forged.append(entries...)
		}
		vouched := int64(0)
		for _, seq := range covered {
			if seq < int64(changed+1) {
				vouched = max(vouched, seq)
			}
		}
		_, err := verify(VerifierOptions{Keys: []string{m.vkey}, Checkpoints: marks, Hashes: &forged.hashes}, forged.rows)
		f := faultOf(t, err)
		if f.Seq != vouched+1 || !strings.Contains(f.What, "cannot be vouched for") {
			t.Fatalf("named %v, want the first after the last checkpoint that holds, %d", f, vouched+1)
		}

		// With a key of her own she gets no further.
		forged.signer, _ = newKey(t, 66)
		_, err = verify(VerifierOptions{Keys: []string{m.vkey}, Hashes: &forged.hashes}, forged.rows, forged.checkpoint())
		if f := faultOf(t, err); !strings.Contains(f.What, "checkpoint is not valid") {
			t.Fatalf("named %v", f)
		}
	})
}

// A change of stored hashes alone is found too, and named no later than the
// entries that they are about.
func TestChangedTreeHashIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t)
		drawLog(t, m, rapid.IntRange(1, 12).Draw(t, "leaves"))
		i := rapid.IntRange(0, len(m.hashes)-1).Draw(t, "hash")
		level, n := tlog.SplitStoredHashIndex(int64(i))
		m.hashes[i][0] ^= 1
		_, err := verify(VerifierOptions{Hashes: &m.hashes}, m.rows)
		if f := faultOf(t, err); f.Seq != m.leaves[n<<level].First {
			t.Fatalf("hash %d at level %d: named %v, want entry %d", i, level, f, m.leaves[n<<level].First)
		}
	})
}

func TestCheckpointsOfTwoLogsAreNotMixed(t *testing.T) {
	m := testLog(t)
	foreign := must[[]byte](t)(SignCheckpoint("elsewhere", m.head, m.oracle(2), m.signer, testTime))
	_, err := verify(VerifierOptions{Keys: []string{m.vkey}, Checkpoints: [][]byte{m.checkpoint(), foreign}}, m.rows)
	if f := faultOf(t, err); f.Seq != 4 {
		t.Errorf("named %v", f)
	}
	_, err = verify(VerifierOptions{Keys: []string{m.vkey}, Checkpoints: [][]byte{m.checkpoint()}}, m.rows, foreign)
	if f := faultOf(t, err); f.Seq != 4 {
		t.Errorf("at the end: named %v", f)
	}
}

func TestACheckpointOfAnEmptyLogHolds(t *testing.T) {
	empty := newMemory(t).checkpoint()
	m := testLog(t)
	report, err := verify(VerifierOptions{Keys: []string{m.vkey}, Checkpoints: [][]byte{empty}}, m.rows)
	if err != nil || report.Checkpoints != 1 || report.Vouched != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	lie := must[[]byte](t)(SignCheckpoint(testOrigin, Head{}, tlog.Hash{1}, m.signer, testTime))
	if _, err := NewVerifier(VerifierOptions{Keys: []string{m.vkey}, Checkpoints: [][]byte{lie}}); err == nil {
		t.Error("an empty log with another root")
	}
}

func TestAFinishedOrFailedVerifierStaysSo(t *testing.T) {
	m := testLog(t)
	v := must[*Verifier](t)(NewVerifier(VerifierOptions{}))
	if err := v.Add(m.rows[1]); err == nil {
		t.Fatal("began at entry 2")
	}
	if err := v.Add(m.rows[0]); err == nil {
		t.Error("went on after a fault")
	}
	if _, err := v.Finish(); err == nil {
		t.Error("finished well after a fault")
	}
	v = must[*Verifier](t)(NewVerifier(VerifierOptions{}))
	if _, err := v.Finish(); err != nil {
		t.Error(err)
	}
	if err := v.Add(m.rows[0]); err == nil {
		t.Error("went on after the end")
	}
	v = must[*Verifier](t)(NewVerifier(VerifierOptions{}))
	for _, r := range m.rows[:2] {
		if err := v.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Finish(); faultOf(t, err).Seq != 3 {
		t.Errorf("half a batch: %v", err)
	}
}

func TestReportSaysWhatWasNotProved(t *testing.T) {
	m := testLog(t)
	r, err := verify(VerifierOptions{}, m.rows)
	if err != nil || !strings.Contains(r.String(), "no checkpoint") {
		t.Errorf("%s, %v", r, err)
	}
	mark := m.checkpoint()
	m.append(plain(9))
	r, err = verify(VerifierOptions{Keys: []string{m.vkey}, Checkpoints: [][]byte{mark}}, m.rows)
	if err != nil || !strings.Contains(r.String(), "signed up to entry 3, the 1 later") {
		t.Errorf("%s, %v", r, err)
	}
	r, err = verify(VerifierOptions{Keys: []string{m.vkey}}, m.rows, m.checkpoint())
	if err != nil || !strings.HasSuffix(r.String(), "all covered by a signed checkpoint") {
		t.Errorf("%s, %v", r, err)
	}
}

// countingHashes answers reads from a stream in order and keeps nothing: a
// verification that reads back fails.
type countingHashes struct {
	t    fatal
	next int64
	add  edge
	leaf func(i int64) tlog.Hash
}

func (c *countingHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	c.add.add(c.leaf(c.add.size), 0, func(_ int, h tlog.Hash, _ int64) error {
		out = append(out, h)
		return nil
	})
	if len(out) != len(indexes) {
		return nil, fmt.Errorf("read %d hashes of a leaf that has %d", len(indexes), len(out))
	}
	for _, i := range indexes {
		if i != c.next {
			return nil, fmt.Errorf("read hash %d, not %d: a stream cannot go back", i, c.next)
		}
		c.next++
	}
	return out, nil
}

// Attack: AUD-10
func TestVerificationKeepsOnlyTheEdge(t *testing.T) {
	const entries = 200_000
	e := plain(1)
	e.Seq = 1
	template := must[[]byte](t)(e.Encode())
	head, tail, ok := bytes.Cut(template, []byte(`"seq":1,`))
	if !ok {
		t.Fatal("the template has no seq")
	}
	buf := make([]byte, 0, 2*len(template))
	fill := func(seq int64) []byte {
		buf = append(append(buf[:0], head...), `"seq":`...)
		return append(append(append(buf, itoa(seq)...), ','), tail...)
	}
	reader := &countingHashes{t: t, leaf: func(i int64) tlog.Hash { return tlog.RecordHash(fill(i + 1)) }}
	v := must[*Verifier](t)(NewVerifier(VerifierOptions{Hashes: reader}))
	for seq := int64(1); seq <= entries; seq++ {
		// The row's bytes lie in a buffer that is overwritten for the next
		// row and while the hashes are read: whoever keeps them keeps garbage.
		if err := v.Add(Row{Seq: seq, Leaf: Leaf{seq - 1, seq, 1}, Bytes: fill(seq)}); err != nil {
			t.Fatal(err)
		}
		if held := cap(v.tree.nodes) + cap(v.batch.nodes); held > 64 {
			t.Fatalf("holds %d hashes after %d entries", held, seq)
		}
	}
	report, err := v.Finish()
	if err != nil || report.Head != (Head{entries, entries}) || report.Root != reader.add.root() || reader.next != tlog.StoredHashCount(entries) {
		t.Errorf("%+v, %v; %d hashes read", report, err, reader.next)
	}
}
