package access

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/gowebpki/jcs"
)

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

// Hash is the content hash, "sha256:" and hex: the SHA-256 of the RFC 8785
// form. It is empty when the scope is not JSON; an empty hash matches no vote.
func (c Content) Hash() string {
	h := hashed{
		Requester: c.Requester, Resource: c.Resource, Incarnation: c.Incarnation, Scope: c.Scope,
		Duration: seconds(c.Duration), ReasonDigest: c.ReasonDigest, TicketDigest: c.TicketDigest, Extends: c.Extends,
		Terms: hashedTerms{
			PolicyVersion: c.Terms.PolicyVersion, Rule: c.Terms.Rule, Auto: c.Terms.Auto,
			// Copied onto what is not nil: an empty list and none are one.
			Guardrails:  append([]string{}, c.Terms.Guardrails...),
			Stages:      append([]Stage{}, c.Terms.Stages...),
			MaxDuration: seconds(c.Terms.MaxDuration), MaxTotal: seconds(c.Terms.MaxTotal), ApproveWithin: seconds(c.Terms.ApproveWithin),
		},
	}
	if g := c.Terms.BreakGlass; g != nil {
		h.Terms.BreakGlass = &hashedGlass{MaxDuration: seconds(g.MaxDuration), Notify: append([]string{}, g.Notify...)}
	}
	for i, s := range h.Terms.Stages {
		h.Terms.Stages[i].From = append([]string{}, s.From...)
	}
	if c.StartAt != nil {
		at := stamp(*c.StartAt)
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

// seconds is a duration as text, "900s": as a number, RFC 8785 would round it.
func seconds(d time.Duration) string {
	if d%time.Second != 0 {
		return d.String()
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// spoken is a duration as people write one, "1h30m": without what is zero.
func spoken(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// stamp is RFC 3339 in UTC with exactly three decimals, rounded down.
func stamp(t time.Time) string {
	return t.UTC().Truncate(time.Millisecond).Format("2006-01-02T15:04:05.000Z07:00")
}
