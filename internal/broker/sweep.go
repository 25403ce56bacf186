package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// sweepBatch is how many grants one commit ends of a revocation of many: more
// would hold up everybody else.
const sweepBatch = 200

// sweepFirst is how many of very many are ended, and listed, in the commit of
// the revocation itself: it is in force when that commit is done.
const sweepFirst = 20

// sweep is a revocation of more grants than one commit ends. It is durable, and
// in effect at every check, before it is answered; from then on whoever looks
// at one of its grants finds it ended. Their rows and entries follow, also
// after a crash in between.
type sweep struct {
	Accounts []string        `json:"accounts,omitempty"` // of these, or
	Resource string          `json:"resource,omitempty"` // on this
	At       time.Time       `json:"at"`
	By       identity.Caller `json:"by"`
	Digest   string          `json:"digest,omitempty"` // of the reason
}

// names reports whether a grant of this principal on this resource is meant.
func (s *sweep) names(principal, resource string) bool {
	if s.Resource != "" {
		return s.Resource == resource
	}
	return slices.Contains(s.Accounts, principal)
}

// covers reports whether r has a grant that s ends: one that was there.
func (s *sweep) covers(r *access.Request) bool {
	return r.Grant != nil && r.DecidedAt != nil && !r.DecidedAt.After(s.At) && s.names(r.Content.Requester, r.Content.Resource) &&
		slices.Contains(running, r.Grant.State) && r.Grant.ExpiresAt.After(s.At)
}

// why is what the grant of a requester ended by.
func (s *sweep) why(requester string) access.EndReason {
	if s.By.Principal == requester {
		return access.EndReturned
	}
	return access.EndRevoked
}

// running are the states of a grant that gives access, or will.
var running = []access.GrantState{access.Scheduled, access.Activating, access.Active}

// sweeps are those that are not carried out yet.
type sweeps struct {
	all  atomic.Pointer[[]*sweep]
	stop context.CancelFunc
	ctx  context.Context
	work sync.WaitGroup
}

func (s *sweeps) init() {
	s.all.Store(&[]*sweep{})
	s.ctx, s.stop = context.WithCancel(context.Background())
}

func (s *sweeps) close() {
	s.stop()
	s.work.Wait()
}

// of returns the one that ends the grant of r; nil when none does.
func (s *sweeps) of(r *access.Request) *sweep {
	for _, w := range *s.all.Load() {
		if w.covers(r) {
			return w
		}
	}
	return nil
}

// load reads what an earlier run left, before anything is in the index.
func (s *sweeps) load(tx *sqlstore.Tx) error {
	all, err := readSweeps(tx)
	if err == nil {
		s.all.Store(&all)
	}
	return err
}

func readSweeps(tx *sqlstore.Tx) ([]*sweep, error) {
	text, err := tx.Setting(settingSweeps)
	if err != nil || text == "" {
		return []*sweep{}, err
	}
	var all []*sweep
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("reading the revocations that go on: %w", err)
	}
	return all, nil
}

// putSweeps keeps all, and has it hold from the commit on.
func (u *unit) putSweeps(all []*sweep, then func()) error {
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := u.tx.PutSetting(settingSweeps, string(text)); err != nil {
		return err
	}
	u.tx.AfterCommit(func() {
		u.b.sweeps.all.Store(&all)
		then()
	})
	return nil
}

// countRunning counts what f selects, of one account or on one resource, of
// grants that give access or will. Those that give it are counted in the index,
// in memory: reading a hundred thousand rows takes longer than a revocation may
// until its first denial (F20). What the same group of commits has just granted
// is revoked, and not counted.
func (u *unit) countRunning(f sqlstore.RequestFilter) (int, error) {
	if u.b.quarantine.Load() != nil {
		return u.tx.CountRequests(f) // the index is empty, and nothing gives access
	}
	active := u.b.cfg.Index.Count(func(principal, resource string) bool {
		return (f.Requester == "" || principal == f.Requester) && (f.Resource == "" || resource == f.Resource)
	})
	waiting, err := u.tx.CountWaiting(f.Requester, f.Resource)
	return max(active+waiting, f.Limit), err // so many were seen
}

// sweepAll ends count grants: those of accounts, or those on a resource.
func (u *unit) sweepAll(accounts []string, resource, reason string, count int) (*sweep, error) {
	digest, err := u.text(reason, u.c.Principal)
	if err != nil {
		return nil, err
	}
	s := &sweep{Resource: resource, At: u.now, By: u.c, Digest: digest}
	if resource == "" {
		s.Accounts = accounts
	}
	all, err := readSweeps(u.tx)
	if err != nil {
		return nil, err
	}
	err = u.putSweeps(append(all, s), func() {
		u.b.cfg.Index.EndAll(func(principal, resource string) (string, bool) {
			return string(s.why(principal)), s.names(principal, resource)
		}, s.At)
	})
	if err != nil {
		return nil, err
	}
	what := map[string]any{"grants": count}
	if resource == "" {
		what["principals"] = accounts
	}
	e := &audit.Entry{Type: audit.GrantsRevoked, Outcome: audit.Allowed, Resource: resource, Reason: audit.Text{Digest: digest}, Details: what}
	principal := ""
	if resource == "" {
		principal = accounts[0]
	}
	return s, u.append(e, principal)
}

// sweepOne ends the grant of r, which s covers.
func (u *unit) sweepOne(s *sweep, r *access.Request) (*access.Request, error) {
	by := *u
	by.c = s.By
	return by.run(r, access.End{By: s.By.Principal, Reason: s.why(r.Content.Requester), Since: s.At}, detail{reason: audit.Text{Digest: s.Digest}})
}

// sweepOn carries s out in the background. What goes wrong is tried again.
func (b *Broker) sweepOn(s *sweep) {
	b.sweeps.work.Go(func() {
		for _, account := range s.accounts() {
			for after := (sqlstore.Cursor{At: s.At.Add(time.Millisecond)}); after != (sqlstore.Cursor{}); {
				b.untilDone(func() (err error) {
					after, err = b.sweepSome(s, account, after)
					return err
				})
				if b.sweeps.ctx.Err() != nil {
					return
				}
			}
		}
		b.untilDone(func() error { return b.swept(s) })
	})
}

// endSwept ends in the index, at a start, what an earlier run had revoked and
// not yet written down.
func (b *Broker) endSwept(tx *sqlstore.Tx) error {
	for _, s := range *b.sweeps.all.Load() {
		for _, account := range s.accounts() {
			for after := (sqlstore.Cursor{At: s.At.Add(time.Millisecond)}); after != (sqlstore.Cursor{}); {
				rows, err := tx.Requests(sqlstore.RequestFilter{Requester: account, Resource: s.Resource, GrantStates: running, Before: after, Limit: 1000})
				if err != nil {
					return err
				}
				after = sqlstore.Cursor{}
				for _, r := range rows {
					after = sqlstore.Cursor{At: r.CreatedAt, ID: r.ID}
					if s.covers(r) {
						b.cfg.Index.End(r.Grant.ID, s.At, string(s.why(r.Content.Requester)))
					}
				}
			}
		}
	}
	return nil
}

// accounts are those whose requests are looked through; "" stands for all.
func (s *sweep) accounts() []string {
	if s.Resource != "" {
		return []string{""}
	}
	return s.Accounts
}

// untilDone runs step until it goes well, or the broker is closed.
func (b *Broker) untilDone(step func() error) {
	for b.sweeps.ctx.Err() == nil {
		err := step()
		if err == nil {
			return
		}
		if b.sweeps.ctx.Err() == nil {
			b.cfg.Log.Error("the rows of a revocation wait; it is in force all the same", "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-b.sweeps.ctx.Done():
		}
	}
}

// sweepSome ends the newest grants of s that are older than after, and returns
// where to go on; zero at the end. When it fails that is where it began.
func (b *Broker) sweepSome(s *sweep, account string, after sqlstore.Cursor) (sqlstore.Cursor, error) {
	var next sqlstore.Cursor
	err := b.do(b.sweeps.ctx, s.By, sqlstore.Ends, func(u *unit) error {
		next = sqlstore.Cursor{}
		rows, err := u.tx.Requests(sqlstore.RequestFilter{Requester: account, Resource: s.Resource, GrantStates: running, Before: after, Limit: sweepBatch})
		if err != nil {
			return err
		}
		if err := u.endsMany(); err != nil {
			return err
		}
		for _, r := range rows {
			next = sqlstore.Cursor{At: r.CreatedAt, ID: r.ID}
			if _, err := u.tick(r); err != nil {
				return fmt.Errorf("request %s: %w", r.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return after, err
	}
	return next, nil
}

// swept forgets s, whose every grant has ended.
func (b *Broker) swept(s *sweep) error {
	return b.do(b.sweeps.ctx, s.By, sqlstore.Ends, func(u *unit) error {
		all, err := readSweeps(u.tx)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(all, func(o *sweep) bool {
			return o.At.Equal(s.At) && o.Resource == s.Resource && slices.Equal(o.Accounts, s.Accounts)
		})
		return u.putSweeps(left, func() {})
	})
}
