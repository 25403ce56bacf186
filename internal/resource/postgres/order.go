package pgkind

import (
	"maps"
	"slices"
	"strings"

	"github.com/daypass/daypass/internal/policy"
)

// Covers implements policy.Scope: whatever other allows, on each table, column
// and row, s allows too, and no limit of other is wider. Of two row filters it
// is known only whether they are the same.
func (s *Scope) Covers(other policy.Scope) bool {
	o, ok := other.(*Scope)
	if !ok || o == nil {
		return false
	}
	wide, narrow := &s.fields, &o.fields
	return within(narrow.Actions, wide.Actions) && within(narrow.Functions, wide.Functions) &&
		within(narrow.Schemas, wide.Schemas) && wide.coversTables(narrow) &&
		(wide.Database == "" || wide.Database == narrow.Database) &&
		atMost(narrow.MaxRows, wide.MaxRows) && atMost(narrow.MaxBytes, wide.MaxBytes) &&
		atMost(int64(narrow.StatementTimeout), int64(wide.StatementTimeout))
}

func (f *Fields) coversTables(narrow *Fields) bool {
	for _, t := range narrow.Tables {
		schema, _, _ := strings.Cut(t, ".")
		if slices.Contains(f.Schemas, schema) {
			continue
		}
		if !slices.Contains(f.Tables, t) {
			return false
		}
		if rows, filtered := f.Rows[t]; filtered && !maps.Equal(rows, narrow.Rows[t]) {
			return false
		}
		columns, limited := f.Columns[t]
		if !limited {
			continue
		}
		asked, some := narrow.Columns[t]
		if !some || !within(asked, columns) {
			return false
		}
	}
	return true
}

// within reports whether all of a is in b.
func within(a, b []string) bool {
	return !slices.ContainsFunc(a, func(one string) bool { return !slices.Contains(b, one) })
}

// atMost compares limits, of which 0 is none.
func atMost(narrow, wide int64) bool { return wide == 0 || narrow != 0 && narrow <= wide }
