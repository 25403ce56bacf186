package api

import "encoding/json"

// ExplainRequest is the body of POST /v1/catalog/explain: whose request for
// what is to be explained by the catalog in force.
type ExplainRequest struct {
	Principal string          `json:"principal"`
	Resource  string          `json:"resource"`
	Role      string          `json:"role,omitempty"`
	Scope     json.RawMessage `json:"scope,omitempty"`
	Duration  Duration        `json:"duration,omitempty"` // without it no duration is too long
	Reason    string          `json:"reason,omitempty"`
	Ticket    string          `json:"ticket,omitempty"`
	At        *Time           `json:"at,omitempty"` // when it is asked and begins; without it now
}

// Explained answers POST /v1/catalog/explain: a decision with every step that
// led to it.
type Explained struct {
	Decision      Decision         `json:"decision"`
	Principal     string           `json:"principal"`
	Groups        []string         `json:"groups"`
	Resource      string           `json:"resource"`
	Role          string           `json:"role,omitempty"`
	Scope         json.RawMessage  `json:"scope"`
	Duration      Duration         `json:"duration,omitempty"`
	At            Time             `json:"at"`
	Guardrails    []ExplainedEntry `json:"guardrails"`
	Rules         []ExplainedEntry `json:"rules"`
	MaxTotal      Duration         `json:"max_total,omitempty"`
	ApproveWithin Duration         `json:"approve_within,omitempty"`
	LimitedBy     string           `json:"limited_by,omitempty"` // what sets decision.max_duration
	Stages        []ExplainedStage `json:"stages"`               // of the rule that decided, also where too few could approve
}

// ExplainedEntry is one guardrail or rule as it was looked at.
type ExplainedEntry struct {
	Name    string          `json:"name"`
	Kind    string          `json:"kind,omitempty"`
	When    string          `json:"when,omitempty"`
	Outcome string          `json:"outcome" enum:"matched,not_matched,failed,other_kind,not_reached"`
	Why     string          `json:"why,omitempty"` // of failed
	Parts   []ExplainedPart `json:"parts"`
}

// ExplainedPart is one sub-expression of a condition; those of depth n+1 that
// follow one of depth n are what it is made of.
type ExplainedPart struct {
	Depth int     `json:"depth"`
	Text  string  `json:"text"`
	Value *string `json:"value"` // null: not evaluated, because another part decided
}

// ExplainedStage is one stage, with those who could vote in it and those of it
// who could not.
type ExplainedStage struct {
	Name     string        `json:"name"`
	From     []string      `json:"from"`
	Quorum   int           `json:"quorum"`
	Eligible []string      `json:"eligible"`
	Barred   []BarredVoter `json:"barred"`
}

// BarredVoter is somebody in a stage who cannot vote on this request.
type BarredVoter struct {
	Principal string `json:"principal"`
	Why       string `json:"why"`
}
