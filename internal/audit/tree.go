package audit

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Head is the end of the log.
type Head struct {
	Seq    int64 // of the last entry, 0 when there is none
	Leaves int64 // of the tree: at most Seq, for a batch of entries is one leaf
}

// Leaf places entries in the tree.
type Leaf struct {
	Index int64 // of the leaf, from 0
	First int64 // seq of the leaf's first entry
	Count int   // entries in the leaf
}

// IndexedHash is a hash to store under its tlog.StoredHashIndex.
type IndexedHash struct {
	Index int64
	Hash  tlog.Hash
}

// Addition is what one Append adds to the log: to be stored as a whole, in the
// transaction of what it records, or not at all.
type Addition struct {
	Head        Head          // the new one
	Leaf        Leaf          // the one leaf that is added
	Entries     [][]byte      // the stored bytes, in order of seq
	EntryHashes []tlog.Hash   // tlog.RecordHash of each of Entries; stored beside them they let a verification name a changed entry
	Hashes      []IndexedHash // the tree's new stored hashes, at consecutive indexes
}

// Append encodes entries as one leaf after h, and assigns their Seq from
// h.Seq+1. The leaf of a single entry is its stored bytes; that of several is a
// text that names the first seq, the count and the tlog root of the entries, so
// that neither can be taken for the other. r reads the stored hashes of the tree
// with h.Leaves leaves; at most log₂ of them are read.
func Append(h Head, r tlog.HashReader, entries []*Entry) (*Addition, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, errors.New("audit: appending no entries")
	}
	a := &Addition{
		Head:        Head{Seq: h.Seq + int64(len(entries)), Leaves: h.Leaves + 1},
		Leaf:        Leaf{Index: h.Leaves, First: h.Seq + 1, Count: len(entries)},
		Entries:     make([][]byte, 0, len(entries)),
		EntryHashes: make([]tlog.Hash, 0, len(entries)),
	}
	var batch edge
	room := make([]byte, 0, 768+len(entries[0].Scope)) // then for all of them, if they are as long as the first
	for i, e := range entries {
		e.Seq = h.Seq + 1 + int64(i)
		var err error
		from := len(room)
		if room, err = e.appendTo(room); err != nil {
			return nil, fmt.Errorf("encoding entry %d: %w", e.Seq, err)
		}
		b := room[from:len(room):len(room)]
		if i == 0 {
			room = make([]byte, 0, (len(entries)-1)*(len(b)+64))
		}
		hash := tlog.RecordHash(b)
		_ = batch.add(hash, 0, nil) // fails only where it compares
		a.Entries = append(a.Entries, b)
		a.EntryHashes = append(a.EntryHashes, hash)
	}
	hashes, err := tlog.StoredHashesForRecordHash(h.Leaves, leafHash(a.Leaf, batch.root()), r)
	if err != nil {
		return nil, fmt.Errorf("reading the audit tree: %w", err)
	}
	base := tlog.StoredHashIndex(0, h.Leaves)
	for i, hash := range hashes {
		a.Hashes = append(a.Hashes, IndexedHash{Index: base + int64(i), Hash: hash})
	}
	return a, nil
}

// Root returns the root of the tree at h.
func Root(h Head, r tlog.HashReader) (tlog.Hash, error) {
	if err := h.check(); err != nil {
		return tlog.Hash{}, err
	}
	root, err := tlog.TreeHash(h.Leaves, r)
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("reading the audit tree: %w", err)
	}
	return root, nil
}

func (h Head) check() error {
	if h.Leaves < 0 || h.Seq < h.Leaves || h.Seq > maxSeq || (h.Leaves == 0) != (h.Seq == 0) {
		return fmt.Errorf("audit: no log has %d entries in %d leaves", h.Seq, h.Leaves)
	}
	return nil
}

// leafHash returns the tree's leaf hash of l, whose entries have this tlog root.
func leafHash(l Leaf, root tlog.Hash) tlog.Hash {
	if l.Count == 1 {
		return root // the tree of one entry has that entry's hash as its root
	}
	return tlog.RecordHash(fmt.Appendf(nil, "daypass-batch v1\n%d\n%d\n%s\n", l.First, l.Count, root))
}

// edge is the right edge of a tree that grows: the roots of the complete
// subtrees, the largest first. It is all that a verification keeps of the
// hashes, at most 63 of them.
type edge struct {
	size  int64
	nodes []edgeNode
}

type edgeNode struct {
	hash  tlog.Hash
	first int64 // seq of the first entry below it
}

// add appends a leaf, and calls completed with the hashes that tlog stores for
// it, the leaf first, and the first seq below each.
func (t *edge) add(leaf tlog.Hash, first int64, completed func(i int, hash tlog.Hash, first int64) error) error {
	n := edgeNode{leaf, first}
	for i := 0; ; i++ {
		if completed != nil {
			if err := completed(i, n.hash, n.first); err != nil {
				return err
			}
		}
		if t.size>>i&1 == 0 {
			break
		}
		left := t.nodes[len(t.nodes)-1]
		t.nodes = t.nodes[:len(t.nodes)-1]
		n = edgeNode{tlog.NodeHash(left.hash, n.hash), left.first}
	}
	t.nodes = append(t.nodes, n)
	t.size++
	return nil
}

// root returns the root of the tree so far.
func (t *edge) root() tlog.Hash {
	if t.size == 0 {
		h, _ := tlog.TreeHash(0, nil) // reads nothing
		return h
	}
	h := t.nodes[len(t.nodes)-1].hash
	for i := len(t.nodes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.nodes[i].hash, h)
	}
	return h
}
