package audit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Row is one stored entry as a verification reads it.
type Row struct {
	Seq   int64  // its place
	Leaf  Leaf   // as stored
	Bytes []byte // as stored; not kept
	// LeafHash is Addition.EntryHashes as stored beside the entry, or zero
	// where it is not stored. It proves nothing, but names a changed entry.
	LeafHash tlog.Hash
}

// Fault is the first entry that is not as it was written, or that cannot be
// vouched for: entries before it are not in doubt.
type Fault struct {
	Seq  int64
	What string
}

func (f *Fault) Error() string { return fmt.Sprintf("entry %d: %s", f.Seq, f.What) }

// VerifierOptions says what a verification trusts.
type VerifierOptions struct {
	Keys []string // vkeys; older ones too where the key was rotated
	// Checkpoints are signed notes, in any order: those stored beside the log
	// and those kept elsewhere. Someone who can rewrite the whole database is
	// found only by a checkpoint that was out of reach, or by lacking the key.
	Checkpoints [][]byte
	// Hashes reads the tree's stored hashes; nil skips them. They prove
	// nothing, but a mismatch is found at its place rather than at the next
	// checkpoint. Reads are of one leaf's hashes each, at rising indexes.
	Hashes tlog.HashReader
}

// Report is what a verification found in a log that is whole.
type Report struct {
	Head        Head
	Root        tlog.Hash
	Vouched     int64     // the last seq that a checkpoint covers; later ones are only consistent in themselves
	VouchedAt   time.Time // when that checkpoint was signed; zero when there is none
	Checkpoints int       // that were checked and hold
	First, Last time.Time // of the first and the last entry

	// Of an export only:
	Key              string // the vkey that was trusted
	Pinned           bool   // the caller named the key; else it was the export's own word
	UncheckedReasons int64  // visible reasons without the salt that ties them to the log
}

// String says it in a sentence.
func (r Report) String() string {
	s := fmt.Sprintf("%d entries in %d leaves, gapless", r.Head.Seq, r.Head.Leaves)
	switch {
	case r.Checkpoints == 0:
		s += "; no checkpoint was given, so a log rewritten as a whole would not be noticed"
	case r.Vouched < r.Head.Seq:
		s += fmt.Sprintf("; signed up to entry %d, the %d later ones are not yet covered by a checkpoint", r.Vouched, r.Head.Seq-r.Vouched)
	default:
		s += "; all covered by a signed checkpoint"
	}
	if r.Key != "" && !r.Pinned {
		s += "; the key is the export's own word: name the key you trust to rule out a forged export"
	}
	if r.UncheckedReasons > 0 {
		s += fmt.Sprintf("; %d reasons are shown without the salt that would tie them to the log", r.UncheckedReasons)
	}
	return s
}

// Verifier checks a log that is fed to it in order of seq. It keeps the right
// edge of the tree and the checkpoints, nothing per entry.
type Verifier struct {
	opts        VerifierOptions
	checkpoints []*Checkpoint // those not reached yet, the smallest first
	refused     error         // why the first of the given checkpoints that is not valid is not
	origin      string
	tree, batch edge
	leaf        Leaf  // the one being read while batch.size > 0
	seq         int64 // of the last entry
	report      Report
	dead        error
}

// NewVerifier opens the checkpoints. One that is not validly signed does not
// fail here but in Finish, when the entries have been looked at.
func NewVerifier(opts VerifierOptions) (*Verifier, error) {
	for _, vkey := range opts.Keys {
		if _, err := ParseVerifier(vkey); err != nil {
			return nil, err
		}
	}
	v := &Verifier{opts: opts}
	for _, b := range opts.Checkpoints {
		c, err := OpenCheckpoint(b, opts.Keys...)
		if err == nil && v.origin != "" && c.Origin != v.origin {
			err = fmt.Errorf("the checkpoints are of two logs, %q and %q", clip(v.origin), clip(c.Origin))
		}
		if err != nil {
			v.refused = cmp.Or(v.refused, err)
			continue
		}
		c.Note = nil // not needed any more
		v.origin = c.Origin
		v.checkpoints = append(v.checkpoints, c)
	}
	slices.SortStableFunc(v.checkpoints, func(x, y *Checkpoint) int { return cmp.Compare(x.Head.Leaves, y.Head.Leaves) })
	return v, v.reach()
}

// Add takes the next entry. It returns a *Fault for the first that is not
// right, and the same again for whatever follows; other errors are those of
// reading Hashes.
func (v *Verifier) Add(row Row) error {
	if v.dead == nil {
		v.dead = v.add(row)
	}
	return v.dead
}

func (v *Verifier) add(row Row) error {
	seq := v.seq + 1
	switch {
	case row.Seq > seq:
		return &Fault{seq, "is missing"}
	case row.Seq < seq:
		return &Fault{max(row.Seq, 1), fmt.Sprintf("is there twice or out of order, after entry %d", v.seq)}
	}
	hash := tlog.RecordHash(row.Bytes)
	if row.LeafHash != (tlog.Hash{}) && row.LeafHash != hash {
		return &Fault{seq, "its bytes have another hash than was stored when it was written"}
	}
	e, err := DecodeEntry(row.Bytes)
	if err != nil {
		return &Fault{seq, fmt.Sprintf("its bytes are not those of an entry: %v", err)}
	}
	if e.Seq != seq {
		return &Fault{seq, fmt.Sprintf("its bytes are those of entry %d", e.Seq)}
	}
	if v.batch.size == 0 {
		if want := (Leaf{Index: v.tree.size, First: seq, Count: row.Leaf.Count}); row.Leaf != want || row.Leaf.Count < 1 {
			return &Fault{seq, fmt.Sprintf("is filed under leaf %d from entry %d, where leaf %d begins", row.Leaf.Index, row.Leaf.First, want.Index)}
		}
		v.leaf = row.Leaf
	} else if row.Leaf != v.leaf {
		return &Fault{seq, fmt.Sprintf("is not filed with its batch, leaf %d", v.leaf.Index)}
	}
	_ = v.batch.add(hash, seq, nil) // fails only where it compares
	v.seq = seq
	if v.report.First.IsZero() {
		v.report.First = e.Time
	}
	v.report.Last = e.Time
	if v.batch.size < int64(v.leaf.Count) {
		return nil
	}
	leaf := leafHash(v.leaf, v.batch.root())
	v.batch.size, v.batch.nodes = 0, v.batch.nodes[:0]
	if err := v.grow(leaf); err != nil {
		return err
	}
	return v.reach()
}

// grow adds a leaf to the tree and compares with the stored hashes.
func (v *Verifier) grow(leaf tlog.Hash) error {
	var stored []tlog.Hash
	if v.opts.Hashes != nil {
		n := v.tree.size
		indexes := []int64{}
		for i := tlog.StoredHashIndex(0, n); i < tlog.StoredHashIndex(0, n+1); i++ {
			indexes = append(indexes, i)
		}
		var err error
		if stored, err = v.opts.Hashes.ReadHashes(indexes); err != nil {
			return fmt.Errorf("reading the stored hashes of leaf %d: %w", n, err)
		}
		if len(stored) != len(indexes) {
			return fmt.Errorf("reading the stored hashes of leaf %d: got %d of %d", n, len(stored), len(indexes))
		}
	}
	return v.tree.add(leaf, v.leaf.First, func(i int, hash tlog.Hash, first int64) error {
		if stored == nil || stored[i] == hash {
			return nil
		}
		if i == 0 && v.leaf.Count == 1 {
			return &Fault{first, "its bytes have another hash than the tree stored"}
		}
		return &Fault{first, fmt.Sprintf("cannot be vouched for: entries %d to %d have another hash than the tree stored for them", first, v.seq)}
	})
}

// reach checks the checkpoints of the size that the tree has now.
func (v *Verifier) reach() error {
	for len(v.checkpoints) > 0 && v.checkpoints[0].Head.Leaves == v.tree.size {
		c := v.checkpoints[0]
		v.checkpoints = v.checkpoints[1:]
		if err := v.hold(c); err != nil {
			return err
		}
	}
	return nil
}

func (v *Verifier) hold(c *Checkpoint) error {
	if c.Head.Seq != v.seq || c.Root != v.tree.root() {
		since := "no earlier checkpoint holds, so the change may be anywhere"
		if v.report.Vouched > 0 {
			since = fmt.Sprintf("entries up to %d agree with the checkpoint of %s", v.report.Vouched, stamp(v.report.VouchedAt))
		}
		return &Fault{v.report.Vouched + 1, fmt.Sprintf("cannot be vouched for: something in entries %d to %d was changed and its hashes rewritten, for they disagree with the checkpoint of %s over %d entries; %s",
			v.report.Vouched+1, max(v.seq, v.report.Vouched+1), stamp(c.Time), c.Head.Seq, since)}
	}
	v.report.Checkpoints++
	v.report.Vouched, v.report.VouchedAt = v.seq, c.Time
	return nil
}

// Finish says whether the log is whole. last are further signed checkpoints
// that came to light only at the end; each must be of the log as it ends here.
func (v *Verifier) Finish(last ...[]byte) (Report, error) {
	if v.dead == nil {
		v.dead = v.finish(last)
	}
	if v.dead == nil {
		v.dead = errFinished
		v.report.Head, v.report.Root = Head{Seq: v.seq, Leaves: v.tree.size}, v.tree.root()
		return v.report, nil
	}
	return Report{}, v.dead
}

var errFinished = errors.New("audit: this verification is finished")

func (v *Verifier) finish(last [][]byte) error {
	if v.batch.size > 0 {
		return &Fault{v.seq + 1, fmt.Sprintf("is missing: leaf %d has %d entries", v.leaf.Index, v.leaf.Count)}
	}
	for _, b := range last {
		c, err := OpenCheckpoint(b, v.opts.Keys...)
		if err == nil && v.origin != "" && c.Origin != v.origin {
			err = errors.New("it is the checkpoint of another log")
		}
		switch {
		case err != nil:
			v.refused = cmp.Or(v.refused, err)
		case c.Head.Leaves > v.tree.size:
			v.checkpoints = append(v.checkpoints, c)
		case c.Head.Leaves < v.tree.size:
			return &Fault{c.Head.Seq + 1, fmt.Sprintf("lies behind the last checkpoint, which ends at entry %d", c.Head.Seq)}
		default:
			if err := v.hold(c); err != nil {
				return err
			}
		}
	}
	if len(v.checkpoints) > 0 {
		c := v.checkpoints[len(v.checkpoints)-1]
		return &Fault{v.seq + 1, fmt.Sprintf("is missing: the checkpoint of %s covers %d entries in %d leaves, here are %d in %d",
			stamp(c.Time), c.Head.Seq, c.Head.Leaves, v.seq, v.tree.size)}
	}
	if v.refused != nil {
		return &Fault{v.report.Vouched + 1, fmt.Sprintf("cannot be vouched for: a checkpoint is not valid: %v", v.refused)}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
