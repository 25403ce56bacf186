package access_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
)

// The exact form is a promise: a client may compute the hash on its own. The
// digest was computed with Python's hashlib over the text in the comment.
func TestHashIsPinned(t *testing.T) {
	at := time.Date(2026, 11, 3, 8, 0, 0, 5_999_999, time.FixedZone("", 3600))
	c := content(terms(stage("dba", 1, "group:dba")))
	c.StartAt, c.ReasonDigest = &at, "sha256:ab"
	c.Scope = json.RawMessage(`{ "paths": ["/a<b"], "methods": ["GET"] }`)
	// {"duration":"1800s","extends":"","incarnation":"1","reason_digest":"sha256:ab","requester":"user:ana","resource":"orders",
	// "scope":{"methods":["GET"],"paths":["/a<b"]},"start_at":"2026-11-03T07:00:00.005Z","terms":{"approve_within":"14400s","auto":false,
	// "guardrails":[],"max_duration":"3600s","max_total":"7200s","policy_version":"sha256:00","rule":"writes",
	// "stages":[{"from":["group:dba"],"name":"dba","quorum":1}]},"ticket_digest":""}   (one line, no space)
	if got := c.Hash(); got != "sha256:dff98f37c1565beac81a2ba8ee49da4bc95d5f1390458a3dbf7db818c06adb9b" {
		t.Fatalf("the hash is %s", got)
	}
}

// TestHashCovers: whatever an approver decides on moves the hash, and nothing
// else does.
//
// Invariant: A8
// Attack: APV-06
func TestHashCovers(t *testing.T) {
	base := func() Content {
		c := content(terms(stage("dba", 1, "group:dba"), stage("owner", 2, "group:owners", "user:cy")))
		at := noon.Add(time.Hour)
		c.StartAt, c.Terms.Guardrails = &at, []string{"a", "b"}
		return c
	}
	seen := map[string]string{base().Hash(): "as it is"}
	for what, change := range map[string]func(*Content){
		"requester":      func(c *Content) { c.Requester = "user:eve" },
		"resource":       func(c *Content) { c.Resource = "billing" },
		"incarnation":    func(c *Content) { c.Incarnation = "2" },
		"scope":          func(c *Content) { c.Scope = json.RawMessage(`{"methods":["GET","POST"]}`) },
		"duration":       func(c *Content) { c.Duration += time.Second },
		"no start":       func(c *Content) { c.StartAt = nil },
		"start":          func(c *Content) { *c.StartAt = c.StartAt.Add(time.Millisecond) },
		"reason":         func(c *Content) { c.ReasonDigest = "sha256:cc" },
		"ticket":         func(c *Content) { c.TicketDigest = "sha256:cc" },
		"extends":        func(c *Content) { c.Extends = "grt_9" },
		"policy version": func(c *Content) { c.Terms.PolicyVersion = "sha256:01" },
		"rule":           func(c *Content) { c.Terms.Rule = "reads" },
		"guardrails":     func(c *Content) { c.Terms.Guardrails = []string{"a,b"} },
		"auto":           func(c *Content) { c.Terms.Auto = true },
		"no stages":      func(c *Content) { c.Terms.Stages = nil },
		"stage order":    func(c *Content) { slices.Reverse(c.Terms.Stages) },
		"stage name":     func(c *Content) { c.Terms.Stages[0].Name = "x" },
		"stage from":     func(c *Content) { c.Terms.Stages[1].From = []string{"group:owners"} },
		"stage quorum":   func(c *Content) { c.Terms.Stages[1].Quorum = 1 },
		"max duration":   func(c *Content) { c.Terms.MaxDuration++ },
		"max total":      func(c *Content) { c.Terms.MaxTotal += time.Second },
		"approve within": func(c *Content) { c.Terms.ApproveWithin += time.Second },
	} {
		c := base()
		change(&c)
		hash := c.Hash()
		if other, ok := seen[hash]; ok {
			t.Errorf("%q and %q have one hash", what, other)
		}
		seen[hash] = what
	}
	for what, change := range map[string]func(*Content){
		"the name of the role": func(c *Content) { c.Role = "write" },
		"spaces in the scope":  func(c *Content) { c.Scope = json.RawMessage(`{"methods" : ["GET"] }`) },
		"another time zone":    func(c *Content) { *c.StartAt = c.StartAt.In(time.FixedZone("", 7200)) },
	} {
		c := base()
		change(&c)
		if seen[c.Hash()] != "as it is" {
			t.Errorf("%s moved the hash", what)
		}
	}
	c := base()
	c.Terms.Guardrails = nil
	none := c.Hash()
	c.Terms.Guardrails = []string{}
	if c.Hash() != none {
		t.Error("an empty list and none have different hashes")
	}
	for _, bad := range []string{``, `{`, `{"a":1}{}`} {
		if c.Scope = json.RawMessage(bad); c.Hash() != "" {
			t.Errorf("the scope %q has a hash", bad)
		}
	}
}

// A stored content that is not what was submitted is voted on by nobody.
//
// Invariant: A8
func TestContentChangedBehindTheHash(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"))
	r := pending(t, tm)
	r.Content.Scope = json.RawMessage(`{"methods":["DELETE"]}`)
	refused(t, r, vote(r, "user:bo", Approve), facts(noon, town(), tm), CodeContentChanged)

	// A request survives a store that keeps it as JSON.
	var stored Request
	if err := json.Unmarshal(snapshot(pending(t, tm)), &stored); err != nil {
		t.Fatal(err)
	}
	want(t, do(t, &stored, vote(&stored, "user:bo", Approve), facts(noon, town(), tm)), "approved/active")
}
