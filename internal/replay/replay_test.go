package replay_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/replay"
	httpkind "github.com/daypass/daypass/internal/resource/http"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

const catalog = `
principals:
  - {id: user:ana}
  - {id: user:bo, groups: [group:dba]}
  - {id: user:ada, admin: true}
resources:
  - id: orders
    kind: http
    http: {upstream: "http://127.0.0.1:9"}
    roles:
      read: {methods: [GET], paths: ["/**"]}
      write: {methods: [GET, POST], paths: ["/**"]}
policy:
  guardrails: []
  rules:
    - {name: reads, kind: http, when: 'scope.methods == ["GET"]', approve: auto, max_duration: 1h}
    - {name: writes, kind: http, when: 'true', approve: {stages: [{name: dba, from: [group:dba], quorum: 1}]}, max_duration: 1h}
`

func as(who string) identity.Caller { return identity.Caller{Principal: who, Channel: "api"} }

// lived makes a store in which something of each sort has happened, and
// returns the request that was approved by a vote.
func lived(t *testing.T, dir string) (voted string) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	keys, err := credential.OpenKeyring(filepath.Join(dir, "keys"), time.Now())
	must(err)
	now := clock.New(clock.Mark{})
	store, err := sqlite.Open(ctx, filepath.Join(dir, "data"), sqlstore.Options{Clock: now.Mark})
	must(err)
	index := live.New(now.Now)
	b, err := broker.Open(ctx, broker.Config{Store: store, Clock: now, Index: index, Keys: keys, Kinds: []policy.Kind{httpkind.Kind{}}, PublicURL: "https://daypass.test",
		Limits: broker.Limits{RequestTTL: time.Hour, MaxSkew: time.Second, PendingResource: 20, PendingRequester: 20}, Log: slog.New(slog.DiscardHandler)})
	must(err)
	_, err = b.PutCatalog(ctx, broker.SystemConfig(), []byte(catalog), "")
	must(err)
	ask := func(role string) broker.View {
		v, err := b.Submit(ctx, as("user:ana"), broker.Submission{Resource: "orders", Role: role, Duration: time.Minute, Reason: "refunds"}, nil)
		must(err)
		return v
	}
	read := ask("read")
	_, err = b.Issue(ctx, as("user:ana"), read.Grant.ID, "token", nil)
	must(err)
	ended := ask("read")
	_, err = b.Revoke(ctx, as("user:ada"), ended.Grant.ID, "enough")
	must(err)
	write := ask("write")
	_, err = b.Review(ctx, as("user:bo"), write.ID, broker.Vote{Decision: "approve", ContentHash: write.ContentHash, Duration: 30 * time.Second, Comment: "short"}, nil)
	must(err)
	_, err = b.Cancel(ctx, as("user:ana"), ask("write").ID)
	must(err)
	ask("write")
	_, err = b.CreateToken(ctx, as("user:ana"), "", "laptop", time.Hour, nil)
	must(err)
	_, err = b.SetIssuing(ctx, as("user:ada"), false)
	must(err)
	must(b.Close(ctx))
	index.Close()
	must(store.Close())
	return write.ID
}

func check(t *testing.T, dir string) (report replay.Report, err error) {
	t.Helper()
	store, err := sqlite.OpenReadOnly(t.Context(), filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	err = store.View(context.Background(), func(tx *sqlstore.Tx) error {
		report, err = replay.Check(tx)
		return err
	})
	return report, err
}

// TestRowsThatWereChanged: whatever is changed beside the log is found.
//
// Invariant: A31
func TestRowsThatWereChanged(t *testing.T) {
	untouched := t.TempDir()
	lived(t, untouched)
	report, err := check(t, untouched)
	if err != nil || report != (replay.Report{Requests: 5, Grants: 3, Reviews: 1, Credentials: 1, Tokens: 1}) {
		t.Fatalf("%+v, %v", report, err)
	}
	voted := func(set string) string {
		return "UPDATE requests SET body = " + set + " WHERE body LIKE '%\"reviews\"%'"
	}
	for name, one := range map[string]struct {
		statement string
		request   bool // the difference is about the request that was voted on
	}{
		"a longer grant":            {voted(`json_set(body, '$.grant.expires_at', '2099-01-01T00:00:00Z')`), true},
		"another requester":         {voted(`json_set(body, '$.content.requester', 'user:eve')`), true},
		"a wider scope":             {voted(`json_set(body, '$.content.scope.methods', json('["DELETE"]'))`), true},
		"another content":           {voted(`json_set(body, '$.content_hash', 'sha256:00')`), true},
		"another voter":             {voted(`json_set(body, '$.reviews[0].by', 'user:eve')`), true},
		"a vote without a voice":    {voted(`json_remove(body, '$.reviews[0].duration')`), true},
		"no vote at all":            {voted(`json_remove(body, '$.reviews')`), true},
		"a second life":             {`UPDATE requests SET body = json_set(body, '$.grant.state', 'active') WHERE grant_state = 'ended'`, false},
		"an end for another reason": {`UPDATE requests SET body = json_set(body, '$.grant.ended_reason', 'expired') WHERE grant_state = 'ended'`, false},
		"a denied cancellation":     {`UPDATE requests SET body = json_set(body, '$.state', 'denied') WHERE state = 'cancelled'`, false},
		"a longer wait":             {`UPDATE requests SET body = json_set(body, '$.approve_by', '2099-01-01T00:00:00Z') WHERE state = 'pending'`, false},
		"a request that is gone":    {`DELETE FROM inputs; DELETE FROM requests WHERE state = 'pending'`, false},
		"a request from nowhere":    {`INSERT INTO requests SELECT 'req_x', version, state, requester, resource, extends, created_at + 1, deadline, NULL, NULL, NULL, NULL, json_set(body, '$.id', 'req_x'), review_due, incarnation, kind, scope FROM requests WHERE state = 'pending'`, false},
		"a stolen credential":       {`INSERT INTO credentials SELECT x'00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff', 'cred_x', grant_id, request, kind, host, issued_at, expires_at FROM credentials`, false},
		"a lost credential":         {`DELETE FROM credentials`, false},
		"a token from nowhere":      {`INSERT INTO tokens SELECT 'tok_x', x'00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff', 'user:ada', name, created_by, created_at, expires_at, workload FROM tokens`, false},
		"a token that lasts":        {`UPDATE tokens SET expires_at = expires_at + 1000`, false},
		"a token of a job":          {`UPDATE tokens SET workload = '{"claims":{},"issuer":"https://ci.example","rule":"r","subject":"s"}'`, false},
		"a lost token":              {`DELETE FROM tokens`, false},
		"another catalog":           {`UPDATE catalogs SET version = 'sha256:00'`, false},
		"issuing on":                {`UPDATE settings SET value = 'on' WHERE name = 'issuing'`, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			request := lived(t, dir)
			db, err := sql.Open("sqlite", filepath.Join(dir, "data", "daypass.db"))
			if err != nil {
				t.Fatal(err)
			}
			result, err := db.Exec(one.statement)
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := result.RowsAffected(); n != 1 {
				t.Fatalf("%d rows were changed", n)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			_, err = check(t, dir)
			var found *replay.Difference
			if !errors.As(err, &found) {
				t.Fatalf("it was not found: %v", err)
			}
			if one.request && (found.Request != request || found.Seq == 0 || !strings.Contains(found.Error(), request)) {
				t.Errorf("found was %v", found)
			}
		})
	}
}
