package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Sessions are the live connections of all gateways.
type Sessions interface {
	Sessions() []api.Session
	Watch(id string) (api.Session, bool)
	Kill(id string) bool
}

// Limits bound what requesters may cost (CONTRACT §3).
type Limits struct {
	RequestTTL       time.Duration // how long a request may wait where its rule does not say
	MaxSkew          time.Duration // by how much the wall clock may be behind effective time
	RevocationBound  time.Duration // R of the invariants
	PendingResource  int           // requests of one requester for one resource
	PendingRequester int
}

// Config is what a Broker needs. Everything is required but Connect, Inspect,
// Connectors, Workloads and Sessions.
type Config struct {
	Store     sqlstore.Store
	Clock     *clock.Clock
	Index     *live.Index
	Keys      *credential.Keyring
	AuditKey  string // verifier key of the audit log's checkpoints
	Kinds     []policy.Kind
	PublicURL string // the issuer of JWTs and the base of all links
	Limits    Limits
	Managed   bool     // the catalog is a file: PUT is refused
	Notifiers []string // names of the notifiers that are configured
	Logins    Logins   // how people log in; the zero value: they do not
	Log       *slog.Logger
	// Health says why the store cannot take everything now; nil when it can.
	// nil: not asked.
	Health func() error
	// Scrub overwrites what was deleted and is still in the store's journal.
	// nil: nothing to be done.
	Scrub func(context.Context) error
	// Connectors names the kinds whose grants must be made real in a target.
	Connectors map[string]bool
	// Inspect says what a scope means in the target of a resource; the zero
	// Finding where its kind does not look. An error that wraps a *policy.Unfit
	// is the requester's to mend. nil: no kind looks.
	Inspect func(ctx context.Context, r *policy.Resource, scope policy.Scope) (policy.Finding, error)
	// Workloads says for whom a token of a CI platform or a cluster speaks; nil:
	// none is taken.
	Workloads Workloads
	// Connect tells how to use a grant of a resource.
	Connect func(*policy.Resource, api.Grant) api.Connect
}

// Broker is the only writer. It is safe for concurrent use.
type Broker struct {
	cfg      Config
	sessions Sessions

	// gate keeps a change of the catalog or of the issuing switch alone in its
	// commit group, so that no decision sees half of it (A19).
	gate    sync.RWMutex
	state   atomic.Pointer[state]
	issuing atomic.Bool
	broken  atomic.Pointer[string] // why the store takes nothing more
	// quarantine is set while a restored store gives nothing.
	quarantine atomic.Pointer[api.Quarantine]

	tokens   tokenIndex
	logins   loginIndex
	scopes   policy.Parsed // of live grants
	old      compiled      // catalogs of earlier versions
	inflight inflight
	hub      hub
	queued   hub         // of jobs alone: for the worker
	jobs     atomic.Bool // some were queued since the worker last looked
	soon     soon
	recorder *recorder
	sweeps   sweeps
	cursors  cursorKey
	pruned   time.Time // by Heartbeat, which runs alone
	exchange exchange
	notKnown refusals // people who are not let in
	beaten   uint64   // batches that were on record at the last one
}

// state is what decisions rest on beside the store. It is replaced, never
// changed.
type state struct {
	catalog      *policy.Catalog // base, with what logins say of people
	base         *policy.Catalog // as it was applied
	people       people
	incarnations map[string]string
	appliedAt    time.Time
	appliedBy    string
}

// Settings that the store keeps.
const (
	settingIssuing   = "issuing"
	settingCursorKey = "cursor_key"
	settingRunning   = "running"
	settingRecorded  = "recorded" // up to when all of high rate is on record
	settingSweeps    = "sweeps"
)

// Open loads what the store holds and puts every live grant into the index.
// Nothing is served before it returns.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	b := &Broker{cfg: cfg}
	b.hub.init()
	b.queued.init()
	b.sweeps.init()
	b.recorder = newRecorder(b)
	var unclean bool
	err := cfg.Store.Update(ctx, sqlstore.Ends, func(tx *sqlstore.Tx) error {
		var err error
		unclean, err = b.load(tx)
		return err
	})
	if err == nil && b.quarantine.Load() == nil { // in quarantine the index stays empty: no check allows
		err = b.loadLive(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("loading the state: %w", err)
	}
	failpoint.Hit("broker.open.loaded")
	go b.recorder.run()
	started := &audit.Entry{Type: audit.ServerStarted, Actor: "system:daypass", Outcome: audit.Allowed, Details: map[string]any{"catalog": b.catalog().Version()}}
	if err := b.started(ctx, started, unclean); err != nil {
		b.recorder.close()
		return nil, fmt.Errorf("recording the start: %w", err)
	}
	failpoint.Hit("broker.open.recorded")
	if err := b.disown(ctx); err != nil {
		b.recorder.close()
		return nil, fmt.Errorf("ending what rested on a provider that is gone: %w", err)
	}
	for _, s := range *b.sweeps.all.Load() {
		b.sweepOn(s)
	}
	return b, nil
}

// load reads the catalog in force, tokens and switches.
func (b *Broker) load(tx *sqlstore.Tx) (unclean bool, err error) {
	st := &state{base: policy.Empty(), incarnations: map[string]string{}}
	row, err := tx.Catalog()
	switch {
	case err == nil:
		// A catalog that no longer parses (a kind is gone) must not be
		// replaced by something more generous: nothing is allowed until it is
		// mended.
		cat, err := policy.Parse(row.Source, b.cfg.Kinds)
		if err != nil {
			return false, fmt.Errorf("the stored catalog %s: %w", row.Version, err)
		}
		if cat.Version() != row.Version {
			b.cfg.Log.Warn("the stored catalog reads as another version than was recorded: look at what changed it", "recorded", row.Version, "read", cat.Version())
		}
		st = &state{base: cat, incarnations: row.Incarnations, appliedAt: row.AppliedAt, appliedBy: row.AppliedBy}
	case !errors.Is(err, sqlstore.ErrNotFound):
		return false, err
	}
	if err := b.loadPeople(tx, st); err != nil {
		return false, err
	}
	b.state.Store(st)
	off, err := tx.Setting(settingIssuing)
	if err != nil {
		return false, err
	}
	b.issuing.Store(off != "off")
	if err := b.loadCursorKey(tx); err != nil {
		return false, err
	}
	if err := b.loadQuarantine(tx); err != nil {
		return false, err
	}
	if err := b.exchange.load(tx); err != nil {
		return false, err
	}
	tokens, err := tx.Tokens("")
	if err != nil {
		return false, err
	}
	logins, err := tx.Logins()
	if err != nil {
		return false, err
	}
	if b.quarantine.Load() != nil {
		tokens, logins = nil, nil // one of them may have been revoked in what was lost
	}
	b.logins.load(logins)
	b.tokens.load(st.catalog, tokens)
	ran, err := tx.Setting(settingRunning)
	if err != nil {
		return false, err
	}
	if err := tx.PutSetting(settingRunning, "yes"); err != nil {
		return false, err
	}
	return ran == "yes", b.sweeps.load(tx)
}

// started writes the entries of a start: where the last run did not end
// cleanly, entries of its last moments may be missing.
func (b *Broker) started(ctx context.Context, e *audit.Entry, unclean bool) error {
	return b.cfg.Store.Update(ctx, sqlstore.Ends, func(tx *sqlstore.Tx) error {
		now := b.now()
		if unclean {
			from, err := lostSince(tx)
			if err != nil {
				return err
			}
			gap := &audit.Entry{ID: credential.NewID("evt"), Time: now, Type: audit.PossibleGap, Actor: "system:daypass", Outcome: audit.Failed, Source: audit.Source{Channel: "system"},
				Details: map[string]any{"from": api.TimeOf(from).String(), "to": api.TimeOf(now).String(),
					"what": "the last run ended without a shutdown: access entries of its last moments may be missing"}}
			if err := tx.Append(sqlstore.Record{Entry: gap}); err != nil {
				return err
			}
		}
		e.ID, e.Time, e.Source = credential.NewID("evt"), now, audit.Source{Channel: "system"}
		return errors.Join(tx.PutSetting(settingRecorded, stamp(now)), tx.Append(sqlstore.Record{Entry: e}))
	})
}

// lostSince is from when on entries of high rate may be missing: what was
// accepted before is on record, said the last heartbeat.
func lostSince(tx *sqlstore.Tx) (time.Time, error) {
	value, err := tx.Setting(settingRecorded)
	if err != nil {
		return time.Time{}, err
	}
	if at, err := time.Parse(time.RFC3339Nano, value); err == nil {
		return at, nil
	}
	mark, err := tx.ClockMark() // no heartbeat has come
	return mark.At.Add(-flushEvery), err
}

// UseSessions tells the broker of the gateways' sessions. It is called once,
// before anything is served.
func (b *Broker) UseSessions(s Sessions) { b.sessions = s }

// Close records a clean end: it flushes what was recorded and ends all waiting.
func (b *Broker) Close(ctx context.Context) error {
	b.sweeps.close()
	b.hub.close()
	b.soon.close()
	b.recorder.close()
	failpoint.Hit("broker.close.before")
	return b.cfg.Store.Update(ctx, sqlstore.Ends, func(tx *sqlstore.Tx) error {
		e := &audit.Entry{ID: credential.NewID("evt"), Time: b.now(), Type: audit.ServerStopped, Actor: "system:daypass", Outcome: audit.Allowed, Source: audit.Source{Channel: "system"}}
		if err := tx.Append(sqlstore.Record{Entry: e}); err != nil {
			return err
		}
		return tx.PutSetting(settingRunning, "no")
	})
}

// Moved returns a channel that is closed at the next commit.
func (b *Broker) Moved() <-chan struct{} { return b.hub.wait() }

// Queued returns a channel that is closed at the next commit with a job.
func (b *Broker) Queued() <-chan struct{} { return b.queued.wait() }

func (b *Broker) catalog() *policy.Catalog { return b.state.Load().catalog }

// CatalogInForce returns the catalog in force: gateways ask it for upstreams.
func (b *Broker) CatalogInForce() *policy.Catalog { return b.catalog() }

// Incarnation returns the incarnation of a resource in the catalog in force.
func (b *Broker) Incarnation(resource string) string { return b.state.Load().incarnations[resource] }

// now is effective time as the domain keeps it: UTC, whole milliseconds.
func (b *Broker) now() time.Time { return b.cfg.Clock.Now().UTC().Truncate(time.Millisecond) }

// Ready says why the server cannot do its work; nil when it can.
func (b *Broker) Ready() error {
	if why := b.broken.Load(); why != nil {
		return errors.New(*why)
	}
	if b.cfg.Health != nil {
		if err := b.cfg.Health(); err != nil {
			return err
		}
	}
	if err := b.recorder.ready(); err != nil {
		return fmt.Errorf("the audit log: %w", err)
	}
	if err := b.cfg.Keys.Ready(); err != nil {
		return fmt.Errorf("the signing keys: %w", err)
	}
	if err := b.quarantined(); err != nil {
		return err
	}
	return b.skewed()
}

// Warnings say what works less well than its words promise.
func (b *Broker) Warnings() []string {
	if w := b.catalog().GlassWarning(b.cfg.Notifiers); w != "" {
		return []string{w}
	}
	return nil
}

// skewed reports a wall clock that is behind effective time: it was set back
// here, or forward before. Ends go on by effective time; nothing new is given.
func (b *Broker) skewed() error {
	if d := b.cfg.Clock.Behind(); d > b.cfg.Limits.MaxSkew {
		return fmt.Errorf("the clock is %s behind the time that was already reached; set it right (grants go on ending on time meanwhile, and nothing new is issued)", api.FormatDuration(d))
	}
	return nil
}

// Fail makes the broker answer nothing but refusals from now on.
func (b *Broker) Fail(why string) { b.broken.CompareAndSwap(nil, &why) }

// Caller of Daypass itself.
var (
	systemConfig = identity.System("config")
	systemWorker = identity.System("worker")
)

// SystemConfig is who applies the catalog that a file holds.
func SystemConfig() identity.Caller { return systemConfig }

func (b *Broker) loadCursorKey(tx *sqlstore.Tx) error {
	s, err := tx.Setting(settingCursorKey)
	if err != nil {
		return err
	}
	if s == "" {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		s = hex.EncodeToString(key)
		if err := tx.PutSetting(settingCursorKey, s); err != nil {
			return err
		}
	}
	b.cursors.key, err = hex.DecodeString(s)
	return err
}
