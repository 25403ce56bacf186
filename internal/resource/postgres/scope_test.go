package pgkind

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"
)

// Attack: REQ-07, PG-05
func TestParseScope(t *testing.T) {
	for raw, want := range map[string]string{
		`{"tables":["public.orders","a.b","a.b"],"actions":["select","insert","select"]}`:                                                  `{"actions":["insert","select"],"tables":["a.b","public.orders"]}`,
		`{"actions":["select"],"schemas":["reporting"]}`:                                                                                   `{"actions":["select"],"schemas":["reporting"]}`,
		`{"actions":["execute"],"functions":["public.f( int4 ,double  precision)"]}`:                                                       `{"actions":["execute"],"functions":["public.f(int4, double precision)"]}`,
		`{"actions":["select"],"tables":["public.Orders"],"columns":{"public.Orders":["b","a"]}}`:                                          `{"actions":["select"],"columns":{"public.Orders":["a","b"]},"tables":["public.Orders"]}`,
		`{"rows":{"a.b":{"region":"eu","template":"by-region","n":7,"on":true}},"tables":["a.b"],"actions":["select"]}`:                    `{"actions":["select"],"rows":{"a.b":{"n":"7","on":"true","region":"eu","template":"by-region"}},"tables":["a.b"]}`,
		`{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":"O'Brien \\ \"q\" <é>"}}}`:                               `{"actions":["select"],"rows":{"a.b":{"template":"t","x":"O'Brien \\ \"q\" <é>"}},"tables":["a.b"]}`,
		`{"actions":["select"],"tables":["p.o"],"max_rows":10,"max_bytes":9007199254740991,"statement_timeout":"90s","database":"orders"}`: `{"actions":["select"],"database":"orders","max_bytes":9007199254740991,"max_rows":10,"statement_timeout":"1m30s","tables":["p.o"]}`,
	} {
		s, err := parseScope([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := string(s.JSON()); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
		if canonical, err := jcs.Transform(s.JSON()); err != nil || string(canonical) != string(s.JSON()) {
			t.Errorf("%s is not RFC 8785: %s %v", s.JSON(), canonical, err)
		}
		if again, err := parseScope(s.JSON()); err != nil || string(again.JSON()) != want {
			t.Errorf("%s does not read back: %v", want, err)
		}
	}
	for _, raw := range []string{
		``, `null`, `[]`, `"x"`, `{}`, `{"actions":["select"]}`, `{"tables":["a.b"]}`, `{"actions":[],"tables":["a.b"]}`, `{"actions":["select"],"tables":[]}`,
		`{"actions":["SELECT"],"tables":["a.b"]}`, `{"actions":["truncate"],"tables":["a.b"]}`, `{"actions":["*"],"tables":["a.b"]}`, `{"actions":["select","execute"],"tables":["a.b"]}`,
		`{"actions":["select"],"tables":["orders"]}`, `{"actions":["select"],"tables":["public.*"]}`, `{"actions":["select"],"tables":["a.b.c"]}`, `{"actions":["select"],"tables":["a.b "]}`,
		`{"actions":["select"],"tables":["a.\"b\""]}`, `{"actions":["select"],"tables":["a.b\u0000"]}`, `{"actions":["select"],"tables":["a.b;drop"]}`, `{"actions":["select"],"tables":["a.` + strings.Repeat("b", 64) + `"]}`,
		`{"actions":["select"],"tables":["a.é"]}`, `{"actions":["select"],"tables":["pg_catalog.pg_authid"]}`, `{"actions":["select"],"tables":["information_schema.tables"]}`, `{"actions":["select"],"schemas":["pg_toast"]}`,
		`{"actions":["select"],"tables":["a.b"],"schemas":["a"]}`, `{"actions":["select"],"tables":["a.b"],"columns":{"a.c":["x"]}}`, `{"actions":["select"],"tables":["a.b"],"columns":{"a.b":[]}}`,
		`{"actions":["select","delete"],"tables":["a.b"],"columns":{"a.b":["x"]}}`, `{"actions":["select"],"tables":["a.b"],"columns":{"a.b":["x y"]}}`,
		`{"actions":["execute"],"functions":["a.f"]}`, `{"actions":["execute"],"functions":["f()"]}`, `{"actions":["execute"],"functions":["a.f(int);x()"]}`, `{"actions":["execute"],"functions":["a.f(int','x)"]}`, `{"actions":["execute"]}`,
		`{"actions":["select"],"tables":["a.b"],"functions":["a.f()"]}`, `{"actions":["select"],"tables":["a.b"],"max_rows":0}`, `{"actions":["select"],"tables":["a.b"],"max_rows":-1}`, `{"actions":["select"],"tables":["a.b"],"max_rows":1.5}`,
		`{"actions":["select"],"tables":["a.b"],"max_bytes":"10"}`, `{"actions":["select"],"tables":["a.b"],"statement_timeout":"500ms"}`, `{"actions":["select"],"tables":["a.b"],"statement_timeout":"0s"}`,
		`{"actions":["select"],"tables":["a.b"],"database":"x=y host=evil"}`, `{"actions":["select"],"tables":["a.b"],"rows":{}}`, `{"actions":["select"],"tables":["a.b"],"x":1}`, `{"actions":["select"],"Tables":["a.b"]}`,
		`{"actions":["select"],"tables":["a.b"],"rows":{"a.c":{"template":"t"}}}`, `{"actions":["insert","select"],"tables":["a.b"],"rows":{"a.b":{"template":"t"}}}`, `{"actions":["select"],"schemas":["a"],"rows":{"a.b":{"template":"t"}}}`,
		`{"actions":["execute","select"],"functions":["a.f()"],"tables":["a.b"],"rows":{"a.b":{"template":"t"}}}`, `{"actions":["select"],"tables":["a.b","c.b"],"rows":{"a.b":{"template":"t"},"c.b":{"template":"t"}}}`,
		`{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{}}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"where":"true"}}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":"t"}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"T t"}}}`,
		`{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":1.5}}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":null}}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":["a"]}}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":1e3}}}`,
		`{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":"a\u0000"}}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":"a\u202eb"}}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":"a\nb"}}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":"a\u200bb"}}}`,
		`{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":"` + strings.Repeat("a", 257) + `"}}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","X":"a"}}}`, `{"actions":["select"],"tables":["a.b"],"rows":{"a.b":{"template":"t","x":"a","x":"b"}}}`,
		`{"actions":["select"],"actions":["insert"],"tables":["a.b"]}`, `{"actions":["select"],"tables":["a.b"]} x`, `{"actions":["select"],"tables":[null]}`,
	} {
		if s, err := parseScope([]byte(raw)); err == nil {
			t.Errorf("%.80s was taken as %s", raw, s.JSON())
		}
	}
}

// operation is one thing that a scope may allow: an action on a column of a
// row of a table, or a function. Limits are seen by what stays below them. A row is
// known by the one filter that shows it; "" is shown by none.
type operation struct {
	action, on, column, database string
	rows, seconds                int64
	row                          string
}

// allows is what a scope means, by its definition.
func (f Fields) allows(o operation) bool {
	below := func(n, limit int64) bool { return limit == 0 || n <= limit }
	if !slices.Contains(f.Actions, o.action) || f.Database != "" && f.Database != o.database || !below(o.rows, f.MaxRows) || !below(o.seconds, int64(f.StatementTimeout.Seconds())) {
		return false
	}
	if o.action == execute {
		return slices.Contains(f.Functions, o.on)
	}
	schema, _, _ := strings.Cut(o.on, ".")
	if slices.Contains(f.Schemas, schema) {
		return true
	}
	if filter := f.Rows[o.on]; filter != nil && valuesText(filter) != o.row {
		return false
	}
	columns, some := f.Columns[o.on]
	return slices.Contains(f.Tables, o.on) && (!some || slices.Contains(columns, o.column))
}

var operations = func() []operation {
	var all []operation
	for _, database := range []string{"d", "e"} {
		for _, rows := range []int64{1, 2, 3} {
			for _, seconds := range []int64{1, 2, 3} {
				for _, f := range []string{"a.f()", "a.g()"} {
					all = append(all, operation{execute, f, "", database, rows, seconds, ""})
				}
				for _, action := range []string{"select", "insert", "update"} {
					for _, table := range []string{"a.x", "a.y", "a.unnamed", "b.x", "b.unnamed"} {
						for _, column := range []string{"p", "q", "unnamed"} {
							for _, row := range []string{"", `t (r "eu")`, `t (r "us")`, "u"} {
								all = append(all, operation{action, table, column, database, rows, seconds, row})
							}
						}
					}
				}
			}
		}
	}
	return all
}()

var drawnFilters = []map[string]value{nil, {"template": "t", "r": "eu"}, {"template": "t", "r": "us"}, {"template": "u"}}

var drawScope = rapid.Custom(func(t *rapid.T) *Scope {
	some := func(name string, of ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, len(of), rapid.ID[string]).Draw(t, name)
	}
	limit := func(name string) *int64 {
		if n := rapid.Int64Range(0, 2).Draw(t, name); n > 0 {
			return &n
		}
		return nil
	}
	g := given{
		Actions: some("actions", "select", "insert", "update"), Schemas: some("schemas", "a", "b"),
		Database: rapid.SampledFrom([]string{"", "", "d"}).Draw(t, "database"), MaxRows: limit("rows"),
		StatementTimeout: rapid.SampledFrom([]string{"", "1s", "2s"}).Draw(t, "timeout"), Columns: map[string][]string{},
	}
	if len(g.Actions) == 0 {
		g.Actions, g.Schemas = []string{"select"}, []string{"b"}
	}
	filtered := rapid.Bool().Draw(t, "filtered")
	if filtered {
		g.Actions, g.Rows = []string{"select"}, map[string]map[string]value{}
	}
	for _, table := range some("tables", "a.x", "a.y", "b.x") {
		if !slices.Contains(g.Schemas, table[:1]) {
			g.Tables = append(g.Tables, table)
			if columns := some("columns", "p", "q"); len(columns) > 0 {
				g.Columns[table] = columns
			}
			if filter := rapid.SampledFrom(drawnFilters).Draw(t, "filter"); filtered && filter != nil && (table != "b.x" || g.Rows["a.x"] == nil) && (table != "a.x" || g.Rows["b.x"] == nil) {
				g.Rows[table] = filter
			}
		}
	}
	if len(g.Rows) == 0 {
		g.Rows = nil
	}
	if len(g.Tables)+len(g.Schemas) == 0 {
		g.Tables = []string{"a.x"}
	}
	if g.Functions = some("functions", "a.f()", "a.g()"); g.Rows != nil {
		g.Functions = nil
	}
	if len(g.Functions) > 0 {
		g.Actions = append(g.Actions, execute)
	}
	s, err := newScope(g)
	if err != nil {
		t.Fatalf("%+v: %v", g, err)
	}
	return s
})

// Attack: REQ-07
func TestCoversIsInclusion(t *testing.T) {
	yes, no := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		wide, narrow := drawScope.Draw(t, "wide"), drawScope.Draw(t, "narrow")
		if rapid.Bool().Draw(t, "close") { // else almost nothing covers anything
			f := narrow.fields
			f.MaxRows, f.StatementTimeout, f.Columns = wide.fields.MaxRows, wide.fields.StatementTimeout, map[string][]string{}
			f.Rows = maps.Clone(f.Rows)
			for _, table := range f.Tables {
				switch how := rapid.SampledFrom([]string{"same", "none", "other"}).Draw(t, "rows"); {
				case how == "none":
					delete(f.Rows, table)
				case how == "other" && slices.Equal(f.Actions, []string{"select"}):
					f.Rows[table] = map[string]string{"template": "t", "r": "us"}
				}
				if columns := rapid.SampledFrom([][]string{nil, {"p"}, {"q"}, {"p", "q"}}).Draw(t, "columns"); columns != nil {
					f.Columns[table] = columns
				}
			}
			if rapid.Bool().Draw(t, "schema") {
				f.Tables, f.Columns, f.Rows, f.Schemas = nil, nil, nil, []string{"a", "b"}
			}
			wide = &Scope{fields: f}
		}
		included := true
		for _, o := range operations {
			included = included && (!narrow.fields.allows(o) || wide.fields.allows(o))
		}
		// A table that a scope names with all of the drawn columns reaches one
		// more than these, which is among the operations as "unnamed".
		if got := wide.Covers(narrow); got != included {
			t.Fatalf("%s covers %s: %v, want %v", wide, narrow, got, included)
		}
		if included {
			yes++
		} else {
			no++
		}
	})
	if yes == 0 || no == 0 {
		t.Errorf("%d cover and %d do not: nothing was looked at", yes, no)
	}
}

func TestCoversIsAPartialOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawScope.Draw(t, "a"), drawScope.Draw(t, "b"), drawScope.Draw(t, "c")
		if !a.Covers(a) {
			t.Fatalf("%s does not cover itself", a.JSON())
		}
		if a.Covers(b) && b.Covers(a) && string(a.JSON()) != string(b.JSON()) {
			t.Fatalf("%s and %s cover each other", a.JSON(), b.JSON())
		}
		if a.Covers(b) && b.Covers(c) && !a.Covers(c) {
			t.Fatalf("%s, %s, %s", a.JSON(), b.JSON(), c.JSON())
		}
		if again, err := parseScope(a.JSON()); err != nil || string(again.JSON()) != string(a.JSON()) {
			t.Fatalf("%s does not read back: %v", a.JSON(), err)
		}
	})
}

func FuzzParseScope(f *testing.F) {
	f.Add([]byte(`{"actions":["select"],"tables":["public.orders"],"columns":{"public.orders":["id"]},"max_rows":10,"statement_timeout":"30s"}`))
	f.Add([]byte(`{"actions":["select"],"tables":["public.orders"],"rows":{"public.orders":{"template":"by-region","region":"O'Brien","n":7}}}`))
	f.Add([]byte(`{"actions":["execute"],"functions":["public.f(int4, double precision)"],"database":"d"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseScope(raw)
		if err != nil {
			return
		}
		again, err := parseScope(s.JSON())
		if err != nil || string(again.JSON()) != string(s.JSON()) || !s.Covers(again) || !again.Covers(s) {
			t.Errorf("%q became %s, which does not read back: %v", raw, s.JSON(), err)
		}
		if canonical, err := jcs.Transform(s.JSON()); err != nil || string(canonical) != string(s.JSON()) {
			t.Errorf("%s is not RFC 8785", s.JSON())
		}
	})
}
