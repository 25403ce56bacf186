package broker_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
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

// world is a broker on a real store, in virtual time.
type world struct {
	t      testing.TB
	dir    string
	store  *sqlite.Store
	broken brokenStore
	index  *live.Index
	clock  *clock.Clock
	*broker.Broker
	notifiers  []string
	connectors map[string]bool
	logins     broker.Logins
	inspect    func() (policy.Finding, error) // of any target; nil: nobody looks
	kinds      []policy.Kind                  // nil: http
	revoked    time.Time                      // by revokeMany
}

// brokenStore lets a test fail what the store would do.
type brokenStore struct {
	sqlstore.Store
	update func(sqlstore.Class) error
}

func (s *brokenStore) Update(ctx context.Context, class sqlstore.Class, fn func(*sqlstore.Tx) error) error {
	if s.update != nil {
		if err := s.update(class); err != nil {
			return err
		}
	}
	return s.Store.Update(ctx, class, fn)
}

const base = `
principals:
  - {id: user:ana, groups: [group:dev], email: ana@example.com}
  - {id: user:ana2, groups: [group:dba], person: user:ana}
  - {id: user:bo, groups: [group:dba], email: bo@example.com}
  - {id: user:ben, groups: [group:dba]}
  - {id: user:cy, groups: [group:owners]}
  - {id: user:dee, token_sha256: "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"}
  - {id: user:ada, admin: true, auditor: true, token_sha256: "adadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadad"}
  - {id: user:aud, auditor: true}
  - {id: service:ci, owner: user:ana}
  - {id: service:orders, owner: user:cy}
  - {id: agent:bot, owner: user:bo, groups: [group:dba]}
resources:
  - id: orders
    kind: http
    owners: [group:owners]
    introspect: [service:orders]
    http: {upstream: "http://127.0.0.1:9"}
    roles:
      read: {methods: [GET, HEAD], paths: ["/v1/orders/**"]}
      write: {methods: [GET, HEAD, POST], paths: ["/v1/**"]}
  - id: closed
    kind: http
    http: {upstream: "http://127.0.0.1:9"}
    roles:
      read: {methods: [GET], paths: ["/**"]}
policy:
  guardrails: []
  rules:
    - {name: dev reads, kind: http, when: 'resource.id == "orders" && "group:dev" in principal.groups && scope.methods == ["GET", "HEAD"]', approve: auto, max_duration: 10m, max_total: 25m}
    - {name: two, when: 'resource.id == "orders"', approve: {stages: [{name: dba, from: [group:dba], quorum: 1}, {name: owner, from: [resource.owners], quorum: 1}]}, max_duration: 1h, approve_within: 2h}
`

// inWorld runs f in virtual time.
func inWorld(t *testing.T, f func(*world)) {
	t.Helper()
	inBubble(t, func(w *world) {
		w.start()
		// A bubble must not end with goroutines left, whatever a test found.
		defer w.stop()
		w.apply(base)
		f(w)
	})
}

func inBubble(t *testing.T, f func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(&world{t: t, dir: t.TempDir()}) })
}

var limits = broker.Limits{RequestTTL: 24 * time.Hour, MaxSkew: 5 * time.Second, RevocationBound: 5 * time.Second, PendingResource: 20, PendingRequester: 100}

func (w *world) start() {
	w.t.Helper()
	ctx := context.Background()
	keys, err := credential.OpenKeyring(w.dir+"/keys", time.Now())
	must(w.t, err)
	skey, vkey, err := audit.NewSigner("daypass/test", rand.Reader)
	must(w.t, err)
	signer, err := audit.ParseSigner(skey)
	must(w.t, err)
	w.clock = clock.New(clock.Mark{})
	w.store, err = sqlite.Open(ctx, w.dir+"/data", sqlstore.Options{
		Clock: func() clock.Mark { return w.clock.Mark() },
		SignHead: func(h audit.Head, root [32]byte, at time.Time) ([]byte, error) {
			return audit.SignCheckpoint(signer.Name(), h, root, signer, at)
		},
	})
	must(w.t, err)
	must(w.t, w.store.View(ctx, func(tx *sqlstore.Tx) error {
		mark, err := tx.ClockMark()
		w.clock = clock.New(mark)
		return err
	}))
	w.broken = brokenStore{Store: w.store}
	w.index = live.New(w.clock.Now)
	kinds := w.kinds
	if kinds == nil {
		kinds = []policy.Kind{httpkind.Kind{}}
	}
	var inspect func(context.Context, *policy.Resource, policy.Scope) (policy.Finding, error)
	if w.inspect != nil {
		inspect = func(context.Context, *policy.Resource, policy.Scope) (policy.Finding, error) { return w.inspect() }
	}
	w.Broker, err = broker.Open(ctx, broker.Config{
		Store: &w.broken, Clock: w.clock, Index: w.index, Keys: keys, AuditKey: vkey, Kinds: kinds, Inspect: inspect,
		PublicURL: "https://daypass.test", Limits: limits, Notifiers: w.notifiers, Connectors: w.connectors, Logins: w.logins, Log: slog.New(slog.DiscardHandler),
		Workloads: jobs{now: func() time.Time { return w.clock.Now() }},
	})
	must(w.t, err)
}

// stop ends the broker. Whatever a test did, the rows are then what the record
// says (A30).
func (w *world) stop() {
	w.t.Helper()
	must(w.t, w.Broker.Close(context.Background()))
	w.index.Close()
	must(w.t, w.store.View(context.Background(), func(tx *sqlstore.Tx) error {
		_, err := replay.Check(tx)
		return err
	}))
	must(w.t, w.store.Close())
}

// restart stops and starts on the same store; clean says whether the stop is
// one that was asked for.
func (w *world) restart(clean bool) {
	w.t.Helper()
	if clean {
		w.stop()
	} else {
		w.index.Close()
		must(w.t, w.store.Close())
		w.Crash()
	}
	w.start()
}

// apply puts a catalog in force.
func (w *world) apply(catalog string) {
	w.t.Helper()
	_, err := w.PutCatalog(context.Background(), broker.SystemConfig(), []byte(catalog), "")
	var wrong *broker.CatalogError
	if errors.As(err, &wrong) {
		w.t.Fatalf("catalog: %+v", wrong.Problems)
	}
	must(w.t, err)
}

// change applies the base catalog with some text replaced, all of which must
// be there.
func (w *world) change(pairs ...string) {
	w.t.Helper()
	text := base
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			w.t.Fatalf("the catalog has no %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	w.apply(text)
}

func as(who string) identity.Caller {
	return identity.Caller{Principal: who, Token: "catalog", IP: "192.0.2.1", Channel: "api"}
}

func (w *world) submit(who, role string, d time.Duration) (broker.View, error) {
	return w.Submit(context.Background(), as(who), broker.Submission{Resource: "orders", Role: role, Duration: d, Reason: "because of " + role}, nil)
}

func (w *world) mustSubmit(who, role string, d time.Duration) broker.View {
	w.t.Helper()
	v, err := w.submit(who, role, d)
	must(w.t, err)
	return v
}

func (w *world) vote(who string, v broker.View, decision string) (broker.View, error) {
	return w.Review(context.Background(), as(who), v.ID, broker.Vote{Decision: decision, ContentHash: v.ContentHash}, nil)
}

func (w *world) mustVote(who string, v broker.View, decision string) broker.View {
	w.t.Helper()
	out, err := w.vote(who, v, decision)
	must(w.t, err)
	return out
}

// granted is a grant of the role write to ana, approved by people.
func (w *world) granted(d time.Duration) broker.View {
	w.t.Helper()
	v := w.mustSubmit("user:ana", "write", d)
	w.mustVote("user:bo", v, "approve")
	return w.mustVote("user:cy", v, "approve")
}

func (w *world) get(who, id string) broker.View {
	w.t.Helper()
	v, err := w.Request(context.Background(), as(who), id)
	must(w.t, err)
	return v
}

// token issues a token of a grant to its grantee.
func (w *world) token(who, grant string) string {
	w.t.Helper()
	c, err := w.Issue(context.Background(), as(who), grant, "token", nil)
	must(w.t, err)
	return *c.Secret
}

// active asks for the token as the service that fronts the resource.
func (w *world) active(token string) bool {
	w.t.Helper()
	in, err := w.Introspect(context.Background(), as("service:orders"), token)
	must(w.t, err)
	return in.Active
}

// entries are all audit entries of the given types, oldest first.
func (w *world) entries(types ...string) []api.Event {
	w.t.Helper()
	var out []api.Event
	must(w.t, w.store.View(context.Background(), func(tx *sqlstore.Tx) error {
		rows, err := tx.Events(sqlstore.EventFilter{Ascending: true, Limit: 100_000})
		if err != nil {
			return err
		}
		for i, row := range rows {
			if row.Seq != int64(i+1) {
				return fmt.Errorf("entry %d is at place %d", row.Seq, i+1)
			}
			e, err := audit.EventOf(row.Bytes, nil, nil)
			if err != nil {
				return err
			}
			for _, typ := range types {
				if e.Type == typ {
					out = append(out, e)
				}
			}
		}
		return nil
	}))
	return out
}

func (w *world) due() {
	w.t.Helper()
	_, err := w.Due(context.Background())
	must(w.t, err)
}

// refused checks that err is a refusal with this code.
func refused(t *testing.T, err error, code string) *broker.Error {
	t.Helper()
	var e *broker.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want a refusal with %s", err, code)
	}
	return e
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
