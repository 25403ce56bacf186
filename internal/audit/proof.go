package audit

import (
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/daypass/daypass/api"
)

// ErrProof says that a proof does not prove what it claims.
var ErrProof = errors.New("the proof does not hold")

// Prove returns the proof that the entry with this seq is in the log at cp.
// leaf is the leaf that holds it, entries the stored bytes of all of that leaf's
// entries in order, and r reads the tree's stored hashes.
func Prove(cp *Checkpoint, leaf Leaf, entries [][]byte, seq int64, r tlog.HashReader) (*api.Proof, error) {
	at := seq - leaf.First
	if leaf.Count < 1 || len(entries) != leaf.Count || at < 0 || at >= int64(leaf.Count) {
		return nil, fmt.Errorf("proving entry %d: it is not one of the %d entries of its leaf", seq, len(entries))
	}
	if leaf.Index >= cp.Head.Leaves {
		return nil, fmt.Errorf("proving entry %d: the checkpoint is older than the entry", seq)
	}
	e, err := DecodeEntry(entries[at])
	if err != nil {
		return nil, fmt.Errorf("proving entry %d: %w", seq, err)
	}
	p := &api.Proof{
		Event:      e.ID,
		Leaf:       api.EventLeaf{Index: leaf.Index, First: leaf.First, Count: leaf.Count, Bytes: string(entries[at])},
		BatchProof: []string{},
		Checkpoint: string(cp.Note),
	}
	root := tlog.RecordHash(entries[at])
	if leaf.Count > 1 {
		batch := hashes{}
		for i, b := range entries {
			stored, err := tlog.StoredHashes(int64(i), b, &batch)
			if err != nil {
				return nil, fmt.Errorf("proving entry %d: %w", seq, err)
			}
			batch = append(batch, stored...)
		}
		proof, err := tlog.ProveRecord(int64(leaf.Count), at, &batch)
		if err != nil {
			return nil, fmt.Errorf("proving entry %d: %w", seq, err)
		}
		if root, err = tlog.TreeHash(int64(leaf.Count), &batch); err != nil {
			return nil, fmt.Errorf("proving entry %d: %w", seq, err)
		}
		p.BatchProof, p.BatchRoot = formatHashes(proof), root.String()
	}
	proof, err := tlog.ProveRecord(cp.Head.Leaves, leaf.Index, r)
	if err != nil {
		return nil, fmt.Errorf("proving entry %d: %w", seq, err)
	}
	if err := tlog.CheckRecord(proof, cp.Head.Leaves, cp.Root, leaf.Index, leafHash(leaf, root)); err != nil {
		return nil, fmt.Errorf("proving entry %d: the stored log does not agree with its checkpoint", seq)
	}
	p.TreeProof = formatHashes(proof)
	return p, nil
}

// VerifyProof checks that p proves its entry to be in the log that a key of
// vkeys signed: entry, then batch, then checkpoint. Errors wrap ErrProof.
func VerifyProof(p api.Proof, vkeys ...string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrProof, fmt.Errorf(format, args...))
	}
	cp, err := OpenCheckpoint([]byte(p.Checkpoint), vkeys...)
	if err != nil {
		return fail("%w", err)
	}
	e, err := DecodeEntry([]byte(p.Leaf.Bytes))
	if err != nil {
		return fail("%w", err)
	}
	leaf := Leaf{Index: p.Leaf.Index, First: p.Leaf.First, Count: p.Leaf.Count}
	at := e.Seq - leaf.First
	switch {
	case e.ID != p.Event:
		return fail("it is about another entry")
	case leaf.Index < 0 || leaf.Index >= cp.Head.Leaves || leaf.Count < 1 || leaf.First <= leaf.Index ||
		leaf.First > cp.Head.Seq-int64(leaf.Count)+1 || at < 0 || at >= int64(leaf.Count):
		return fail("the entry has no such place in the log")
	}
	root := tlog.RecordHash([]byte(p.Leaf.Bytes))
	if leaf.Count > 1 {
		entry := root
		if root, err = parseHash(p.BatchRoot); err != nil {
			return fail("%w", err)
		}
		proof, err := parseHashes(p.BatchProof)
		if err != nil {
			return fail("%w", err)
		}
		if err := tlog.CheckRecord(proof, int64(leaf.Count), root, at, entry); err != nil {
			return fail("the entry is not in the batch")
		}
	} else if p.BatchRoot != "" || len(p.BatchProof) != 0 {
		return fail("a single entry has no batch")
	}
	proof, err := parseHashes(p.TreeProof)
	if err != nil {
		return fail("%w", err)
	}
	if err := tlog.CheckRecord(proof, cp.Head.Leaves, cp.Root, leaf.Index, leafHash(leaf, root)); err != nil {
		return fail("the leaf is not in the log")
	}
	return nil
}

// ProveConsistency returns the proof that the log with newer leaves begins
// with the log of older leaves. r reads the stored hashes of at least newer leaves.
func ProveConsistency(older, newer int64, r tlog.HashReader) ([]string, error) {
	if older == 0 && newer >= 0 {
		return []string{}, nil // every log begins with the empty one
	}
	proof, err := tlog.ProveTree(newer, older, r)
	if err != nil {
		return nil, fmt.Errorf("proving that the log grew from %d to %d leaves: %w", older, newer, err)
	}
	return formatHashes(proof), nil
}

// CheckConsistency checks that the log at newer begins with the log at older.
// Errors wrap ErrProof.
func CheckConsistency(proof []string, older, newer *Checkpoint) error {
	fail := func(what string) error { return fmt.Errorf("%w: %s", ErrProof, what) }
	if older.Origin != newer.Origin {
		return fail("the checkpoints are of two logs")
	}
	if older.Head.Seq > newer.Head.Seq || older.Head.Leaves > newer.Head.Leaves || older.Head.Leaves == newer.Head.Leaves && older.Head.Seq != newer.Head.Seq {
		return fail("the log became shorter")
	}
	hashes, err := parseHashes(proof)
	if err != nil {
		return fail(err.Error())
	}
	if older.Head.Leaves == 0 {
		if len(hashes) != 0 || older.Root != new(edge).root() {
			return fail("the empty log has no hashes")
		}
		if newer.Head.Leaves == 0 && newer.Root != older.Root {
			return fail("the empty log has one root")
		}
		return nil
	}
	if err := tlog.CheckTree(hashes, newer.Head.Leaves, newer.Root, older.Head.Leaves, older.Root); err != nil {
		return fail("the newer log does not begin with the older one")
	}
	return nil
}

// hashes are a tree's stored hashes in memory.
type hashes []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (h *hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(*h)) {
			return nil, fmt.Errorf("there is no stored hash %d", x)
		}
		out[i] = (*h)[x]
	}
	return out, nil
}

func formatHashes(in []tlog.Hash) []string {
	out := make([]string, len(in))
	for i, h := range in {
		out[i] = h.String()
	}
	return out
}

func parseHashes(in []string) ([]tlog.Hash, error) {
	if len(in) > 64 {
		return nil, errors.New("no proof has more than 64 hashes")
	}
	out := make([]tlog.Hash, len(in))
	for i, s := range in {
		h, err := parseHash(s)
		if err != nil {
			return nil, err
		}
		out[i] = h
	}
	return out, nil
}

// parseHash is strict where tlog.ParseHash takes several spellings.
func parseHash(s string) (tlog.Hash, error) {
	h, err := tlog.ParseHash(s)
	if err != nil || h.String() != s {
		return h, fmt.Errorf("%q is not a hash", clip(s))
	}
	return h, nil
}

func canonicalBase64(s string) bool {
	raw, err := base64.StdEncoding.DecodeString(s)
	return err == nil && base64.StdEncoding.EncodeToString(raw) == s
}
