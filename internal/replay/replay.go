// Package replay plays the record back: from the audit entries alone it makes
// what the rows of the store should be, and compares. That the log is whole is
// what package audit verifies; that the rows are what the log says is verified
// here. Somebody who changes a row and leaves the log alone is found by it, and
// so is a commit that kept one and not the other.
//
// It refuses to repair, and to trust a row for what the record says.
package replay

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/gowebpki/jcs"
)

// Difference is the first place at which the rows are not what the record says.
type Difference struct {
	Seq     int64  // of the entry that does not fit; of the last one about it where a row does not
	Request string // "" where it is not about one
	What    string
}

func (d *Difference) Error() string {
	if d.Request == "" {
		return d.What
	}
	return fmt.Sprintf("request %s: %s (last said in entry %d)", d.Request, d.What, d.Seq)
}

// Report is what was compared and found equal.
type Report struct {
	Requests, Grants, Reviews, Credentials, Tokens int
}

// String says it in a sentence.
func (r Report) String() string {
	return fmt.Sprintf("%d requests with %d reviews and %d grants, %d credentials and %d API tokens are as the record says", r.Requests, r.Reviews, r.Grants, r.Credentials, r.Tokens)
}

// Record is what the entries said so far. The zero value is not ready: New.
type Record struct {
	requests map[string]*told
	tokens   map[string]token           // live API tokens by ID
	issued   map[string]map[string]bool // grant → opaque credentials, by jti
	catalog  string                     // version in force
	issuing  bool
}

// told is one request as the record tells it.
type told struct {
	*access.Request
	seq int64 // of the last entry about it
}

type token struct {
	principal, by, name, expires string
	workload                     string // of the job that it was given to; such a token is forgotten some time after its end
}

// New returns the record of an empty store.
func New() *Record {
	return &Record{requests: map[string]*told{}, tokens: map[string]token{}, issued: map[string]map[string]bool{}, issuing: true}
}

// Add takes the next entry. It returns a *Difference for one that cannot
// follow those before: a second decision, the end of what never was.
func (r *Record) Add(e *audit.Entry) error {
	d := details(e.Details)
	switch e.Type {
	case audit.RequestCreated:
		return r.created(e, d)
	case audit.ReviewRecorded, audit.RequestApproved, audit.RequestDenied, audit.RequestCancelled, audit.RequestExpired:
		return r.decided(e, d)
	case audit.GlassUsed, audit.GlassFound, audit.GlassReviewed:
		return r.glass(e, d)
	case audit.GrantScheduled, audit.GrantActivated, audit.GrantExtended, audit.GrantEnding, audit.GrantEnded, audit.GrantActivationFailed, audit.GrantCleanupFailed:
		return r.granted(e, d)
	case audit.CredentialIssued:
		return r.credential(e, d)
	case audit.TokenCreated:
		r.tokens[d.text("token")] = token{d.text("for"), e.Actor, d.text("name"), d.text("expires_at"), string(d.object("workload"))}
	case audit.TokenRevoked:
		delete(r.tokens, d.text("token"))
		delete(r.issued[e.Grant], d.text("jti"))
	case audit.CatalogChanged:
		r.catalog = d.text("version")
	case audit.IssuingChanged:
		r.issuing, _ = e.Details["enabled"].(bool)
	}
	return nil
}

func differs(e *audit.Entry, format string, args ...any) error {
	return &Difference{Seq: e.Seq, Request: e.Request, What: fmt.Sprintf("entry %d, %s, ", e.Seq, e.Type) + fmt.Sprintf(format, args...)}
}

func (r *Record) created(e *audit.Entry, d details) error {
	if e.Details["dry_run"] == true {
		return nil
	}
	if e.Request == "" || r.requests[e.Request] != nil {
		return differs(e, "makes a request that is there already")
	}
	c := access.Content{
		Requester: d.text("principal"), Resource: e.Resource, Kind: d.text("kind"), Role: d.text("role"), Scope: e.Scope,
		Duration: d.duration("duration"), ReasonDigest: e.Reason.Digest, Extends: d.text("extends"),
		Terms: access.Terms{PolicyVersion: d.text("policy"), Rule: d.text("rule"), Stages: d.stages("stages")},
	}
	if at := d.time("start_at"); !at.IsZero() {
		c.StartAt = &at
	}
	c.Target, c.Workload = d.object("target"), d.object("workload")
	r.requests[e.Request] = &told{seq: e.Seq, Request: access.Apply(nil, access.Submitted{Request: access.Request{
		ID: e.Request, Revision: 1, ContentHash: d.text("content_hash"), Content: c, State: access.Pending,
		CreatedAt: e.Time, ApproveBy: d.time("approve_by"),
	}})}
	return nil
}

// decided plays what happens to a request itself.
func (r *Record) decided(e *audit.Entry, d details) error {
	t := r.requests[e.Request]
	if t == nil {
		return differs(e, "is about a request that was never made")
	}
	t.seq = e.Seq
	if e.Type == audit.ReviewRecorded {
		return t.voted(e, d)
	}
	if t.State != access.Pending {
		return differs(e, "decides what was %s before", t.State)
	}
	switch e.Type {
	case audit.RequestApproved:
		t.apply(access.RequestApproved{At: e.Time, By: e.Actor})
	case audit.RequestDenied:
		t.apply(access.RequestDenied{At: e.Time, By: e.Actor, Reason: d.text("why")})
	case audit.RequestCancelled:
		t.apply(access.RequestCancelled{At: e.Time, By: e.Actor})
	case audit.RequestExpired:
		t.apply(access.RequestExpired{At: d.time("decided_at"), Reason: d.text("why")})
	}
	return nil
}

func (t *told) voted(e *audit.Entry, d details) error {
	v := access.Review{
		ID: d.text("review"), By: e.Actor, Person: d.text("person"), Decision: access.Decision(d.text("decision")), Stage: d.number("stage_index"),
		ContentHash: d.text("content_hash"), Duration: d.duration("duration"), CommentDigest: e.Reason.Digest, At: e.Time,
	}
	for _, before := range t.Reviews {
		if before.Person == v.Person || before.By == v.By {
			return differs(e, "is a second vote of %s", v.Person)
		}
	}
	if v.ContentHash != t.ContentHash {
		return differs(e, "is a vote for other content")
	}
	t.apply(access.Voted{Review: v})
	if added := d.stages("stages_added"); len(added) > 0 {
		t.apply(access.StagesAdded{Stages: added})
	}
	return nil
}

// glass plays what a request adds that took access before anybody agreed.
func (r *Record) glass(e *audit.Entry, d details) error {
	t := r.requests[e.Request]
	if t == nil {
		return differs(e, "is about a request that was never made")
	}
	t.seq = e.Seq
	if e.Type == audit.GlassUsed {
		if t.Duty != nil || t.State != access.Pending {
			return differs(e, "takes what was %s before", t.State)
		}
		t.apply(access.GlassBroken{At: e.Time, Told: d.list("told"), Person: d.text("person")})
		return nil
	}
	if !t.Duty.Open() {
		return differs(e, "reviews what is not to be reviewed")
	}
	if e.Type == audit.GlassFound {
		t.apply(access.GlassFound{At: e.Time, By: e.Actor})
	} else {
		t.apply(access.GlassReviewed{At: e.Time, By: e.Actor})
	}
	return nil
}

func (t *told) apply(ev access.Event) { t.Request = access.Apply(t.Request, ev) }

// granted plays what happens to a grant.
func (r *Record) granted(e *audit.Entry, d details) error {
	t := r.requests[e.Request]
	if t == nil {
		return differs(e, "is about a request that was never made")
	}
	t.seq = e.Seq
	state := access.GrantState(d.text("state"))
	if t.Grant == nil {
		if e.Type != audit.GrantScheduled && e.Type != audit.GrantActivated || e.Grant == "" {
			return differs(e, "is about a grant that was never given")
		}
		if t.State != access.Approved {
			return differs(e, "gives what was not approved: the request is %s", t.State)
		}
		t.apply(access.Granted{Grant: access.Grant{ID: e.Grant, State: state, StartsAt: d.time("starts_at"), ExpiresAt: d.time("expires_at"), BreakGlass: t.Duty != nil}})
		return nil
	}
	over := t.Grant.State == access.Ended || t.Grant.State == access.Ending && e.Type != audit.GrantEnded && e.Type != audit.GrantCleanupFailed
	switch {
	case e.Grant != t.Grant.ID:
		return differs(e, "is about another grant than %s", t.Grant.ID)
	case over:
		return differs(e, "happens to a grant that is %s", t.Grant.State)
	}
	switch e.Type {
	case audit.GrantScheduled:
		t.apply(access.GrantActivating{At: e.Time})
	case audit.GrantActivated:
		t.apply(access.GrantActivated{At: e.Time})
	case audit.GrantExtended:
		t.apply(access.GrantExtended{ExpiresAt: d.time("expires_at"), By: d.text("extension")})
	case audit.GrantCleanupFailed:
		t.apply(access.CleanupFailed{Reason: d.text("why")})
	default:
		if t.Grant.State != access.Ending {
			t.apply(access.GrantEnding{At: d.time("access_ended_at"), Reason: access.EndReason(d.text("ended_reason")), By: e.Actor})
		}
		if e.Type == audit.GrantEnded || state == access.Ended {
			t.apply(access.GrantEnded{At: e.Time})
		}
	}
	return nil
}

func (r *Record) credential(e *audit.Entry, d details) error {
	t := r.requests[e.Request]
	if t == nil || t.Grant == nil || t.Grant.ID != e.Grant {
		return differs(e, "is a credential of a grant that was never given")
	}
	if !t.Grant.ActiveAt(e.Time) {
		return differs(e, "is a credential of a grant that is not active")
	}
	if d.text("format") == "jwt" {
		return nil // not kept: it is good by its signature
	}
	if r.issued[e.Grant] == nil {
		r.issued[e.Grant] = map[string]bool{}
	}
	if r.issued[e.Grant][d.text("jti")] {
		return differs(e, "issues %s again", d.text("jti"))
	}
	r.issued[e.Grant][d.text("jti")] = true
	return nil
}

// details reads what entries carry; what is not there is zero.
type details map[string]any

func (d details) text(key string) string {
	s, _ := d[key].(string)
	return s
}

// object is what a member holds, in canonical form (RFC 8785).
func (d details) object(key string) json.RawMessage {
	v, ok := d[key].(map[string]any)
	if !ok {
		return nil
	}
	raw, err := json.Marshal(v)
	if err == nil {
		raw, err = jcs.Transform(raw)
	}
	if err != nil {
		return nil
	}
	return raw
}

func (d details) time(key string) time.Time {
	var t api.Time
	if err := t.UnmarshalText([]byte(d.text(key))); err != nil {
		return time.Time{}
	}
	return t.Time
}

func (d details) duration(key string) time.Duration {
	v, err := api.ParseDuration(d.text(key))
	if err != nil {
		return 0
	}
	return v
}
