//go:build unix

package daemon_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/resource/postgres/pgtest"
	"github.com/jackc/pgx/v5"
)

// Neither a token, nor the password of the login, nor the value of a parameter
// is in anything that the server keeps, logs or answers; and a token of a
// database opens nothing else, as no other opens it.
//
// Invariant: A21, A22, A24
// Attack: PG-16, TOK-03
func TestSecretsOfADatabase(t *testing.T) {
	g := guard(t)
	r := g.granted("user:ana", "orders-db", "read", time.Hour)
	token, other := g.token("user:ana", r), g.token("user:ana", r)
	request := g.call("user:ana", "GET", "/v1/requests/"+r.ID, nil).is(200)
	c := *request.request().Grant.Connect
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	config, err := pgx.ParseConfig(c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	config.Password = token
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	const canary = "canary-of-a-parameter"
	var back string
	if err := conn.QueryRow(ctx, "select $1::text", canary).Scan(&back); err != nil || back != canary {
		t.Fatalf("%v %s", err, back)
	}
	if err := conn.Close(ctx); err != nil {
		t.Error(err)
	}
	for what, wrong := range map[string]string{
		"an API token": g.tokens["user:ana"], "a token that is none": mint("dpgt_"), "nothing": "", "the login's password": pgtest.Password,
	} {
		config.Password = wrong
		if wrong == "" {
			config.Password = " "
		}
		if conn, err := pgx.ConnectConfig(ctx, config); err == nil || !strings.Contains(err.Error(), "28P01") {
			t.Errorf("%s: %v", what, err)
			if conn != nil {
				_ = conn.Close(ctx)
			}
		}
	}
	// What is signed is no password of a database, so that no key opens one.
	if a := g.call("user:ana", "POST", "/v1/grants/"+r.Grant.ID+"/credentials", m{"format": "jwt"}); a.status < 400 {
		config.Password = *decode[api.Credential](a).Secret
		if _, err := pgx.ConnectConfig(ctx, config); err == nil || !strings.Contains(err.Error(), "28P01") {
			t.Errorf("a JWT: %v", err)
		}
	}
	var answers bytes.Buffer
	answers.Write(request.body)
	for _, who := range []string{token, other} {
		a := g.call(who, "GET", "/v1/me", nil).is(401)
		answers.Write(a.body)
		if a, err := g.tryThrough(who, "GET", "orders-db", "/"); err == nil && a.status < 400 {
			t.Errorf("a token of a database at the HTTP gateway: %d", a.status)
		}
	}
	for _, path := range []string{"/v1/requests", "/v1/grants", "/v1/sessions", "/v1/audit/events?limit=100", "/v1/catalog", "/metrics"} {
		answers.Write(g.call("user:ada", "GET", path, nil).body)
	}
	soon(t, "the statement is on record", func() bool { return len(g.events("&type=session.query")) > 0 })
	answers.Write(g.call("user:ada", "GET", "/v1/audit/events?after=0", nil, "Accept", "application/x-ndjson").body)
	if !bytes.Contains(answers.Bytes(), []byte("select $1::text")) {
		t.Error("the record does not have the statement")
	}
	look := func(where string, content []byte) {
		t.Helper()
		for what, secret := range map[string]string{"a token": token, "another token": other, "the login's password": pgtest.Password, "a parameter": canary} {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s is in %s", what, where)
			}
		}
	}
	g.term()
	n := 0
	if err := filepath.WalkDir(g.path("data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		n += len(content)
		look(path, content)
		return err
	}); err != nil || n == 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	look("the log", []byte(g.log.String()))
	look("the answers", answers.Bytes())
}
