package audit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/daypass/daypass/api"
)

// says fails unless the error is the one that is meant: an auditor who is told
// of another fault looks for it in another place.
func says(t *testing.T, name string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", name, err, want)
	}
}

// A proof that does not hold says which step of it does not.
//
// Invariant: A31
func TestForgedProofsSayWhere(t *testing.T) {
	const place, log = "the entry has no such place in the log", "the leaf is not in the log"
	m := newMemory(t)
	for i := range 5 {
		m.append(plain(i))
	}
	m.append(plain(5), plain(6), plain(7))
	cp := m.open(m.checkpoint())
	batch, single := m.leaves[5], m.leaves[2]
	tail := newMemory(t) // ends with a batch, and with a single entry
	tail.append(plain(0), plain(1))
	alone := newMemory(t)
	alone.append(plain(0))
	for _, c := range []struct {
		name  string
		leaf  Leaf
		seq   int64
		forge func(*api.Proof)
		want  string
	}{
		{"the true one", single, 3, func(*api.Proof) {}, ""},
		{"the first of a batch", batch, 6, func(*api.Proof) {}, ""},
		{"the last of a batch", batch, 8, func(*api.Proof) {}, ""},
		{"another event", single, 3, func(p *api.Proof) { p.Event = "evt_9" }, "it is about another entry"},
		{"no entry", single, 3, func(p *api.Proof) { p.Leaf.Bytes = "{}" }, "audit entry"},
		{"a leaf before the first", single, 3, func(p *api.Proof) { p.Leaf.Index = -1 }, place},
		{"a leaf after the last, and an entry before", batch, 8, func(p *api.Proof) {
			p.Leaf.Index, p.Leaf.First, p.Leaf.Count, p.BatchRoot, p.BatchProof = 6, 8, 1, "", nil
		}, place},
		{"a leaf after the last", single, 3, func(p *api.Proof) { p.Leaf.Index = 6 }, place},
		{"no entries in the leaf", single, 3, func(p *api.Proof) { p.Leaf.Count = 0 }, place},
		{"fewer entries than leaves", single, 3, func(p *api.Proof) { p.Leaf.Index = 3 }, place},
		{"a leaf that goes beyond the log", batch, 8, func(p *api.Proof) { p.Leaf.Count = 4 }, place},
		{"an entry before its leaf", batch, 6, func(p *api.Proof) { p.Leaf.First, p.Leaf.Count = 7, 2 }, place},
		{"an entry behind its leaf", batch, 8, func(p *api.Proof) { p.Leaf.Count = 2 }, place},
		{"a batch root that is no hash", batch, 7, func(p *api.Proof) { p.BatchRoot = "x" }, "is not a hash"},
		{"a batch proof of no hashes", batch, 7, func(p *api.Proof) { p.BatchProof[0] = "x" }, "is not a hash"},
		{"another batch root", batch, 7, func(p *api.Proof) { p.BatchRoot = cp.Root.String() }, "the entry is not in the batch"},
		{"a batch of one", single, 3, func(p *api.Proof) { p.BatchRoot = cp.Root.String() }, "a single entry has no batch"},
		{"a batch proof of one", single, 3, func(p *api.Proof) { p.BatchProof = []string{cp.Root.String()} }, "a single entry has no batch"},
		{"a tree proof of no hashes", single, 3, func(p *api.Proof) { p.TreeProof[0] = "x" }, "is not a hash"},
		{"64 hashes", single, 3, func(p *api.Proof) { p.TreeProof = slices.Repeat([]string{cp.Root.String()}, 64) }, log},
		{"65 hashes", single, 3, func(p *api.Proof) { p.TreeProof = slices.Repeat([]string{cp.Root.String()}, 65) }, "no proof has more than 64 hashes"},
		{"another leaf", single, 3, func(p *api.Proof) { p.Leaf.Index = 1 }, log},
	} {
		p, err := Prove(cp, c.leaf, m.batchOf(c.leaf), c.seq, &m.hashes)
		if err != nil {
			t.Fatal(err)
		}
		c.forge(p)
		err = VerifyProof(*p, m.vkey)
		says(t, c.name, err, c.want)
		if err != nil && !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v is no ErrProof", c.name, err)
		}
	}
	for _, whole := range []*memory{tail, alone} {
		for seq := range whole.head.Seq {
			p, err := Prove(whole.open(whole.checkpoint()), whole.leaves[0], whole.batchOf(whole.leaves[0]), seq+1, &whole.hashes)
			if err != nil {
				t.Fatal(err)
			}
			says(t, "all of a log", VerifyProof(*p, whole.vkey), "")
		}
	}
}

// What cannot be proved is said to be that, and not proved a little.
func TestProveSaysWhyNot(t *testing.T) {
	m := testLog(t) // a leaf of one, a leaf of two
	cp := m.open(m.checkpoint())
	single, batch := m.leaves[0], m.leaves[1]
	for _, c := range []struct {
		name    string
		leaf    Leaf
		entries [][]byte
		seq     int64
		want    string
	}{
		{"before the leaf", batch, m.batchOf(batch), 1, "not one of the 2 entries"},
		{"behind the leaf", batch, m.batchOf(batch), 4, "not one of the 2 entries"},
		{"a leaf of none", Leaf{Index: 0, First: 1}, nil, 1, "not one of the 0 entries"},
		{"half the leaf", batch, m.batchOf(batch)[:1], 2, "not one of the 1 entries"},
		{"a later leaf", Leaf{Index: 2, First: 4, Count: 1}, [][]byte{m.rows[0].Bytes}, 4, "the checkpoint is older than the entry"},
		{"no entry", single, [][]byte{[]byte("{}")}, 1, "audit entry"},
		{"another entry", single, [][]byte{m.rows[1].Bytes}, 1, "does not agree with its checkpoint"},
	} {
		p, err := Prove(cp, c.leaf, c.entries, c.seq, &m.hashes)
		says(t, c.name, err, c.want)
		if p != nil {
			t.Errorf("%s: a proof and an error", c.name)
		}
	}
	if p, err := Prove(cp, single, m.batchOf(single), 1, &hashes{}); err == nil || p != nil {
		t.Error("proved without the tree")
	}
	if _, err := ProveConsistency(1, 2, &hashes{}); err == nil {
		t.Error("proved that the log grew without the tree")
	}
	if got, err := ProveConsistency(0, 5, &hashes{}); err != nil || len(got) != 0 {
		t.Errorf("every log begins with the empty one: %v, %v", got, err)
	}
	if _, err := ProveConsistency(0, -1, &hashes{}); err == nil {
		t.Error("a log of less than nothing")
	}
	if _, err := Root(Head{Seq: 3, Leaves: 2}, &hashes{}); err == nil {
		t.Error("a root without the tree")
	}
	if _, err := (&hashes{{}}).ReadHashes([]int64{-1}); err == nil {
		t.Error("a hash before the first")
	}
}

// Two checkpoints of which one does not continue the other.
//
// Invariant: A31
func TestInconsistencySaysWhat(t *testing.T) {
	m := newMemory(t)
	empty := m.open(m.checkpoint())
	m.append(plain(1))
	one := m.open(m.checkpoint())
	m.append(plain(2), plain(3))
	two := m.open(m.checkpoint())
	proof := must[[]string](t)(ProveConsistency(1, 2, &m.hashes))
	but := func(c *Checkpoint, change func(*Checkpoint)) *Checkpoint {
		other := *c
		change(&other)
		return &other
	}
	for _, c := range []struct {
		name         string
		proof        []string
		older, newer *Checkpoint
		want         string
	}{
		{"grown", proof, one, two, ""},
		{"from nothing", nil, empty, two, ""},
		{"nothing still", nil, empty, empty, ""},
		{"two logs", proof, but(one, func(c *Checkpoint) { c.Origin = "elsewhere" }), two, "the checkpoints are of two logs"},
		{"fewer leaves", proof, two, one, "the log became shorter"},
		{"fewer entries", proof, but(one, func(c *Checkpoint) { c.Head.Seq = 4 }), two, "the log became shorter"},
		{"other entries in as many leaves", nil, but(two, func(c *Checkpoint) { c.Head.Seq = 2 }), two, "the log became shorter"},
		{"fewer leaves of as many entries", nil, two, but(two, func(c *Checkpoint) { c.Head.Leaves = 1 }), "the log became shorter"},
		{"no hash", []string{"x"}, one, two, "is not a hash"},
		{"another past", proof, but(one, func(c *Checkpoint) { c.Root[0] ^= 1 }), two, "does not begin with the older one"},
		{"hashes of nothing", proof, empty, two, "the empty log has no hashes"},
		{"another nothing", nil, but(empty, func(c *Checkpoint) { c.Root[0] ^= 1 }), two, "the empty log has no hashes"},
		{"two nothings", nil, empty, but(empty, func(c *Checkpoint) { c.Root[0] ^= 1 }), "the empty log has one root"},
	} {
		err := CheckConsistency(c.proof, c.older, c.newer)
		says(t, c.name, err, c.want)
		if err != nil && !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v is no ErrProof", c.name, err)
		}
	}
}

// A checkpoint that is refused says which part of it is not as it is written.
func TestRefusedCheckpointsSayWhy(t *testing.T) {
	m := testLog(t)
	root := m.oracle(2).String()
	good := testOrigin + "\n2\n" + root + "\nseq 3\ntime 2026-11-23T14:00:00.123Z\n"
	for _, c := range []struct{ name, text, want string }{
		{"the good one", good, ""},
		{"a line more", good + "x\n", "not origin, size, root, seq and time"},
		{"a line less", strings.Replace(good, "seq 3\n", "", 1), "not origin, size, root, seq and time"},
		{"no size", strings.Replace(good, "\n2\n", "\nx\n", 1), `parsing "x"`},
		{"no root", strings.Replace(good, root, "x", 1), "malformed hash"},
		{"no seq", strings.Replace(good, "seq 3", "seq y", 1), `parsing "y"`},
		{"no time", strings.Replace(good, "time 2026", "time z026", 1), "parsing time"},
		{"more leaves than entries", strings.Replace(good, "\n2\n", "\n4\n", 1), "no log has 3 entries in 4 leaves"},
		{"a plus", strings.Replace(good, "\n2\n", "\n+2\n", 1), "not in the canonical form"},
		{"an origin of words", strings.Replace(good, testOrigin, "a b", 1), "not in the canonical form"},
	} {
		_, err := OpenCheckpoint(must[[]byte](t)(note.Sign(&note.Note{Text: c.text}, m.signer)), m.vkey)
		says(t, c.name, err, c.want)
	}
	twice := m.checkpoint()
	_, signature, _ := bytes.Cut(twice, []byte("\n\n"))
	_, err := OpenCheckpoint(append(bytes.Clone(twice), signature...), m.vkey)
	says(t, "a repeated signature", err, "a signature is repeated")
	_, err = OpenCheckpoint(bytes.Repeat([]byte("x"), maxCheckpoint+1), m.vkey)
	says(t, "a long one", err, fmt.Sprintf("at most %d bytes", maxCheckpoint))
	_, err = OpenCheckpoint(bytes.Repeat([]byte("x"), maxCheckpoint), m.vkey)
	says(t, "one as long as may be", err, "malformed note")
	_, err = OpenCheckpoint(twice, "x")
	says(t, "a key that is none", err, "reading the audit verifier key")

	for _, c := range []struct {
		origin string
		head   Head
		want   string
	}{
		{strings.Repeat("a", 255), m.head, ""},
		{strings.Repeat("a", 256), m.head, "cannot be the origin of a log"},
		{"a\u00a0b", m.head, "cannot be the origin of a log"},
		{"a\u0001b", m.head, "cannot be the origin of a log"},
		{"a\xffb", m.head, "cannot be the origin of a log"},
		{"a+b", m.head, "cannot be the origin of a log"},
		{"+a", m.head, "cannot be the origin of a log"},
		{" a", m.head, "cannot be the origin of a log"},
		{"", m.head, "cannot be the origin of a log"},
		{testOrigin, Head{Seq: 1, Leaves: 2}, "no log has 1 entries in 2 leaves"},
		{testOrigin, Head{Seq: maxSeq, Leaves: 1}, ""},
		{testOrigin, Head{Seq: maxSeq + 1, Leaves: 1}, "no log has"},
		{testOrigin, Head{Seq: 1}, "no log has"},
		{testOrigin, Head{Seq: 3, Leaves: 3}, ""},
	} {
		_, err := SignCheckpoint(c.origin, c.head, m.oracle(2), m.signer, testTime)
		says(t, clip(c.origin), err, c.want)
	}
}

// What a verification finds is told with its place and what is known of it.
//
// Invariant: A31
func TestFaultsAreToldInWords(t *testing.T) {
	m := newMemory(t)
	m.append(plain(1))
	first := m.checkpoint()
	m.append(plain(2), plain(3))
	second := m.checkpoint()
	m.append(plain(4))
	last := m.checkpoint()
	foreign := must[[]byte](t)(SignCheckpoint("elsewhere", m.head, m.oracle(3), m.signer, testTime))
	wrong := func(h Head, at time.Time) []byte {
		return must[[]byte](t)(SignCheckpoint(testOrigin, h, tlog.Hash{1}, m.signer, at))
	}
	hour := testTime.Add(time.Hour)
	for _, c := range []struct {
		name   string
		change func([]Row) []Row
		marks  [][]byte
		end    [][]byte
		want   string
	}{
		{"whole", nil, [][]byte{second, first}, [][]byte{last}, ""},
		{"the last mark twice", nil, [][]byte{last}, [][]byte{last, last}, ""},
		{"a gap", func(r []Row) []Row { return slices.Delete(r, 1, 2) }, nil, nil, "entry 2: is missing"},
		{"a repetition", func(r []Row) []Row { return slices.Insert(r, 1, r[0]) }, nil, nil, "entry 1: is there twice or out of order, after entry 1"},
		{"a row of no place", func(r []Row) []Row { r[0].Seq = -5; return r }, nil, nil, "entry 1: is there twice or out of order, after entry 0"},
		{"another hash beside it", func(r []Row) []Row { r[1].LeafHash[0] ^= 1; return r }, nil, nil, "entry 2: its bytes have another hash"},
		{"no entry", func(r []Row) []Row { r[0].Bytes, r[0].LeafHash = []byte("{}"), tlog.Hash{}; return r }, nil, nil, "entry 1: its bytes are not those of an entry"},
		{"bytes of another", func(r []Row) []Row { r[0].Bytes, r[0].LeafHash = r[3].Bytes, tlog.Hash{}; return r }, nil, nil, "entry 1: its bytes are those of entry 4"},
		{"another leaf", func(r []Row) []Row { r[0].Leaf.Index = 7; return r }, nil, nil, "entry 1: is filed under leaf 7 from entry 1, where leaf 0 begins"},
		{"a leaf of none", func(r []Row) []Row { r[0].Leaf.Count = 0; return r }, nil, nil, "entry 1: is filed under leaf 0 from entry 1"},
		{"not with its batch", func(r []Row) []Row { r[2].Leaf.Count = 1; return r }, nil, nil, "entry 3: is not filed with its batch, leaf 1"},
		{"half a batch", func(r []Row) []Row { return r[:2] }, nil, nil, "entry 3: is missing: leaf 1 has 2 entries"},
		{"a lost tail", func(r []Row) []Row { return r[:3] }, [][]byte{last}, nil, "entry 4: is missing: the checkpoint of 2026-11-23T14:00:00Z covers 4 entries in 3 leaves, here are 3 in 2"},
		{"a lost tail, told at the end", func(r []Row) []Row { return r[:3] }, nil, [][]byte{last}, "entry 4: is missing: the checkpoint of 2026-11-23T14:00:00Z covers 4 entries in 3 leaves, here are 3 in 2"},
		{"a mark before the end", nil, nil, [][]byte{second}, "entry 4: lies behind the last checkpoint, which ends at entry 3"},
		{"two logs", nil, [][]byte{last, foreign}, nil, "entry 5: cannot be vouched for: a checkpoint is not valid: the checkpoints are of two logs"},
		{"another log at the end", nil, [][]byte{second}, [][]byte{foreign}, "entry 4: cannot be vouched for: a checkpoint is not valid: it is the checkpoint of another log"},
		{"the first of two that are not valid", nil, [][]byte{[]byte("x"), foreign, last}, nil, "a checkpoint is not valid: opening"},
		{"another root, nothing before", nil, [][]byte{wrong(Head{3, 2}, hour)}, nil,
			"entry 1: cannot be vouched for: something in entries 1 to 3 was changed and its hashes rewritten, for they disagree with the checkpoint of 2026-11-23T15:00:00Z over 3 entries; no earlier checkpoint holds"},
		{"another root, one before", nil, [][]byte{first, wrong(Head{4, 3}, hour)}, nil,
			"entry 2: cannot be vouched for: something in entries 2 to 4 was changed and its hashes rewritten, for they disagree with the checkpoint of 2026-11-23T15:00:00Z over 4 entries; entries up to 1 agree with the checkpoint of 2026-11-23T14:00:00Z"},
		{"another root at the end", nil, [][]byte{second}, [][]byte{wrong(Head{4, 3}, hour)}, "entry 4: cannot be vouched for: something in entries 4 to 4"},
		{"as many leaves of other entries", nil, [][]byte{wrong(Head{4, 2}, hour)}, nil, "entry 1: cannot be vouched for: something in entries 1 to 3"},
		{"an empty log that was none", func([]Row) []Row { return nil }, nil, [][]byte{wrong(Head{}, hour)}, "entry 1: cannot be vouched for: something in entries 1 to 1"},
	} {
		rows := m.rowsCopy()
		if c.change != nil {
			rows = c.change(rows)
		}
		report, err := verify(VerifierOptions{Keys: []string{m.vkey}, Checkpoints: c.marks}, rows, c.end...)
		says(t, c.name, err, c.want)
		if c.want != "" {
			if report != (Report{}) {
				t.Errorf("%s: a report of a log that is not whole: %+v", c.name, report)
			}
			continue
		}
		want := Report{
			Head: m.head, Root: m.oracle(3), Vouched: 4, VouchedAt: testTime, Checkpoints: len(c.marks) + len(c.end),
			First: testTime.Add(time.Second), Last: testTime.Add(4 * time.Second),
		}
		if report != want {
			t.Errorf("%s: %+v, want %+v", c.name, report, want)
		}
	}
	if _, err := NewVerifier(VerifierOptions{Keys: []string{"x"}}); err == nil {
		t.Error("took a key that is none")
	}
}

// shortHashes answers with fewer hashes than were asked for.
type shortHashes struct{}

func (shortHashes) ReadHashes([]int64) ([]tlog.Hash, error) { return nil, nil }

type brokenHashes struct{}

func (brokenHashes) ReadHashes([]int64) ([]tlog.Hash, error) { return nil, errors.New("disk on fire") }

// A store that cannot be read is no fault of an entry, and no clean bill.
func TestUnreadableHashesAreNoFault(t *testing.T) {
	m := testLog(t)
	for want, hashes := range map[string]tlog.HashReader{"got 0 of 1": shortHashes{}, "disk on fire": brokenHashes{}} {
		_, err := verify(VerifierOptions{Hashes: hashes}, m.rows)
		says(t, want, err, want)
		if f := new(Fault); errors.As(err, &f) {
			t.Errorf("%v is a fault of an entry", f)
		}
	}
	m.hashes[0][0] ^= 1
	_, err := verify(VerifierOptions{Hashes: &m.hashes}, m.rows)
	says(t, "a leaf of one entry", err, "entry 1: its bytes have another hash than the tree stored")
	m.hashes[0][0] ^= 1
	m.hashes[1][0] ^= 1
	_, err = verify(VerifierOptions{Hashes: &m.hashes}, m.rows)
	says(t, "a batch", err, "entry 2: cannot be vouched for: entries 2 to 3 have another hash than the tree stored for them")
	m.hashes[1][0] ^= 1
	m.hashes[2][0] ^= 1
	_, err = verify(VerifierOptions{Hashes: &m.hashes}, m.rows)
	says(t, "a node", err, "entry 1: cannot be vouched for: entries 1 to 3 have another hash")
}
