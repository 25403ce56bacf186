package access_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"

	. "github.com/daypass/daypass/internal/access"
)

// The hash is that of the RFC 8785 form, whatever is in a content: it is
// compared with one that is composed by encoding/json and made canonical by an
// independent implementation.
//
// Invariant: A8
func TestHashIsOfTheCanonicalForm(t *testing.T) {
	scopes := []string{`{"methods":["GET"],"paths":["/a<b"]}`, `{ "paths": [1.50, 2e3], "b": "é\u0041" }`, `[]`, `"x"`, `12`, `null`, `{`, ``, `{"a":1,"a":2}`, `{} {}`, "{\"a\":\"\xff\"}"}
	none := 0
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string {
			return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "user:ana", "a\xff\xfeb", "<\u2028>\"\\\x01"})).Draw(t, name)
		}
		list := func(name string) []string {
			return rapid.SampledFrom([][]string{nil, {}, {text(name)}, {"group:a", text(name)}}).Draw(t, name)
		}
		span := func(name string) time.Duration { return time.Duration(rapid.Int64().Draw(t, name)) }
		c := Content{
			Requester: text("requester"), Resource: text("resource"), Incarnation: text("incarnation"), Kind: "http", Role: "r",
			Scope: json.RawMessage(rapid.SampledFrom(scopes).Draw(t, "scope")), Duration: span("duration"),
			ReasonDigest: text("reason"), TicketDigest: text("ticket"), Extends: text("extends"),
			Target: json.RawMessage(rapid.SampledFrom([]string{"", "", `{"oid": 7, "b": [1.50]}`, `{`}).Draw(t, "target")),
			Terms: Terms{
				PolicyVersion: text("policy"), Rule: text("rule"), Guardrails: list("guardrails"), Auto: rapid.Bool().Draw(t, "auto"),
				MaxDuration: span("max"), MaxTotal: span("total"), ApproveWithin: rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "within"),
			},
		}
		for range rapid.IntRange(0, 2).Draw(t, "stages") {
			c.Terms.Stages = append(c.Terms.Stages, Stage{Name: text("stage"), From: list("from"), Quorum: rapid.IntRange(-5, 1e6).Draw(t, "quorum")})
		}
		if rapid.Bool().Draw(t, "glass") {
			c.Terms.BreakGlass = &BreakGlass{MaxDuration: span("glass"), Notify: list("notify")}
		}
		if rapid.Bool().Draw(t, "start") {
			at := time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "at"))
			c.StartAt = &at
		}
		want := hashByJCS(c)
		if want == "" {
			none++
		}
		if got := c.Hash(); got != want {
			t.Fatalf("%+v has the hash %q, want %q", c, got, want)
		}
	})
	if none == 0 {
		t.Error("no scope was refused")
	}
}

// secondsOf writes a duration as it is hashed.
func secondsOf(d time.Duration) string {
	if d%time.Second != 0 {
		return d.String()
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// hashed is the form of a Content that is hashed: exactly what CONTRACT §4
// lists. The name of the role is not in it, as the scope is what is granted;
// nor is the kind, which belongs to the incarnation of the resource. Every
// key is always there, so that leaving something out cannot look like another
// content.
type hashed struct {
	Requester    string          `json:"requester"`
	Resource     string          `json:"resource"`
	Incarnation  string          `json:"incarnation"`
	Scope        json.RawMessage `json:"scope"`
	Duration     string          `json:"duration"`
	StartAt      *string         `json:"start_at"`
	ReasonDigest string          `json:"reason_digest"`
	TicketDigest string          `json:"ticket_digest"`
	Extends      string          `json:"extends"`
	Terms        hashedTerms     `json:"terms"`
	Target       json.RawMessage `json:"target,omitempty"`
}

type hashedTerms struct {
	PolicyVersion string   `json:"policy_version"`
	Rule          string   `json:"rule"`
	Guardrails    []string `json:"guardrails"`
	Auto          bool     `json:"auto"`
	Stages        []Stage  `json:"stages"`
	MaxDuration   string   `json:"max_duration"`
	MaxTotal      string   `json:"max_total"`
	ApproveWithin string   `json:"approve_within"`
	// The one key that is left out where there is none: contents hashed before
	// there was such a thing keep their hashes, and one with it always differs.
	BreakGlass *hashedGlass `json:"break_glass,omitempty"`
}

type hashedGlass struct {
	MaxDuration string   `json:"max_duration"`
	Notify      []string `json:"notify"`
}

func hashByJCS(c Content) string {
	h := hashed{
		Requester: c.Requester, Resource: c.Resource, Incarnation: c.Incarnation, Scope: c.Scope, Target: c.Target,
		Duration: secondsOf(c.Duration), ReasonDigest: c.ReasonDigest, TicketDigest: c.TicketDigest, Extends: c.Extends,
		Terms: hashedTerms{
			PolicyVersion: c.Terms.PolicyVersion, Rule: c.Terms.Rule, Auto: c.Terms.Auto,
			// Copied onto what is not nil: an empty list and none are one.
			Guardrails:  append([]string{}, c.Terms.Guardrails...),
			Stages:      append([]Stage{}, c.Terms.Stages...),
			MaxDuration: secondsOf(c.Terms.MaxDuration), MaxTotal: secondsOf(c.Terms.MaxTotal), ApproveWithin: secondsOf(c.Terms.ApproveWithin),
		},
	}
	if g := c.Terms.BreakGlass; g != nil {
		h.Terms.BreakGlass = &hashedGlass{MaxDuration: secondsOf(g.MaxDuration), Notify: append([]string{}, g.Notify...)}
	}
	for i, s := range h.Terms.Stages {
		h.Terms.Stages[i].From = append([]string{}, s.From...)
	}
	if c.StartAt != nil {
		at := c.StartAt.UTC().Truncate(time.Millisecond).Format("2006-01-02T15:04:05.000Z07:00")
		h.StartAt = &at
	}
	if len(h.Scope) == 0 {
		return ""
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return ""
	}
	canonical, err := jcs.Transform(raw)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:])
}
