// Package daemon puts a server together: it is the only place that knows every
// part, and what tests and the command line start. Start opens the store,
// applies the catalog, and serves; Shutdown ends it without losing an entry.
//
// It refuses to decide or to speak a protocol, and it refuses to start with
// anything less than what its configuration asks for.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/notify"
	"github.com/daypass/daypass/internal/resource"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/web"
	"github.com/daypass/daypass/internal/worker"
	"github.com/daypass/daypass/internal/workload"
)

// Options are what Start needs.
type Options struct {
	Config *config.Server
	Log    *slog.Logger
	// Dev marks the store as one for trying things; a store that is marked is
	// refused without it.
	Dev bool
	// Cast are people as whom anybody is logged in by one click; only with Dev,
	// and only where nobody but this machine reaches the server.
	Cast *web.Cast
	// Setup is told the link by which the first admin comes in, where nobody
	// could otherwise; nil: there is none.
	Setup func(link string, until time.Time)
}

// Daemon is a running server.
type Daemon struct {
	cfg     *config.Server
	given   config.Server // cfg as it was read
	log     *slog.Logger
	cast    *web.Cast
	store   *sqlite.Store
	clock   *clock.Clock
	index   *live.Index
	keys    *credential.Keyring
	broker  *broker.Broker
	guard   *gateway.Guard
	api     *http.Server
	apiAddr net.Addr
	gates   []gate
	// connectors are those of the kinds that have one.
	connectors map[string]resource.Connector

	closing context.CancelFunc // ends waits and streams
	stop    context.CancelFunc // ends the worker
	group   sync.WaitGroup     // the worker and what serves
	failed  chan error         // of what may not fail
	once    sync.Once
}

// gate is one gateway that is being served.
type gate struct {
	kind    string
	addr    net.Addr
	gateway resource.Gateway
}

// Start starts a server. When it returns, everything is being served.
func Start(ctx context.Context, o Options) (*Daemon, error) {
	d := &Daemon{cfg: o.Config, given: *o.Config, log: o.Log, cast: o.Cast, failed: make(chan error, 8)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	listeners, err := d.listen(ctx)
	if err == nil {
		err = d.start(ctx, o, listeners)
	}
	if err != nil {
		listeners.close()
		d.abort()
		return nil, err
	}
	return d, nil
}

// start is Start once the listeners are bound.
func (d *Daemon) start(ctx context.Context, o Options, listeners bound) error {
	failpoint.Hit("daemon.start.bound")
	if d.cast != nil && (!o.Dev || !identity.Loopback(d.cfg.PublicURL) || !identity.Loopback("http://"+d.apiAddr.String())) {
		return errors.New("people who prove nothing are for trying things on this machine alone: listen on a loopback address, without public_url")
	}
	if err := d.open(ctx, o.Dev); err != nil {
		return err
	}
	failpoint.Hit("daemon.start.opened")
	senders, err := notifiers(d.cfg.Notify)
	if err != nil {
		return err
	}
	if err := d.openBroker(ctx, senders); err != nil {
		return err
	}
	for _, warning := range d.cfg.Warnings() {
		d.log.Warn("a protection is off", "what", warning)
		if err := d.broker.ProtectionOff(ctx, warning); err != nil {
			return fmt.Errorf("recording that a protection is off: %w", err)
		}
	}
	if err := d.Reload(ctx); err != nil {
		return err
	}
	if err := d.offerSetup(ctx, o.Setup); err != nil {
		return err
	}
	failpoint.Hit("daemon.start.loaded")
	// What reading the catalog and the rows left behind goes back to the
	// system: it will not be needed again.
	debug.FreeOSMemory()
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	d.work(running, senders)
	if err := d.serve(running, listeners); err != nil {
		return err
	}
	spareProgram()
	return nil
}

// openBroker loads the state.
func (d *Daemon) openBroker(ctx context.Context, senders []notify.Notifier) error {
	key, err := d.auditKey()
	if err != nil {
		return err
	}
	names := []string{}
	for _, s := range senders {
		names = append(names, s.Name())
	}
	if d.connectors, err = d.connect(); err != nil {
		return err
	}
	connected := map[string]bool{}
	for kind := range d.connectors {
		connected[kind] = true
	}
	l := d.cfg.Limits
	jobs, err := d.workloads()
	if err != nil {
		return err
	}
	d.index = live.New(d.clock.Now)
	d.broker, err = broker.Open(ctx, broker.Config{
		Store: d.store, Clock: d.clock, Index: d.index, Keys: d.keys, AuditKey: key, Kinds: PolicyKinds(), PublicURL: d.cfg.PublicURL,
		Limits: broker.Limits{RequestTTL: l.RequestTTL, MaxSkew: l.MaxSkew, RevocationBound: l.RevocationBound,
			PendingResource: l.Pending.PerResource, PendingRequester: l.Pending.PerRequester},
		Managed: d.cfg.Catalog != "", Notifiers: names, Log: d.log, Health: d.storeHealth, Scrub: d.store.Scrub, Connectors: connected, Inspect: d.inspect, Connect: d.howTo,
		Workloads: jobs, Logins: d.logins(),
	})
	if err != nil {
		return err
	}
	d.guard = gateway.New(d.index, d.broker, d.clock.Now, d.cfg.Audit.Strict())
	d.broker.UseSessions(d.guard)
	return nil
}

// workloads are the issuers whose tokens jobs may exchange; nil for none.
func (d *Daemon) workloads() (broker.Workloads, error) {
	list := d.cfg.Identity.Workloads
	if len(list) == 0 {
		return nil, nil //nolint:nilnil // the contract of broker.Config
	}
	for _, warning := range workload.Warnings(list) {
		d.log.Warn(warning)
	}
	issuers, err := workload.New(list, workload.Options{PublicURL: d.cfg.PublicURL, Skew: d.cfg.Limits.MaxSkew, Now: d.clock.Now, Log: d.log})
	if err != nil {
		return nil, fmt.Errorf("identity.workloads: %w", err)
	}
	return issuers, nil
}

// Reload applies the catalog's file, if the configuration names one and its
// content changed. What is wrong with it is the error; the catalog in force
// then stays.
func (d *Daemon) Reload(ctx context.Context) error {
	if d.cfg.Catalog == "" {
		return nil
	}
	source, err := os.ReadFile(d.cfg.Catalog)
	if err != nil {
		return fmt.Errorf("reading the catalog: %w", err)
	}
	_, err = d.broker.PutCatalog(ctx, broker.SystemConfig(), source, "")
	var wrong *broker.CatalogError
	if errors.As(err, &wrong) {
		lines := make([]error, 0, len(wrong.Problems))
		for _, p := range wrong.Problems {
			lines = append(lines, fmt.Errorf("%s:%d:%d: %s", d.cfg.Catalog, p.Line, p.Column, p.Message))
		}
		return errors.Join(lines...)
	}
	return err
}

// work starts what happens without a caller.
func (d *Daemon) work(ctx context.Context, senders []notify.Notifier) {
	d.group.Go(func() {
		worker.Run(ctx, worker.Config{Work: d.broker, Lookup: d.broker, Connectors: d.connectors, Notifiers: senders, Now: d.clock.Now, Log: d.log})
	})
	d.group.Go(func() { d.keepCheckpoint(ctx) })
	d.group.Go(func() { d.reconcile(ctx) })
}

// NeedsRestart reports whether c says anything else than what this server was
// started with. Only the catalog is read again while it runs: a listener, TLS
// or a limit is changed by a restart, as a whole or not at all.
func (d *Daemon) NeedsRestart(c *config.Server) bool { return !reflect.DeepEqual(*c, d.given) }

// Broker returns the broker, for tests and for commands in this process.
func (d *Daemon) Broker() *broker.Broker { return d.broker }

// Failed delivers the error after which the process must exit: the store
// failed, or a listener did.
func (d *Daemon) Failed() <-chan error { return d.failed }

// fail makes the server answer nothing but refusals from now on.
func (d *Daemon) fail(err error) {
	if d.broker != nil {
		d.broker.Fail("The server's storage failed and it is shutting down.")
	}
	select {
	case d.failed <- err:
	default:
	}
}

// Drain is how long a shutdown lets open connections go on.
const Drain = 30 * time.Second

// Shutdown stops taking calls, lets what runs finish until ctx ends, then cuts
// it, and returns when everything is written and closed.
func (d *Daemon) Shutdown(ctx context.Context) error {
	var errs []error
	d.once.Do(func() {
		d.closing()
		for _, g := range d.gates {
			errs = append(errs, g.gateway.Shutdown(ctx))
		}
		if err := d.api.Shutdown(ctx); err != nil {
			errs = append(errs, d.api.Close())
		}
		failpoint.Hit("daemon.stop.drained")
		d.guard.Shutdown()
		d.stop()
		d.group.Wait()
		d.disconnect()
		failpoint.Hit("daemon.stop.idle")
		errs = append(errs, d.broker.Close(context.WithoutCancel(ctx)))
		d.index.Close()
		failpoint.Hit("daemon.stop.recorded")
		d.writeCheckpoint(context.WithoutCancel(ctx))
		errs = append(errs, d.store.Close())
	})
	return errors.Join(errs...)
}

// abort closes what a failed Start has opened.
func (d *Daemon) abort() {
	if d.stop != nil {
		d.stop()
	}
	if d.closing != nil {
		d.closing()
	}
	if d.api != nil {
		_ = d.api.Close()
	}
	d.group.Wait()
	d.disconnect()
	if d.broker != nil {
		_ = d.broker.Close(context.Background())
	}
	if d.index != nil {
		d.index.Close()
	}
	if d.store != nil {
		_ = d.store.Close()
	}
}
