package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/scratchpg"
)

// told is the story with and without a database; both must go as they should.
func told(t *testing.T, o Options) string {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := Story(ctx, &out, false, o); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, part := range []string{"✗ 401", "✓ 200", "✗ 403", "after the end of the grant", "Approved by user:bo, user:cy", "the stream was cut", "gapless; all covered by a signed checkpoint", "actor differs"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the story does not tell %q:\n%s", part, &out)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("colour without a terminal")
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("it left %v behind, %v", left, err)
	}
	return out.String()
}

// Invariant: A1, A4, A5, A9, A31
func TestTheStoryGoesAsItShould(t *testing.T) {
	out := told(t, Options{})
	if n := strings.Count(out, "The act with a database is left out: there is no PostgreSQL server on this machine."); n != 1 || strings.Contains(out, "orders-db") {
		t.Errorf("it does not say once that there is no database:\n%s", out)
	}
}

// Invariant: A1, A2, A4, A5, A23
func TestTheStoryWithADatabase(t *testing.T) {
	out := told(t, Options{Postgres: programs(t)})
	for _, part := range []string{
		"✗ ERROR:  42501: permission denied for table customers", "✗ ERROR:  42501: UPDATE is not allowed: this grant allows select",
		"✗ FATAL:  57P01: terminating connection: the Daypass grant grt_", "HINT:  Ask again: daypass request orders-db --role read-orders",
		"the backend is gone from pg_stat_activity, and the role from pg_roles", "✗ FATAL:  the Daypass grant grt_",
		"user:ana: select * from customers (refused by PostgreSQL: 42501)", "user:ana: update orders set total = 0 (refused by the gateway)", "user:ana: select pg_sleep(60) (cut with its session)",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("the story does not tell %q:\n%s", part, out)
		}
	}
}

// A PostgreSQL that does not start takes nothing else with it.
func TestABrokenPostgreSQL(t *testing.T) {
	bin := t.TempDir()
	w, err := Start(t.Context(), Options{Postgres: bin})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if !strings.HasPrefix(w.Without, "PostgreSQL does not start here: initdb: ") || w.PostgresGateway() != "" {
		t.Errorf("%q at %q", w.Without, w.PostgresGateway())
	}
	var out bytes.Buffer
	if err := w.PrintReady(&out, false); err != nil || !strings.Contains(out.String(), "(none: PostgreSQL does not start here: ") || strings.Contains(out.String(), "orders-db") {
		t.Errorf("%v\n%s", err, &out)
	}
	if _, err := w.as("user:ana").Me(t.Context()); err != nil {
		t.Error(err)
	}
}

// What the story shows with psql it shows with a driver where there is no psql,
// and the server is gone with its world.
func TestADriverShowsTheSame(t *testing.T) {
	w, err := Start(t.Context(), Options{Postgres: programs(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var out bytes.Buffer
	if err := w.PrintReady(&out, false); err != nil || !strings.Contains(out.String(), "daypass connect orders-db") {
		t.Errorf("%v\n%s", err, &out)
	}
	s := &story{World: w, teller: &teller{out: &out}}
	r, err := s.active(t.Context(), "user:ana", api.SubmitRequest{Resource: "orders-db", Role: "read-orders", Duration: api.Duration(time.Minute), Reason: "a look"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.as("user:ana").Credential(t.Context(), r.Grant.ID, "token")
	if err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]said{
		"select id, total from orders order by id limit 2": {text: "1001 | 49.90\n1002 | 129.00"},
		"select * from customers":                          {text: "ERROR:  42501: permission denied for table customers", failed: true},
		"update orders set total = 0":                      {text: "ERROR:  42501: UPDATE is not allowed: this grant allows select", failed: true},
	} {
		got, err := query(t.Context(), "", r.Grant.Connect, *c.Secret, sql)
		got.text, _, _ = strings.Cut(got.text, "\nHINT: ") // it names this grant; the gateway's tests read it
		if err != nil || got != want {
			t.Errorf("%s: %v, %+v", sql, err, got)
		}
	}
	if got, err := query(t.Context(), "", r.Grant.Connect, "dpgt_wrong", "select 1"); err != nil || !got.failed || !strings.HasPrefix(got.text, "FATAL:  28P01: ") {
		t.Errorf("with a wrong token: %v, %+v", err, got)
	}
	dir := w.db.Dir
	w.Close()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the server's folder is left: %v", err)
	}
}

func programs(t *testing.T) string {
	t.Helper()
	bin, err := scratchpg.Find()
	if err != nil {
		t.Fatalf("%v: run tools/setup", err)
	}
	return bin
}

func TestAKeptFolderIsUsedAgain(t *testing.T) {
	folder := t.TempDir() + "/dev"
	var tokens [2]map[string]string
	for i := range tokens {
		w, err := Start(context.Background(), Options{Folder: folder})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := w.PrintReady(&out, true); err != nil {
			t.Error(err)
		}
		var ready Ready
		if err := json.Unmarshal(out.Bytes(), &ready); err != nil || ready.API == "" || ready.Gateways["http"] == "" || ready.Data == "" {
			t.Errorf("%v: %s", err, &out)
		}
		tokens[i] = ready.Tokens
		if me, err := w.as("user:ana").Me(context.Background()); err != nil || me.ID != "user:ana" {
			t.Errorf("%v, %v", me, err)
		}
		w.Close()
	}
	if tokens[0]["user:ana"] == "" || tokens[0]["user:ana"] != tokens[1]["user:ana"] {
		t.Error("the tokens changed")
	}
}
