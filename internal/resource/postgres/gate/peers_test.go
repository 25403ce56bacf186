//go:build !race

// Nothing of this package is concurrent, and under the race detector the oracle
// takes a minute to compile.

package gate

import (
	"os"
	"strings"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"
)

// The file has what PostgreSQL 15's own clients sent on a database with a table
// that they may read: psql with most of its \d commands, \copy and a cursor,
// pg_dump of the table, pgbench -S in three modes.
func TestWhatPeersSendPasses(t *testing.T) {
	raw, err := os.ReadFile("testdata/peers.json")
	if err != nil {
		t.Fatal(err)
	}
	var statements []string
	if err := json.Unmarshal(raw, &statements); err != nil {
		t.Fatal(err)
	}
	if len(statements) < 100 {
		t.Fatalf("%d statements", len(statements))
	}
	g := Gate{Allowed: Select, Timeout: time.Minute}
	for _, sql := range statements {
		got, refusal := g.Check([]byte(sql))
		want := sql
		if strings.HasPrefix(sql, "SET ") && strings.HasSuffix(sql, "_timeout = 0") && !strings.Contains(sql, "lock") {
			want = strings.TrimSuffix(sql, "0") + "DEFAULT"
		}
		if refusal != nil || string(got) != want {
			t.Errorf("%s\n%s %v", sql, got, refusal)
			continue
		}
		if problems, _, _ := differ(g, sql); len(problems) > 0 {
			t.Errorf("%s: %v", sql, problems)
		}
	}
}
