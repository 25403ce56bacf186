// Package pack writes a batch of audit entries as one value: their bytes,
// compressed together, and what each is found by. Entries of one minute are
// alike, so that a tenth of their size is left.
//
// It refuses to look into an entry, whose bytes come back as they went in, and
// to read what it did not write.
package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
)

// Bounds of a batch. Beyond them there is no value.
const (
	MaxEntries = 1024
	MaxBytes   = 64 << 20 // of all entries together, and as much of their columns

	format = 1 // the first byte of a value
)

// Columns are what an entry is found by. Principal is whose access it is about,
// which its bytes do not say.
type Columns struct {
	Type, Actor, OnBehalfOf, Principal, Request, Resource string
}

func (c *Columns) fields() [6]*string {
	return [6]*string{&c.Type, &c.Actor, &c.OnBehalfOf, &c.Principal, &c.Request, &c.Resource}
}

// Entry is one entry. Those that Read returns share their Columns.
type Entry struct {
	*Columns
	Bytes []byte
}

// Write returns entries as one value; false when they are beyond the bounds, or
// none.
//
// The value is the format and, compressed by S2: the number of different
// columns, each six texts; the number of entries, and of each which columns it
// has and how long it is; the bytes of all. Numbers are varints, a text has its
// length before it.
func Write(entries []Entry) ([]byte, bool) {
	if len(entries) == 0 || len(entries) > MaxEntries {
		return nil, false
	}
	number := make(map[Columns]uint64)
	var order []*Columns
	size, text := 0, 0
	of := make([]uint64, len(entries))
	for i, e := range entries {
		size += len(e.Bytes)
		if i > 0 && e.Columns == entries[i-1].Columns {
			of[i] = of[i-1]
			continue
		}
		n, ok := number[*e.Columns]
		if !ok {
			n = uint64(len(order))
			number[*e.Columns] = n
			order = append(order, e.Columns)
			for _, f := range e.fields() {
				text += len(*f)
			}
		}
		of[i] = n
	}
	if size > MaxBytes || text > MaxBytes {
		return nil, false
	}
	at, _ := scratches.Get().(*scratch) // there is nothing else in it
	b := slices.Grow(at.plain[:0], size+text+binary.MaxVarintLen32*(2+6*len(order)+2*len(entries)))
	b = binary.AppendUvarint(b, uint64(len(order)))
	for _, c := range order {
		for _, f := range c.fields() {
			b = append(binary.AppendUvarint(b, uint64(len(*f))), *f...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for i, e := range entries {
		b = binary.AppendUvarint(binary.AppendUvarint(b, of[i]), uint64(len(e.Bytes)))
	}
	for _, e := range entries {
		b = append(b, e.Bytes...)
	}
	most := s2.MaxEncodedLen(len(b))
	packed := slices.Grow(at.packed[:0], most)[:most]
	value := append([]byte{format}, s2.Encode(packed, b)...)
	if at.plain, at.packed = b, packed; cap(b) <= scratchKept {
		scratches.Put(at)
	}
	return value, true
}

// scratch is what Write works in. It is many times as long as what comes
// of it, twenty times a second.
type scratch struct{ plain, packed []byte }

const scratchKept = 4 << 20

var scratches = sync.Pool{New: func() any { return new(scratch) }}

var errNotWritten = errors.New("not a batch of entries as it was written")

// Read returns the entries of a value.
func Read(value []byte) ([]Entry, error) {
	if len(value) == 0 || value[0] != format {
		return nil, fmt.Errorf("%w: its format is unknown", errNotWritten)
	}
	size, err := s2.DecodedLen(value[1:])
	if err != nil || size > 3*MaxBytes {
		return nil, fmt.Errorf("%w: it has no length that it could have", errNotWritten)
	}
	b, err := s2.Decode(nil, value[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotWritten, err)
	}
	r := reader{b: b}
	columns := make([]Columns, r.number(MaxEntries))
	for i := range columns {
		for _, f := range columns[i].fields() {
			*f = string(r.take(r.number(MaxBytes)))
		}
	}
	entries := make([]Entry, r.number(MaxEntries))
	lengths := make([]int, len(entries))
	for i := range entries {
		if n := r.number(len(columns) - 1); !r.bad {
			entries[i].Columns = &columns[n]
		}
		lengths[i] = r.number(MaxBytes)
	}
	for i := range entries {
		entries[i].Bytes = r.take(lengths[i])
	}
	if r.bad || len(r.b) > 0 || len(entries) == 0 {
		return nil, errNotWritten
	}
	return entries, nil
}

// reader takes a value apart; once it is bad all that it returns is nothing.
type reader struct {
	b   []byte
	bad bool
}

// number reads one of at most highest.
func (r *reader) number(highest int) int {
	n, length := binary.Uvarint(r.b)
	if r.bad || length <= 0 || highest < 0 || n > uint64(highest) {
		r.bad = true
		return 0
	}
	r.b = r.b[length:]
	return int(n)
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}
