package broker_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	httpkind "github.com/daypass/daypass/internal/resource/http"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// machine is the whole broker, on a real store with the real policy and index
// and on clocks that the test moves, beside the model of it.
type machine struct {
	t      *rapid.T
	dir    string
	keys   *credential.Keyring
	signer string // private key of the audit log
	vkey   string
	mu     sync.Mutex // guards the clocks, which others read
	wall   time.Time
	up     time.Duration
	store  *sqlite.Store
	wrap   func(sqlstore.Store) sqlstore.Store // what the broker uses instead, or nil
	index  *live.Index
	*broker.Broker
	effective *clock.Clock
	changed   bool // what is in force is not what it was at first
	model     *model
	creds     []mCred
	tokens    []mToken
}

type mCred struct {
	secret string
	hash   live.Hash
	of     *mRequest
}

type mToken struct {
	secret, id, of string
	expires        time.Time
	gone           bool
}

// callers are everybody; the first ones ask and vote more often.
var callers = []string{"user:ana", "user:bo", "user:cy", "user:ana2", "user:ben", "user:dee", "user:ada", "user:aud", "service:ci", "agent:bot"}

// catalogText spells a catalog of the model.
func catalogText(c *mCatalog) string {
	var b strings.Builder
	b.WriteString("principals:\n")
	for _, id := range append(slices.Clone(callers), "service:orders") {
		fmt.Fprintf(&b, "  - {id: %q", id)
		if owner := mOwner[id]; owner != "" {
			fmt.Fprintf(&b, ", owner: %q", owner)
		}
		if mPerson(id) != id {
			fmt.Fprintf(&b, ", person: %q", mPerson(id))
		}
		fmt.Fprintf(&b, ", admin: %t, auditor: %t, disabled: %t}\n", id == "user:ada", id == "user:ada" || id == "user:aud", slices.Contains(c.off, id))
	}
	b.WriteString("groups:\n")
	for _, g := range slices.Sorted(maps.Keys(c.groups)) {
		fmt.Fprintf(&b, "  - {id: %q, members: [%s]}\n", g, quoted(c.groups[g]))
	}
	fmt.Fprintf(&b, `resources:
  - {id: orders, kind: http, owners: [group:owners], introspect: [service:orders], disabled: %t, http: {upstream: "http://127.0.0.1:%d"},
     roles: {read: {methods: [GET, HEAD], paths: ["/v1/orders/**"]}, write: {methods: [GET, HEAD, POST], paths: ["/v1/**"]}}}
policy:
`, c.dark, 9000+c.upstream)
	if c.deny {
		b.WriteString("  guardrails:\n    - {name: no writing, kind: http, when: 'scope.methods.exists(m, m == \"POST\")', deny: wait}\n")
	}
	fmt.Fprintf(&b, `  rules:
    - {name: dev reads, kind: http, when: '"group:dev" in principal.groups && scope.methods == ["GET", "HEAD"]', approve: auto, max_duration: 10m, max_total: 25m}
    - {name: two, when: 'resource.id == "orders"', approve: {stages: [{name: dba, from: [group:dba], quorum: %d}, {name: owner, from: [resource.owners], quorum: 1}]}, max_duration: %dm, approve_within: 2h}
`, c.quorum, int(c.longest.Minutes()))
	return b.String()
}

func quoted(ids []string) string {
	out := []string{}
	for _, id := range ids {
		out = append(out, fmt.Sprintf("%q", id))
	}
	return strings.Join(out, ", ")
}

func firstCatalog() *mCatalog {
	return &mCatalog{quorum: 1, longest: time.Hour, groups: map[string][]string{
		"group:dba": {"user:ana2", "user:bo", "user:ben", "agent:bot"}, "group:owners": {"user:cy"}, "group:dev": {"user:ana"},
	}}
}

// lifetimes makes what every run begins with: a store that has seen its
// migrations and its first catalog, made once and copied.
type lifetimes struct {
	t        *testing.T
	template string
	signer   string
	vkey     string
	keys     *credential.Keyring
	runs     int
}

func newLifetimes(t *testing.T) *lifetimes {
	l := &lifetimes{t: t, template: filepath.Join(t.TempDir(), "template")}
	must(t, os.Mkdir(l.template, 0o700))
	var err error
	l.keys, err = credential.OpenKeyring(filepath.Join(t.TempDir(), "keys"), time.Now())
	must(t, err)
	l.signer, l.vkey, err = audit.NewSigner("daypass/test", newSeededReader())
	must(t, err)
	m := l.machine(nil, l.template)
	must(t, m.open())
	_, err = m.PutCatalog(context.Background(), broker.SystemConfig(), []byte(catalogText(firstCatalog())), "")
	must(t, err)
	must(t, m.Broker.Close(context.Background()))
	m.index.Close()
	must(t, m.store.Close())
	return l
}

func (l *lifetimes) machine(t *rapid.T, dir string) *machine {
	wall := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &machine{t: t, dir: dir, keys: l.keys, signer: l.signer, vkey: l.vkey, wall: wall, up: time.Hour,
		model: &model{now: wall, wall: wall, issuing: true, cat: firstCatalog()}}
}

func (l *lifetimes) begin(t *rapid.T) *machine {
	l.runs++
	dir := filepath.Join(l.t.TempDir(), "run")
	must(l.t, os.MkdirAll(filepath.Join(dir, "data"), 0o700))
	files, err := os.ReadDir(filepath.Join(l.template, "data"))
	must(l.t, err)
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(l.template, "data", f.Name()))
		must(l.t, err)
		must(l.t, os.WriteFile(filepath.Join(dir, "data", f.Name()), text, 0o600))
	}
	m := l.machine(t, dir)
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
	return m
}

// open starts on what the folder holds.
func (m *machine) open() error {
	ctx := context.Background()
	signer, err := audit.ParseSigner(m.signer)
	if err != nil {
		return err
	}
	c := m.clock(clock.Mark{})
	m.store, err = sqlite.Open(ctx, filepath.Join(m.dir, "data"), sqlstore.Options{
		Clock: func() clock.Mark { return c.Mark() },
		SignHead: func(h audit.Head, root [32]byte, at time.Time) ([]byte, error) {
			return audit.SignCheckpoint(signer.Name(), h, root, signer, at)
		},
	})
	if err != nil {
		return err
	}
	err = m.store.View(ctx, func(tx *sqlstore.Tx) error {
		mark, err := tx.ClockMark()
		c = m.clock(mark)
		return err
	})
	if err != nil {
		return err
	}
	m.index, m.effective = live.New(c.Now), c
	var store sqlstore.Store = m.store
	if m.wrap != nil {
		store = m.wrap(m.store)
	}
	m.Broker, err = broker.Open(ctx, broker.Config{
		Store: store, Clock: c, Index: m.index, Keys: m.keys, AuditKey: m.vkey, Kinds: []policy.Kind{httpkind.Kind{}},
		PublicURL: "https://daypass.test", Limits: limits, Log: slog.New(slog.DiscardHandler),
	})
	return err
}

func (m *machine) clock(mark clock.Mark) *clock.Clock {
	return clock.NewFrom(mark, m.now, func() (string, time.Duration) {
		m.mu.Lock()
		defer m.mu.Unlock()
		return "boot", m.up
	})
}

// now is what the machine's clock says.
func (m *machine) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wall
}

// reach lets time pass until an instant, at least.
func (m *machine) reach(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if by := at.Sub(m.wall); by > 0 {
		m.wall, m.up = at, m.up+by
	}
}

// end verifies what a run leaves behind.
func (m *machine) end() {
	m.verify()
	m.index.Close()
	if err := errors.Join(m.Broker.Close(context.Background()), m.store.Close()); err != nil {
		m.t.Fatal(err)
	}
	_ = os.RemoveAll(m.dir)
}

// do runs a command of the broker and the same of the model, and compares what
// they refuse. It reports whether it was done.
func (m *machine) do(what string, command func() error, modelled func() string) bool {
	before := m.model.copy()
	want := modelled()
	if code, nothing := strings.CutSuffix(want, "!"); nothing {
		m.model.restore(before)
		want = code
	}
	err := command()
	got := ""
	var refused *broker.Error
	var wrong *broker.CatalogError
	switch {
	case errors.As(err, &refused):
		got = refused.Code
	case errors.As(err, &wrong):
		got = "catalog"
	case err != nil:
		m.t.Fatalf("%s: %v", what, err)
	}
	m.t.Logf("%s: %q", what, got)
	if got != want {
		m.t.Fatalf("%s: the broker says %q (%v), the model %q", what, got, err, want)
	}
	return got == ""
}

// copy keeps what a command may change; restore puts it back.
func (m *model) copy() []mRequest {
	var all []mRequest
	for _, r := range m.requests {
		c := *r
		if r.grant != nil {
			g := *r.grant
			c.grant = &g
		}
		all = append(all, c)
	}
	return all
}

func (m *model) restore(before []mRequest) {
	m.requests = m.requests[:len(before)]
	for i := range before {
		*m.requests[i] = before[i]
	}
}

// checkMachine runs half as many lives as DAYPASS_BROKER_LIVES says, else as
// -rapid.checks says, else a few.
func checkMachine(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	setLives.Do(func() {
		chosen := false
		flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "rapid.checks" })
		n := 60
		if v := os.Getenv("DAYPASS_BROKER_LIVES"); v != "" {
			var err error
			n, err = strconv.Atoi(v)
			must(t, err)
		}
		if !chosen {
			must(t, flag.Set("rapid.checks", strconv.Itoa(max(1, n/2))))
		}
		must(t, flag.Set("rapid.nofailfile", "true"))
	})
	rapid.Check(t, property)
}

var setLives sync.Once

// newSeededReader gives the audit log's key: it need not be secret here.
func newSeededReader() io.Reader { return strings.NewReader(strings.Repeat("0123456789abcdef", 8)) }
