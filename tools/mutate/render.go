package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"sort"
)

// edit is text that is put in at a place, or put instead of some bytes.
type edit struct {
	at, remove int
	text       string
	closing    bool
	order      int
}

// wrap puts text around n. open has a verb for the number of the mutant.
func (w *walker) wrap(n ast.Node, open string, id int, closing string) {
	w.put(n, fmt.Sprintf(open, id), closing)
}

// wrapText is wrap for an opening that may hold anything.
func (w *walker) wrapText(n ast.Node, before string, id int, after, closing string) {
	w.put(n, before+fmt.Sprint(id)+after, closing)
}

func (w *walker) put(n ast.Node, open, closing string) {
	s := w.s
	s.edits = append(s.edits,
		edit{at: w.offset(n.Pos()), text: open, order: len(s.edits)},
		edit{at: w.offset(n.End()), text: closing, closing: true, order: len(s.edits) + 1})
}

// operator makes a call of helper out of a binary expression.
func (w *walker) operator(b *ast.BinaryExpr, helper string, id int) {
	w.put(b, fmt.Sprintf("%s(%d, ", helper, id), ")")
	w.s.edits = append(w.s.edits, edit{at: w.offset(b.OpPos), remove: len(b.Op.String()), text: ",", order: len(w.s.edits)})
}

// render returns the file with all its edits. What encloses was put before
// what it encloses: it opens first and closes last.
func (s *source) render() []byte {
	sort.Slice(s.edits, func(i, j int) bool {
		a, b := s.edits[i], s.edits[j]
		switch {
		case a.at != b.at:
			return a.at < b.at
		case a.closing != b.closing:
			return a.closing
		case a.closing:
			return a.order > b.order
		}
		return a.order < b.order
	})
	var out bytes.Buffer
	at := 0
	for _, e := range s.edits {
		out.Write(s.text[at:e.at])
		out.WriteString(e.text)
		at = e.at + e.remove
	}
	out.Write(s.text[at:])
	return out.Bytes()
}

// switchboard is the file that is added to the package.
const switchboard = `package %s

import (
	"cmp"
	"os"
	"strconv"
	"sync/atomic"
)

var (
	mutantChosen_, _ = strconv.Atoi(os.Getenv("DAYPASS_MUTANT"))
	mutantHits_      = os.Getenv("DAYPASS_MUTANT_HITS")
	mutantCounted_   = mutantHits_ != ""
	mutantHit_       [%d]atomic.Bool
)

// mutant_ reports whether this mutant is the one that was chosen. It is small
// enough to be inlined: some are asked for each byte of a long text.
func mutant_(id int) bool {
	if mutantCounted_ {
		mutantReached_(id)
	}
	return id == mutantChosen_
}

func mutantReached_(id int) {
	if !mutantHit_[id].Swap(true) {
		f, err := os.OpenFile(mutantHits_, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			panic(err)
		}
		_, _ = f.WriteString(strconv.Itoa(id) + "\n")
		_ = f.Close()
	}
}

type mutantInteger_ interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

type mutantReal_ interface {
	mutantInteger_ | ~float32 | ~float64
}

func mutantZero_[T any](id int, v T) (zero T) {
	if mutant_(id) {
		return zero
	}
	return v
}

func mutantNumber_[T mutantReal_](id int, more, v T) T {
	if mutant_(id) {
		return v + more
	}
	return v
}

func mutantLssLeq_[T cmp.Ordered](id int, a, b T) bool { return a < b || mutant_(id) && a == b }
func mutantLeqLss_[T cmp.Ordered](id int, a, b T) bool { return a < b || !mutant_(id) && a == b }
func mutantGtrGeq_[T cmp.Ordered](id int, a, b T) bool { return a > b || mutant_(id) && a == b }
func mutantGeqGtr_[T cmp.Ordered](id int, a, b T) bool { return a > b || !mutant_(id) && a == b }

func mutantAdd_[T mutantReal_](id int, a, b T) T {
	if mutant_(id) {
		return a + b
	}
	return a - b
}

func mutantSub_[T mutantReal_](id int, a, b T) T {
	if mutant_(id) {
		return a - b
	}
	return a + b
}

func mutantMul_[T mutantReal_](id int, a, b T) T {
	if mutant_(id) {
		return a * b
	}
	return a / b
}

func mutantQuo_[T mutantReal_](id int, a, b T) T {
	if mutant_(id) {
		return a / b
	}
	return a * b
}

func mutantMulForRem_[T mutantInteger_](id int, a, b T) T {
	if mutant_(id) {
		return a * b
	}
	return a %% b
}

func mutantOr_[T mutantInteger_](id int, a, b T) T {
	if mutant_(id) {
		return a | b
	}
	return a & b
}

func mutantAnd_[T mutantInteger_](id int, a, b T) T {
	if mutant_(id) {
		return a & b
	}
	return a | b
}
`
