package replay_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/replay"
)

// TestEntriesThatCannotFollow: a record in which a final state is left, or
// something happens to what never was, is no record of Daypass.
//
// Invariant: A2, A10, A12
func TestEntriesThatCannotFollow(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	e := func(kind, actor string, details map[string]any) *audit.Entry {
		return &audit.Entry{Type: kind, Actor: actor, Request: "req_1", Grant: map[bool]string{true: "grt_1"}[strings.HasPrefix(kind, "grant.") || strings.HasPrefix(kind, "credential.")], Time: at, Details: details}
	}
	created := e(audit.RequestCreated, "user:ana", map[string]any{"principal": "user:ana", "content_hash": "sha256:1"})
	vote := func(who string) *audit.Entry {
		return e(audit.ReviewRecorded, who, map[string]any{"review": "rev_" + who, "person": who, "decision": "approve", "content_hash": "sha256:1"})
	}
	approved, denied := e(audit.RequestApproved, "user:bo", nil), e(audit.RequestDenied, "user:bo", nil)
	window := map[string]any{"state": "active", "starts_at": "2026-01-01T00:00:00.000Z", "expires_at": "2026-01-01T01:00:00.000Z"}
	active, ended := e(audit.GrantActivated, "user:bo", window), e(audit.GrantEnded, "user:ana", map[string]any{"ended_reason": "returned", "access_ended_at": "2026-01-01T00:30:00.000Z", "state": "ended"})
	issued := e(audit.CredentialIssued, "user:ana", map[string]any{"format": "token", "jti": "cred_1"})
	other := e(audit.ReviewRecorded, "user:cy", map[string]any{"review": "rev_9", "person": "user:cy", "decision": "approve", "content_hash": "sha256:2"})
	for name, entries := range map[string][]*audit.Entry{
		"glass after a denial":             {created, denied, e(audit.GlassUsed, "user:ana", nil)},
		"a review of no glass":             {created, e(audit.GlassReviewed, "user:bo", nil)},
		"made twice":                       {created, created},
		"a vote on nothing":                {vote("user:bo")},
		"two votes of one":                 {created, vote("user:bo"), vote("user:bo")},
		"a vote for other content":         {created, other},
		"approved after a denial":          {created, denied, approved},
		"denied after an approval":         {created, approved, denied},
		"a grant without an approval":      {created, active},
		"a grant after a denial":           {created, denied, active},
		"an end before a beginning":        {created, approved, ended},
		"a life after the end":             {created, approved, active, ended, active},
		"ended twice":                      {created, approved, active, ended, ended},
		"a credential without a grant":     {created, issued},
		"a credential after the end":       {created, approved, active, ended, issued},
		"the same credential issued twice": {created, approved, active, issued, issued},
	} {
		t.Run(name, func(t *testing.T) {
			r := replay.New()
			for i, e := range entries {
				err := r.Add(e)
				var found *replay.Difference
				if last := i == len(entries)-1; last != errors.As(err, &found) {
					t.Fatalf("entry %d: %v", i+1, err)
				}
			}
		})
	}
}
