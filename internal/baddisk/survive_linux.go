package baddisk

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// image is what a disk holds when nobody uses it.
type image struct {
	dir     bool
	mode    uint32
	data    []byte
	entries map[string]*image
}

// node makes a node of it, all of it safe.
func (m *image) node(d *Disk, name string) *node {
	n := &node{disk: d, name: name, mode: m.mode, data: slices.Clone(m.data), safe: slices.Clone(m.data)}
	if m.dir {
		n.entries = map[string]*node{}
		for name, child := range m.entries {
			n.entries[name] = child.node(d, name)
		}
		n.safeEntries = maps.Clone(n.entries)
	}
	return n
}

// sector is what a disk writes whole, or not at all.
const sector = 512

// survive is what is left when the power goes. Of the names of a folder that
// were not synced a journal keeps those up to some point; of the writes to a
// file any sector may be there or not.
func (n *node) survive(rnd *rand.Rand) *image {
	m := &image{dir: n.entries != nil, mode: n.mode}
	if m.dir {
		entries := maps.Clone(n.safeEntries)
		for _, v := range n.moves[:rnd.IntN(len(n.moves)+1)] {
			v.on(entries)
		}
		m.entries = map[string]*image{}
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			m.entries[name] = entries[name].survive(rnd)
		}
		return m
	}
	b := slices.Clone(n.safe)
	switch rnd.IntN(4) {
	case 0: // nothing
	case 1: // all up to some point
		for _, c := range n.changes[:rnd.IntN(len(n.changes)+1)] {
			b = c.on(b)
		}
	default: // whatever came by
		for _, c := range n.changes {
			b = c.torn(b, rnd)
		}
	}
	m.data = b
	return m
}

// torn writes some of the sectors of c.
func (c change) torn(b []byte, rnd *rand.Rand) []byte {
	if c.data == nil {
		if rnd.IntN(2) == 0 {
			return c.on(b)
		}
		return b
	}
	for from := int64(0); from < int64(len(c.data)); {
		to := min(int64(len(c.data)), (c.at+from)/sector*sector+sector-c.at)
		if rnd.IntN(2) == 0 {
			b = change{at: c.at + from, data: c.data[from:to]}.on(b)
		}
		from = to
	}
	return b
}

func (n *node) total() (sum int64) {
	for _, child := range n.entries {
		sum += child.total()
	}
	return sum + int64(len(n.data))
}

// holds reports whether a file still has a name under n.
func (n *node) holds(file *node) bool {
	for _, child := range n.entries {
		if child == file || child.holds(file) {
			return true
		}
	}
	return false
}

func (n *node) list(b *strings.Builder, path string) {
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		child := n.entries[name]
		fmt.Fprintf(b, "%s %d\n", path+"/"+name, len(child.data))
		child.list(b, path+"/"+name)
	}
}
