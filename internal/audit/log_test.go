package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

var testTime = time.Date(2026, 11, 23, 14, 0, 0, 123e6, time.UTC)

const testOrigin = "daypass.test"

// seed is a reader of one byte for ever: keys in tests are the same each time.
type seed byte

func (s seed) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s)
	}
	return len(p), nil
}

type fatal interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newKey(t fatal, s seed) (note.Signer, string) {
	t.Helper()
	skey, vkey, err := NewSigner(testOrigin, s)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ParseSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, vkey
}

// memory is a log in memory, kept as a store would.
type memory struct {
	t      fatal
	signer note.Signer
	vkey   string
	head   Head
	rows   []Row
	hashes hashes
	leaves []Leaf
	heads  []Head // after each append
}

func newMemory(t fatal) *memory {
	m := &memory{t: t}
	m.signer, m.vkey = newKey(t, 1)
	return m
}

func (m *memory) append(entries ...*Entry) *Addition {
	m.t.Helper()
	a, err := Append(m.head, &m.hashes, entries)
	if err != nil {
		m.t.Fatalf("appending: %v", err)
	}
	for _, h := range a.Hashes {
		if h.Index != int64(len(m.hashes)) {
			m.t.Fatalf("stored hash %d, want %d", h.Index, len(m.hashes))
		}
		m.hashes = append(m.hashes, h.Hash)
	}
	for i, b := range a.Entries {
		m.rows = append(m.rows, Row{Seq: a.Leaf.First + int64(i), Leaf: a.Leaf, Bytes: b, LeafHash: a.EntryHashes[i]})
	}
	m.head = a.Head
	m.leaves = append(m.leaves, a.Leaf)
	m.heads = append(m.heads, a.Head)
	return a
}

// checkpoint signs the log as it is.
func (m *memory) checkpoint() []byte {
	m.t.Helper()
	root, err := Root(m.head, &m.hashes)
	if err != nil {
		m.t.Fatal(err)
	}
	b, err := SignCheckpoint(testOrigin, m.head, root, m.signer, testTime)
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

func (m *memory) open(b []byte) *Checkpoint {
	m.t.Helper()
	c, err := OpenCheckpoint(b, m.vkey)
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

// batchOf returns the stored bytes of one leaf's entries.
func (m *memory) batchOf(l Leaf) [][]byte {
	var out [][]byte
	for _, r := range m.rows[l.First-1 : l.First-1+int64(l.Count)] {
		out = append(out, r.Bytes)
	}
	return out
}

func (m *memory) rowsCopy() []Row {
	out := slices.Clone(m.rows)
	for i := range out {
		out[i].Bytes = bytes.Clone(out[i].Bytes)
	}
	return out
}

func verify(opts VerifierOptions, rows []Row, last ...[]byte) (Report, error) {
	v, err := NewVerifier(opts)
	if err != nil {
		return Report{}, err
	}
	for _, r := range rows {
		if err := v.Add(r); err != nil {
			return Report{}, err
		}
	}
	return v.Finish(last...)
}

func plain(n int) *Entry {
	return &Entry{
		ID: fmt.Sprintf("evt_%d", n), Time: testTime.Add(time.Duration(n) * time.Second), Type: AccessAllowed, Actor: "user:ana", Outcome: Allowed,
		Resource: "orders-api", Scope: json.RawMessage(`{"methods":["GET"]}`), Source: Source{IP: "192.0.2.1", Channel: "gateway:http"},
		Details: map[string]any{"path": fmt.Sprintf("/v1/orders/%d", n), "status": 200},
	}
}

// drawLog builds a log of a few leaves, some of them batches.
func drawLog(t *rapid.T, m *memory, leaves int) {
	for i := range leaves {
		n := rapid.SampledFrom([]int{1, 1, 1, 2, 3, 5}).Draw(t, "entries")
		var entries []*Entry
		for j := range n {
			entries = append(entries, plain(i*10+j))
		}
		m.append(entries...)
	}
}

func faultOf(t fatal, err error) *Fault {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a fault", err)
	}
	return f
}

// mth is RFC 6962 section 2.1 written down once more, knowing nothing of tlog.
func mth(leaves [][]byte) [32]byte {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		l, r := mth(leaves[:k]), mth(leaves[k:])
		return sha256.Sum256(slices.Concat([]byte{1}, l[:], r[:]))
	}
}

// leafData is what the tree's leaf of these entries hashes.
func leafData(first int64, entries [][]byte) []byte {
	if len(entries) == 1 {
		return entries[0]
	}
	root := mth(entries)
	return fmt.Appendf(nil, "daypass-batch v1\n%d\n%d\n%s\n", first, len(entries), base64.StdEncoding.EncodeToString(root[:]))
}

func (m *memory) oracle(leaves int) tlog.Hash {
	var data [][]byte
	for _, l := range m.leaves[:leaves] {
		data = append(data, leafData(l.First, m.batchOf(l)))
	}
	return mth(data)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
