package access_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
)

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// people is a Directory made by hand. The zero value knows nobody.
type people struct {
	person map[string]string   // account → person; what is missing is unknown or disabled
	owner  map[string]string   // account → who owns it
	groups map[string][]string // group → accounts in it, directly or through others
}

func (p *people) Person(id string) (string, bool) {
	person, ok := p.person[id]
	return person, ok
}

func (p *people) Member(id string, set []string) bool {
	for _, s := range set {
		if s == id || slices.Contains(p.groups[s], id) {
			return true
		}
	}
	return false
}

func (p *people) Related(a, b string) bool {
	if p.person[a] == "" || p.person[b] == "" {
		return false
	}
	roots := func(id string) []string {
		var up []string
		for id != "" && !slices.Contains(up, p.person[id]) {
			up = append(up, p.person[id])
			id = p.owner[id]
		}
		return up
	}
	return slices.Contains(roots(a), p.person[b]) || slices.Contains(roots(b), p.person[a])
}

func (p *people) clone() *people {
	c := &people{person: map[string]string{}, owner: map[string]string{}, groups: map[string][]string{}}
	for k, v := range p.person {
		c.person[k] = v
	}
	for k, v := range p.owner {
		c.owner[k] = v
	}
	for k, v := range p.groups {
		c.groups[k] = slices.Clone(v)
	}
	return c
}

func (p *people) leave(account, group string) {
	p.groups[group] = slices.DeleteFunc(slices.Clone(p.groups[group]), func(a string) bool { return a == account })
}

// town is the cast of the table tests: ana asks; bo and di are dba, cy and di
// are owners. bo2 is bo's second account, ci is ana's service.
func town() *people {
	return &people{
		person: map[string]string{
			"user:ana": "user:ana", "user:ana2": "user:ana", "user:bo": "user:bo", "user:bo2": "user:bo", "user:cy": "user:cy",
			"user:di": "user:di", "user:ed": "user:ed", "service:ci": "service:ci", "agent:bot": "agent:bot",
		},
		owner: map[string]string{"service:ci": "user:ana", "agent:bot": "user:bo"},
		groups: map[string][]string{
			"group:dba":    {"user:bo", "user:bo2", "user:di", "user:ana", "user:ana2", "agent:bot"},
			"group:owners": {"user:cy", "user:di", "user:bo2"},
			"group:sec":    {"user:ed"},
		},
	}
}

func stage(name string, quorum int, from ...string) Stage {
	return Stage{Name: name, From: from, Quorum: quorum}
}

func terms(stages ...Stage) Terms {
	return Terms{
		PolicyVersion: "sha256:00", Rule: "writes", Stages: stages,
		MaxDuration: time.Hour, MaxTotal: 2 * time.Hour, ApproveWithin: 4 * time.Hour,
	}
}

func autoTerms() Terms {
	t := terms()
	t.Auto = true
	return t
}

func content(t Terms) Content {
	return Content{
		Requester: "user:ana", Resource: "orders", Incarnation: "1", Kind: "http", Role: "read",
		Scope: json.RawMessage(`{"methods":["GET"]}`), Duration: 30 * time.Minute, Terms: t,
	}
}

// facts are those of a calm moment: the catalog says what it said.
func facts(now time.Time, dir Directory, t Terms) Facts {
	return Facts{Now: now, Directory: dir, Current: &Verdict{Terms: t}}
}

// do decides and applies, and fails the test on a refusal.
func do(t testing.TB, r *Request, cmd Command, f Facts) *Request {
	t.Helper()
	events, err := Decide(r, cmd, f)
	if err != nil {
		t.Fatalf("%#v: %v", cmd, err)
	}
	return Apply(r, events...)
}

// refused decides, and fails the test unless the refusal is code.
func refused(t testing.TB, r *Request, cmd Command, f Facts, code Code) *Error {
	t.Helper()
	events, err := Decide(r, cmd, f)
	var refusal *Error
	if !errors.As(err, &refusal) {
		t.Fatalf("%#v was not refused with %s: %#v, %v", cmd, code, events, err)
	}
	if refusal.Code != code {
		t.Fatalf("%#v was refused with %v, want %s", cmd, err, code)
	}
	if len(events) != 0 {
		t.Fatalf("a refusal came with events: %#v", events)
	}
	if refusal.Message == "" {
		t.Fatalf("the refusal %s says nothing", code)
	}
	return refusal
}

func pending(t testing.TB, tm Terms) *Request {
	t.Helper()
	return do(t, nil, Submit{ID: "req_1", GrantID: "grt_1", Content: content(tm)}, facts(noon, town(), tm))
}

func vote(r *Request, by string, d Decision) CastVote {
	return CastVote{ReviewID: "rev_" + by, GrantID: "grt_1", By: by, Decision: d, ContentHash: r.ContentHash}
}

// state is a request's state and its grant's, in one word.
func state(r *Request) string {
	s := string(r.State)
	if r.Grant != nil {
		s += "/" + string(r.Grant.State)
		if r.Grant.EndedReason != "" {
			s += ":" + string(r.Grant.EndedReason)
		}
	}
	return s
}

func want(t testing.TB, r *Request, s string) {
	t.Helper()
	if state(r) != s {
		t.Fatalf("the request is %s (%s), want %s", state(r), r.Outcome, s)
	}
}
