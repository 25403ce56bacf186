//go:build !race

// Nothing of this package is concurrent, and under the race detector the oracle
// takes a minute to compile.

package gate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	json "github.com/go-json-experiment/json"
	"github.com/wasilibs/go-pgquery/parser"
)

// The oracle is PostgreSQL's own grammar (libpg_query, of version 17). What it
// understands of a text that passed must be what a grant allows.

type object = map[string]any

// audit reports what in a tree a grant does not allow. It is written from the
// grammar's side and shares nothing with the gate but the list of settings.
type audit struct {
	gate     Gate
	problems []string
}

func (a *audit) problem(format string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

func (a *audit) need(action Actions, what string) {
	if a.gate.Allowed&action == 0 {
		a.problem("%s with %q", what, a.gate.Allowed)
	}
}

func (a *audit) walk(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			a.walk(e)
		}
	case object:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if node, ok := v[name].(object); ok {
				a.node(name, node)
			}
			a.walk(v[name])
		}
	}
}

// harmless are statements of which nothing within is looked at but what is nested.
var harmless = []string{
	"SelectStmt", "selectStmt", "VariableShowStmt", "FetchStmt", "ClosePortalStmt", "ExplainStmt", "PrepareStmt",
	"ExecuteStmt", "DeallocateStmt", "DiscardStmt", "UnlistenStmt", "ConstraintsSetStmt",
}

func (a *audit) node(name string, n object) {
	switch name {
	case "InsertStmt":
		a.need(Insert, name)
	case "UpdateStmt":
		a.need(Update, name)
	case "DeleteStmt":
		a.need(Delete, name)
	case "MergeStmt", "stmt", "rawStmt":
	case "CallStmt":
		a.need(Execute, name)
	case "intoClause":
		a.problem("SELECT INTO")
	case "onConflictClause":
		if n["action"] == "ONCONFLICT_UPDATE" {
			a.need(Update, name)
		}
	case "MergeWhenClause":
		action, ok := map[any]Actions{"CMD_INSERT": Insert, "CMD_UPDATE": Update, "CMD_DELETE": Delete, "CMD_NOTHING": everything}[n["commandType"]]
		if !ok {
			a.problem("%v", n)
		}
		a.need(action, name)
	case "CopyStmt":
		a.copy(n)
	case "LockStmt":
		if a.need(Select, name); n["mode"] != 1.0 {
			a.problem("LOCK in mode %v", n["mode"])
		}
	case "DeclareCursorStmt":
		if options, _ := n["options"].(float64); int(options)&0x20 != 0 {
			a.problem("WITH HOLD")
		}
	case "TransactionStmt":
		switch kind := strings.TrimPrefix(fmt.Sprint(n["kind"]), "TRANS_STMT_"); kind {
		case "BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "ROLLBACK_TO":
			a.modes(n["options"])
		default:
			a.problem("%s", kind)
		}
	case "VariableSetStmt":
		a.set(n)
	default:
		if (strings.HasSuffix(name, "Stmt") || strings.HasSuffix(name, "stmt")) && !slices.Contains(harmless, name) {
			a.problem("%s", name)
		}
	}
}

func (a *audit) copy(n object) {
	if n["filename"] != nil || n["is_program"] == true {
		a.problem("COPY with %v", n["filename"])
	}
	switch {
	case n["query"] != nil:
	case n["is_from"] == true:
		a.need(Insert, "COPY FROM")
	default:
		a.need(Select, "COPY TO")
	}
}

// constant is the text of a value in a tree.
func constant(v any) string {
	o, _ := v.(object)
	c, _ := o["A_Const"].(object)
	for _, name := range []string{"sval", "ival", "fval", "boolval"} {
		if inner, ok := c[name].(object); ok {
			if value := inner[name]; value != nil {
				return strings.ToLower(fmt.Sprint(value))
			}
			return map[string]string{"sval": "", "ival": "0", "fval": "0", "boolval": "false"}[name]
		}
	}
	return "not a constant"
}

func (a *audit) modes(options any) {
	list, _ := options.([]any)
	for _, o := range list {
		def, _ := o.(object)["DefElem"].(object)
		switch def["defname"] {
		case "transaction_read_only":
			if constant(def["arg"]) == "0" {
				a.need(writes, "READ WRITE")
			}
		case "transaction_isolation", "transaction_deferrable":
		default:
			a.problem("mode %v", def["defname"])
		}
	}
}

func (a *audit) set(n object) {
	name := strings.ToLower(fmt.Sprint(n["name"]))
	args, _ := n["args"].([]any)
	switch n["kind"] {
	case "VAR_RESET_ALL":
		return
	case "VAR_SET_MULTI":
		if name != "transaction" && name != "session characteristics" {
			a.problem("SET %s", name)
		}
		a.modes(n["args"])
		return
	case "VAR_SET_DEFAULT", "VAR_RESET":
		if _, ok := ranks[name]; !ok {
			a.problem("RESET %s", name)
		}
		return
	case "VAR_SET_VALUE":
	default:
		a.problem("%v", n["kind"])
	}
	value := "many"
	if len(args) == 1 {
		value = constant(args[0])
	}
	on := value == "on" || value == "true" || value == "yes" || value == "1"
	switch ranks[name] {
	case refused:
		a.problem("SET %s", name)
	case utf8Only:
		if value != "utf8" && value != "utf-8" && value != "unicode" {
			a.problem("encoding %s", value)
		}
	case onOnly:
		if !on {
			a.problem("%s = %s", name, value)
		}
	case readOnly:
		if !on {
			a.need(writes, name)
		}
	case own:
		a.problem("%s = %s", name, value)
	case limit:
		if d, ok := duration(value); !ok || d == 0 || d > a.gate.Timeout || name != "statement_timeout" {
			a.problem("%s = %s", name, value)
		}
	}
}

// differ says what PostgreSQL would do with a text that passed and a grant does
// not allow; parsed reports whether it would do anything.
func differ(g Gate, sql string) (problems []string, passed, parsed bool) {
	forward, refusal := g.Check([]byte(sql))
	if refusal != nil {
		return nil, false, false
	}
	tree, err := parser.ParseToJSON(string(forward))
	if err != nil {
		return nil, true, false
	}
	var root any
	if err := json.Unmarshal([]byte(tree), &root); err != nil {
		return []string{"the tree: " + err.Error()}, true, true
	}
	a := audit{gate: g}
	a.walk(root)
	return a.problems, true, true
}

var oracle = Gate{Timeout: time.Minute}

// Invariant: A25, A28, A29
// Attack: PG-06, PG-07
func TestPostgresSeesWhatTheGateSaw(t *testing.T) {
	parsed := 0
	for _, c := range passes {
		oracle.Allowed = c.allowed
		problems, passed, ok := differ(oracle, c.sql)
		if !passed || !ok || len(problems) > 0 {
			t.Errorf("%s: passed %v, parsed %v: %v", c.sql, passed, ok, problems)
		}
		parsed++
	}
	// And the oracle would notice: what is refused for want of an action is a
	// problem to it, too.
	noticed := 0
	for _, c := range refusals {
		tree, err := parser.ParseToJSON(c.sql)
		if err != nil || !utf8.ValidString(c.sql) {
			continue // a mistake, or a trap that holds no longer
		}
		var root any
		if err := json.Unmarshal([]byte(tree), &root); err != nil {
			t.Fatal(err)
		}
		a := audit{gate: Gate{Allowed: everything &^ c.without, Timeout: time.Minute}}
		a.walk(root)
		if len(a.problems) > 0 {
			noticed++
		} else {
			t.Logf("over-blocked: %q", c.sql)
		}
	}
	if parsed == 0 || noticed < 90 {
		t.Errorf("%d texts passed and were parsed, the oracle noticed %d of %d refusals", parsed, noticed, len(refusals))
	}
}

// prime compiles the oracle. It takes seconds, and Go ends a fuzz worker that
// spends ten on one input.
func prime(f *testing.F) {
	f.Helper()
	if _, err := parser.ParseToJSON("select 1"); err != nil {
		f.Fatal(err)
	}
}

func FuzzGate(f *testing.F) {
	for _, c := range passes {
		f.Add(c.sql, uint8(c.allowed))
	}
	for _, c := range refusals {
		f.Add(c.sql, uint8(everything&^c.without))
	}
	prime(f)
	f.Fuzz(func(t *testing.T, sql string, allowed uint8) {
		g := Gate{Allowed: Actions(allowed) & everything, Timeout: time.Minute}
		if problems, _, _ := differ(g, sql); len(problems) > 0 {
			t.Fatalf("%q passed: %v", sql, problems)
		}
	})
}
