package sqlstore

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/daypass/daypass/internal/access"
)

// A body is, to the byte, what encoding/json writes, and is read as it reads
// it: rows that were written before are the same rows. Only what stands for a
// byte that is no UTF-8 is written as itself and not as its escape.
func TestBodiesAreAsEncodingJSONHasThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRequest(t)
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
		body, err := encodeRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.ReplaceAll(want.String(), `\ufffd`, "\uFFFD"), body+"\n"); diff != "" {
			t.Fatalf("the body (-encoding/json +own):\n%s", diff)
		}
		read := new(access.Request)
		if err := json.Unmarshal([]byte(body), read); err != nil {
			t.Fatal(err)
		}
		got, err := decodeRequest("reading it", read.Version, body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(read, got); diff != "" {
			t.Fatalf("it is read as (-encoding/json +own):\n%s", diff)
		}
	})
}

func TestABodyThatIsNoneIsRefused(t *testing.T) {
	for _, body := range []string{"", "{", "[]", `{"id":1}`, `{} {}`, `{"created_at":"yesterday"}`, `{"version":1.5}`} {
		var read access.Request
		want := json.Unmarshal([]byte(body), &read) != nil
		if _, err := decodeRequest("reading it", 1, body); (err != nil) != want || !want {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func drawRequest(t *rapid.T) *access.Request {
	text := func(name string) string {
		return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "user:ana", "<&>\u2028", "a\xffb", "\x00\"\\"})).Draw(t, name)
	}
	at := func(name string) time.Time {
		return time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, name)).In(rapid.SampledFrom([]*time.Location{time.UTC, time.FixedZone("", 3600)}).Draw(t, name+" zone"))
	}
	maybe := func(name string) *time.Time {
		if rapid.Bool().Draw(t, "has "+name) {
			v := at(name)
			return &v
		}
		return nil
	}
	list := func(name string) []string {
		return rapid.SampledFrom([][]string{nil, {}, {text(name)}, {"group:a", text(name)}}).Draw(t, name)
	}
	stages := func(name string) []access.Stage {
		return rapid.SampledFrom([][]access.Stage{nil, {}, {{Name: text(name), From: list(name), Quorum: 2}}}).Draw(t, name)
	}
	span := func(name string) time.Duration {
		return time.Duration(rapid.SampledFrom([]int64{0, 1, int64(time.Hour), -5, 1<<62 + 1}).Draw(t, name))
	}
	r := &access.Request{
		ID: text("id"), Version: rapid.Int64().Draw(t, "version"), Revision: rapid.IntRange(0, 9).Draw(t, "revision"), ContentHash: text("hash"),
		Content: access.Content{
			Requester: text("requester"), Resource: text("resource"), Incarnation: text("incarnation"), Kind: text("kind"), Role: text("role"),
			Scope:    rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`{"paths":["/a<b&c>"]}`), json.RawMessage(`{ "a" : [ 1.0 ] }`), json.RawMessage(`null`)}).Draw(t, "scope"),
			Duration: span("duration"), StartAt: maybe("start"), ReasonDigest: text("reason"), TicketDigest: text("ticket"), Extends: text("extends"),
			Terms: access.Terms{
				PolicyVersion: text("policy"), Rule: text("rule"), Guardrails: list("guardrails"), Auto: rapid.Bool().Draw(t, "auto"), Stages: stages("stages"),
				MaxDuration: span("max"), MaxTotal: span("total"), ApproveWithin: span("within"),
			},
		},
		State: access.State(text("state")), CreatedAt: at("created"), ApproveBy: at("by"), DecidedAt: maybe("decided"), DecidedBy: text("decider"), Outcome: text("outcome"),
		Added: stages("added"),
	}
	if rapid.Bool().Draw(t, "glass") {
		r.Content.Terms.BreakGlass = &access.BreakGlass{MaxDuration: span("glass"), Notify: list("notify")}
		r.Duty = &access.Duty{Told: list("told"), Person: text("person"), Finding: rapid.Bool().Draw(t, "finding"), DoneAt: maybe("done")}
	}
	if rapid.Bool().Draw(t, "review") {
		r.Reviews = []access.Review{{ID: text("rev"), By: text("voter"), Decision: access.Approve, Stage: 1, Duration: span("narrowed"), CommentDigest: text("comment"), At: at("vote")}}
	}
	if rapid.Bool().Draw(t, "grant") {
		r.Grant = &access.Grant{ID: text("grant"), State: access.Active, StartsAt: at("starts"), ExpiresAt: at("expires"), EndedAt: maybe("ended"), EndedReason: access.EndExpired, CleanupPending: rapid.Bool().Draw(t, "pending")}
	}
	return r
}
