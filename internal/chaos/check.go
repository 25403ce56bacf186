package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/daemon"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Evidence is all that the checker looks at. The server must not be running.
type Evidence struct {
	Dir     string // with the data folder in data/ and the server's logs
	History *History
	Secrets []string // beside those that answers in the history revealed
	Notices bool     // a receiver is configured, and the history holds what it got
}

// Violation is something that does not hold.
type Violation struct {
	Rule string // what should hold, in a few words; the invariants in brackets
	What string // what was found
}

func (v Violation) String() string { return v.Rule + ": " + v.What }

// checker is one check.
type checker struct {
	Evidence
	calls    []Call
	uses     []Use
	requests map[string]*access.Request
	grants   map[string]*access.Request // by the grant's ID
	entries  []*audit.Entry
	inputs   map[string]bool
	texts    map[string]string // request → its reason
	tokens   map[string]bool
	hashes   map[string]map[[32]byte]bool // grant → credentials
	catalog  string
	issuing  bool
	found    []Violation
}

// Check says what does not hold. An error means that it could not look.
func Check(ctx context.Context, e Evidence) ([]Violation, error) {
	c := &checker{Evidence: e, calls: e.History.Calls(), uses: e.History.Uses(), requests: map[string]*access.Request{}, grants: map[string]*access.Request{},
		inputs: map[string]bool{}, texts: map[string]string{}, tokens: map[string]bool{}, hashes: map[string]map[[32]byte]bool{}}
	for _, p := range e.History.problems {
		c.violated("the server does what it is asked", "%s", p)
	}
	if err := c.record(ctx); err != nil {
		return nil, err
	}
	if err := c.read(ctx); err != nil {
		return nil, err
	}
	c.whole()
	c.votes()
	c.acknowledged()
	c.acknowledgedSwitches()
	c.once()
	c.monotone()
	c.access()
	c.issuedFirst()
	if e.Notices {
		if err := c.notices(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.secrets(); err != nil {
		return nil, err
	}
	return c.found, nil
}

func (c *checker) violated(rule, format string, args ...any) {
	c.found = append(c.found, Violation{rule, fmt.Sprintf(format, args...)})
}

// record asks the product's own verification: chain, tree, checkpoints, and
// the rows played back.
func (c *checker) record(ctx context.Context) error {
	_, err := daemon.VerifyData(ctx, filepath.Join(c.Dir, "data"), daemon.VerifyOptions{})
	if err != nil {
		c.violated("the record is whole and the rows are what it says [A30, A31]", "%v", err)
	}
	return nil
}

// read takes everything out of the store.
func (c *checker) read(ctx context.Context) error {
	store, err := sqlite.OpenReadOnly(ctx, filepath.Join(c.Dir, "data"))
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // it was only read
	return store.View(ctx, func(tx *sqlstore.Tx) error {
		rows, err := tx.Requests(sqlstore.RequestFilter{})
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := c.readRequest(tx, r); err != nil {
				return err
			}
		}
		tokens, err := tx.Tokens("")
		if err != nil {
			return err
		}
		for _, t := range tokens {
			c.tokens[t.ID] = true
		}
		if cat, err := tx.Catalog(); err == nil {
			c.catalog = cat.Version
		} else if !errors.Is(err, sqlstore.ErrNotFound) {
			return err
		}
		off, err := tx.Setting("issuing")
		if err != nil {
			return err
		}
		c.issuing = off != "off"
		return tx.AuditRows(1, func(_ int64, _ audit.Leaf, _ [32]byte, raw []byte) error {
			e, err := audit.DecodeEntry(raw)
			if err == nil {
				c.entries = append(c.entries, e)
			}
			return nil // what cannot be decoded was found by record
		})
	})
}

func (c *checker) readRequest(tx *sqlstore.Tx, r *access.Request) error {
	c.requests[r.ID] = r
	_, err := tx.Input(r.ID)
	if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
		return err
	}
	c.inputs[r.ID] = err == nil
	if c.texts[r.ID], err = tx.Text(r.Content.ReasonDigest); err != nil {
		return err
	}
	if r.Grant == nil {
		return nil
	}
	c.grants[r.Grant.ID] = r
	creds, err := tx.Credentials(r.Grant.ID)
	c.hashes[r.Grant.ID] = map[[32]byte]bool{}
	for _, one := range creds {
		c.hashes[r.Grant.ID][one.Hash] = true
	}
	return err
}

// whole looks for halves.
func (c *checker) whole() {
	const rule = "nothing is there by half [A34]"
	for _, r := range c.requests {
		approved, extension := r.State == access.Approved, r.Content.Extends != ""
		switch {
		case !c.inputs[r.ID]:
			c.violated(rule, "%s has no decision input", r.ID)
		case r.Content.ReasonDigest != "" && c.texts[r.ID] == "":
			c.violated(rule, "%s has lost its reason", r.ID)
		case r.Grant != nil && !approved:
			c.violated(rule, "%s is %s and has a grant", r.ID, r.State)
		case approved && extension == (r.Grant != nil):
			c.violated(rule, "%s is approved; an extension: %v, a grant: %v", r.ID, extension, r.Grant != nil)
		case r.State != access.Pending && r.DecidedAt == nil:
			c.violated(rule, "%s is %s since never", r.ID, r.State)
		}
		if r.Grant != nil {
			c.window(r)
		}
	}
}

// window checks how long a grant lasts: what was asked, narrowed by the votes,
// and each approved extension once.
func (c *checker) window(r *access.Request) {
	last := asked(r)
	for _, x := range c.requests {
		if x.Content.Extends == r.Grant.ID && x.State == access.Approved {
			last += asked(x)
		}
	}
	if have := r.Grant.ExpiresAt.Sub(r.Grant.StartsAt); have != last {
		c.violated("a grant lasts as long as was approved [A6, A34]", "%s lasts %s, approved were %s", r.Grant.ID, have, last)
	}
}

func asked(r *access.Request) time.Duration {
	d := r.Content.Duration
	for _, v := range r.Reviews {
		if v.Decision == access.Approve && v.Duration > 0 {
			d = min(d, v.Duration)
		}
	}
	return d
}

// votes counts them anew, from the frozen terms and the cast.
func (c *checker) votes() {
	for _, r := range c.requests {
		seen := map[string]bool{}
		for _, v := range r.Reviews {
			if seen[person(v.By)] {
				c.violated("one person, one vote [A10]", "%s voted twice on %s", person(v.By), r.ID)
			}
			seen[person(v.By)] = true
			if answers(v.By) == answers(r.Content.Requester) {
				c.violated("nobody approves their own [A9]", "%s voted on %s of %s", v.By, r.ID, r.Content.Requester)
			}
		}
		if r.State != access.Approved || r.Content.Terms.Auto {
			continue
		}
		stages := slices.Concat(r.Content.Terms.Stages, r.Added)
		if len(stages) == 0 {
			c.violated("enough valid votes [A7]", "%s was approved by nobody", r.ID)
		}
		for i, stage := range stages {
			n := 0
			for _, v := range r.Reviews {
				if v.Decision == access.Approve && v.Stage == i && v.ContentHash == r.ContentHash && seated(v.By, r.Content.Requester, stage.From) {
					n++
				}
			}
			if n < stage.Quorum {
				c.violated("enough valid votes [A7, A8, A11]", "%s is approved with %d of %d votes in stage %d", r.ID, n, stage.Quorum, i+1)
			}
		}
	}
}
