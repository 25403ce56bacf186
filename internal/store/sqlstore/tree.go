package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// tree is the end of the log as the writer knows it. Copies share edge, which
// is therefore never changed in place: to go back is to assign.
type tree struct {
	head audit.Head
	// edge holds the roots of the complete subtrees, the largest first: all
	// that an append and a root need of the stored hashes.
	edge []tlog.Hash
}

// loadTree reads the end of the log and checks that the log ends where its
// head says.
func loadTree(ctx context.Context, q *db.Queries) (tree, error) {
	fail := func(err error) (tree, error) {
		return tree{}, fmt.Errorf("reading the end of the audit log: %w", err)
	}
	var t tree
	head, err := q.Head(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fail(err)
	}
	t.head = audit.Head{Seq: head.Seq, Leaves: head.Leaves}
	seq, err := q.LastEntry(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fail(err)
	}
	switch last, err := q.LastPack(ctx); {
	case err == nil:
		seq = max(seq, last.FirstSeq+last.Count-1)
	case !errors.Is(err, sql.ErrNoRows):
		return fail(err)
	}
	leaves := int64(0)
	switch idx, err := q.LastLeaf(ctx); {
	case err == nil:
		leaves = idx + 1
	case !errors.Is(err, sql.ErrNoRows):
		return fail(err)
	}
	if found := (audit.Head{Seq: seq, Leaves: leaves}); found != t.head {
		return fail(fmt.Errorf("the head says %d entries in %d leaves, there are %d in %d", t.head.Seq, t.head.Leaves, seq, leaves))
	}
	n := t.head.Leaves
	indexes := make([]int64, 0, bits.OnesCount64(uint64(n)))
	for level := bits.Len64(uint64(n)) - 1; level >= 0; level-- {
		if n>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, n>>level-1))
		}
	}
	if t.edge, err = (hashReader{ctx, q}).ReadHashes(indexes); err != nil {
		return fail(err)
	}
	return t, nil
}

// ReadHashes implements tlog.HashReader for the hashes of the edge.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		level, k := tlog.SplitStoredHashIndex(x)
		n := t.head.Leaves
		if n>>level&1 == 0 || k != n>>level-1 {
			return nil, fmt.Errorf("hash %d is not on the edge of a tree of %d leaves", x, n)
		}
		out[i] = t.edge[bits.OnesCount64(uint64(n>>level>>1))]
	}
	return out, nil
}

// grow takes over what an append added: its last hash is the root of all the
// complete subtrees that the new leaf completed.
func (t *tree) grow(head audit.Head, hashes []audit.IndexedHash) {
	keep := len(t.edge) - (len(hashes) - 1)
	t.edge = append(slices.Clone(t.edge[:keep]), hashes[len(hashes)-1].Hash)
	t.head = head
}

func (t *tree) root() (tlog.Hash, error) { return audit.Root(t.head, t) }

// hashReader reads stored hashes from the database.
type hashReader struct {
	ctx context.Context
	q   *db.Queries
}

// ReadHashes implements tlog.HashReader.
func (r hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		h, err := r.q.Hash(r.ctx, x)
		if err == nil && len(h) != tlog.HashSize {
			err = fmt.Errorf("it has %d bytes", len(h))
		}
		if err != nil {
			return nil, fmt.Errorf("reading hash %d of the audit tree: %w", x, err)
		}
		copy(out[i][:], h)
	}
	return out, nil
}
