package broker_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

var update = flag.Bool("update", false, "write testdata/interleavings.txt anew")

// boundaries are the instants of a command at which another one begins: before
// its transaction, after it has decided and before it commits, after the commit
// and before anybody in memory knows, and after that but before the answer.
var boundaries = []string{"before", "decided", "committed", "published"}

// boundaryKey is of the context value that says what happens at a boundary.
type boundaryKey struct{}

// atBoundary is what a command's context carries.
type atBoundary struct {
	where string
	what  func()
	done  bool
}

func (a *atBoundary) reach(where string) {
	if where == a.where && !a.done {
		a.done = true
		a.what()
	}
}

// boundaryStore calls what the context of an update carries at its boundaries,
// and counts the updates that have come in.
type boundaryStore struct {
	sqlstore.Store
	entered *atomic.Int64
}

func (s boundaryStore) Update(ctx context.Context, class sqlstore.Class, fn func(*sqlstore.Tx) error) error {
	s.entered.Add(1)
	at, _ := ctx.Value(boundaryKey{}).(*atBoundary)
	if at == nil {
		return s.Store.Update(ctx, class, fn)
	}
	at.reach("before")
	return s.Store.Update(ctx, class, func(tx *sqlstore.Tx) error {
		tx.AfterCommit(func() { at.reach("committed") })
		err := fn(tx)
		at.reach("decided")
		tx.AfterCommit(func() { at.reach("published") })
		return err
	})
}

// scene is one request, and what it takes to act on it.
type scene struct {
	*machine
	entered *atomic.Int64
	id      string // of the request
	hash    string
	grant   string // "" in a scene without one
	token   string // of the grant
	check   live.Hash
	more    broker.View // a pending extension of the grant
	end     time.Time   // when it lapses or expires
}

// act is one mutating command on a scene. alone says that it changes what
// decisions rest on, so that nothing else runs beside it.
type act struct {
	name  string
	alone bool
	do    func(context.Context, *scene) error
}

// Every pair of commands on one request, interleaved at every boundary of the
// first, comes to what one of the two orders comes to: one decision, at most
// one grant, and a loser who is told so. testdata/interleavings.txt shows what
// each order comes to.
//
// Invariant: A12
func TestInterleavingsComeToAnOrder(t *testing.T) {
	m, entered := interleaved(t)
	var table strings.Builder
	runs := 0
	// Each pair at one boundary; at all of them where time is no matter.
	every := os.Getenv("DAYPASS_INTERLEAVINGS") == "all"
	for _, s := range []struct {
		title string
		set   func(*scene)
		acts  []act
	}{
		{"a request that waits for its last vote", setPending, pendingActs},
		{"a live grant with an extension that waits for its last vote", setGrant, grantActs},
		{"a grant that is to start later", setScheduled, scheduledActs},
	} {
		fmt.Fprintf(&table, "# %s\n\n", s.title)
		order := map[[2]string]string{}
		for _, a := range s.acts {
			for _, b := range s.acts {
				order[[2]string{a.name, b.name}] = m.play(entered, s.set, a, b, "")
			}
		}
		for i, a := range s.acts {
			for j, b := range s.acts {
				first, second := order[[2]string{a.name, b.name}], order[[2]string{b.name, a.name}]
				fmt.Fprintf(&table, "%-22s then %-22s  %s\n", a.name, b.name, first)
				for n, where := range boundaries {
					if !every && n != (i+j)%len(boundaries) {
						continue
					}
					got := m.play(entered, s.set, a, b, where)
					runs++
					if got != first && got != swapped(second) && !overtaken(a, b, got) {
						t.Errorf("%s, with %s %s of it:\n  %s\nin order it is\n  %s or\n  %s", a.name, b.name, where, got, first, swapped(second))
					}
				}
			}
			fmt.Fprintln(&table)
		}
	}
	m.verifyAll(t)
	if runs < 2*12*12 {
		t.Fatalf("only %d interleavings", runs)
	}
	t.Logf("%d interleavings", runs)
	golden(t, "testdata/interleavings.txt", table.String())
}

// overtaken is the one outcome that no order of the two has: the grant expires
// between the decision on its extension and the index's knowing of it. Checks may
// have denied it by then, so it stays over (A2), and whoever extended it is told.
func overtaken(a, b act, got string) bool {
	return a.name == "approve extension" && b.name == "expire" &&
		slices.Equal(strings.Fields(got), strings.Fields("not_active, done approved, grant ended (policy) of 40m0s, extension approved"))
}

// swapped is the outcome of b then a, told as that of a and b.
func swapped(outcome string) string {
	codes, rest, _ := strings.Cut(outcome, "  ")
	one, two, _ := strings.Cut(strings.TrimSpace(codes), ", ")
	return fmt.Sprintf("%-32s  %s", two+", "+one, strings.TrimSpace(rest))
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		must(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is another (run with -update, and look at what changed):\n%s", file, diff)
	}
}

func interleaved(t *testing.T) (*machine, *atomic.Int64) {
	l := newLifetimes(t)
	m := l.machine(nil, l.template)
	entered := new(atomic.Int64)
	m.wrap = func(s sqlstore.Store) sqlstore.Store { return boundaryStore{s, entered} }
	must(t, m.open())
	m.changed = true // the first catalog has one owner only
	t.Cleanup(func() {
		must(t, m.Broker.Close(context.Background()))
		m.index.Close()
		must(t, m.store.Close())
	})
	return m, entered
}

// play sets a scene, runs a with b inside it at a boundary ("" for b after a),
// and says what came of it.
func (m *machine) play(entered *atomic.Int64, set func(*scene), a, b act, where string) string {
	s := &scene{machine: m, entered: entered}
	m.reset()
	m.changed = a.alone || b.alone
	set(s)
	other := make(chan error, 1)
	begin := func() {
		// a before its transaction is where b can still be first; from there
		// on the writer is busy with a, and b can only be on its way.
		before := entered.Load()
		go func() { other <- b.do(context.Background(), s) }()
		switch {
		case a.alone: // b waits for it, and nothing tells from outside
		case where == "before" && !b.alone:
			err := <-other
			other <- err
		default:
			for entered.Load() == before && !m.Awaited() && len(other) == 0 {
				runtime.Gosched()
			}
		}
	}
	at := &atBoundary{where: where, what: begin}
	first := a.do(context.WithValue(context.Background(), boundaryKey{}, at), s)
	if !at.done {
		begin() // a has come to an end without reaching it
	}
	second := <-other
	return fmt.Sprintf("%-32s  %s", said(first)+", "+said(second), s.outcome())
}

func said(err error) string {
	if err == nil {
		return "done"
	}
	return refusalCode(err)
}

// outcome is what rows, index and lists say at the end, which must be the same.
func (s *scene) outcome() string {
	ctx := context.Background()
	v, err := s.Request(ctx, as("user:ada"), s.id)
	if err != nil {
		return err.Error()
	}
	out := v.State
	rows := false
	if g := v.Grant; g != nil {
		out += ", grant " + g.State
		if g.EndedReason != nil {
			out += " (" + *g.EndedReason + ")"
		}
		out += fmt.Sprintf(" of %s", g.ExpiresAt.Sub(g.StartsAt.Time))
		rows = g.State == "active"
	}
	if s.token != "" {
		if allows := s.index.Check(s.check).State == live.Live; allows != rows {
			return fmt.Sprintf("the rows say %t and the index %t", rows, allows)
		}
	}
	if s.more.ID != "" {
		x, err := s.Request(ctx, as("user:ada"), s.more.ID)
		if err != nil {
			return err.Error()
		}
		out += ", extension " + x.State
	}
	return out
}

// reset ends what an earlier scene left, and puts everything in force again.
func (m *machine) reset() {
	ctx := context.Background()
	check := func(err error) {
		if err != nil {
			panic(err) // no scene can be set: an update left something that nobody can end
		}
	}
	if m.changed {
		_, err := m.SetIssuing(ctx, as("user:ada"), true)
		check(err)
		check(m.putCatalog(ctx, func(*mCatalog) {}))
		m.changed = false
	}
	_, err := m.RevokeAll(ctx, as("user:ada"), "", "orders", "", nil)
	check(err)
	waiting, _, err := m.Requests(ctx, as("user:ada"), broker.RequestQuery{State: "pending"})
	check(err)
	for _, v := range waiting {
		_, err := m.Cancel(ctx, as("user:ada"), v.ID)
		check(err)
	}
}

// putCatalog puts the first catalog in force, with two owners, and one change.
func (m *machine) putCatalog(ctx context.Context, change func(*mCatalog)) error {
	c := firstCatalog()
	c.groups["group:owners"] = []string{"user:cy", "user:dee"}
	change(c)
	_, err := m.PutCatalog(ctx, broker.SystemConfig(), []byte(catalogText(c)), "")
	return err
}

func (m *machine) verifyAll(t *testing.T) {
	t.Helper()
	must(t, m.store.View(context.Background(), m.recordHolds))
}
