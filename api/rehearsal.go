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
	// Effective is what it would really reach, for resources of a kind that finds
	// that out; without it the target is looked at.
	Effective json.RawMessage `json:"effective,omitempty"`
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

// Backtest answers POST /v1/catalog/backtest: what a catalog would have decided
// of the requests that were made.
type Backtest struct {
	Version    string         `json:"version"` // of the catalog that was tried
	Since      Time           `json:"since"`
	Until      Time           `json:"until"`
	Replayed   int            `json:"replayed"`
	Refusals   int            `json:"refusals"`    // of these, requests that were refused
	Same       int            `json:"same"`        // of these, decided the same
	Flipped    int            `json:"flipped"`     // of these, decided otherwise
	Erased     int            `json:"erased"`      // of these, without their reason or ticket: what asks for them was taken as met
	NotCovered int            `json:"not_covered"` // refusals of which too little is on record to replay them
	Changes    map[string]int `json:"changes"`     // "auto → review": how many
	Flips      []Flip         `json:"flips"`       // newest first
	Truncated  bool           `json:"truncated"`   // there are more flips than are listed
}

// Flip is one request that would have been decided otherwise.
type Flip struct {
	Request      string   `json:"request,omitempty"`
	Event        string   `json:"event,omitempty"` // of one that was refused
	At           Time     `json:"at"`
	Requester    string   `json:"requester"`
	Resource     string   `json:"resource"`
	Role         string   `json:"role,omitempty"`
	Duration     Duration `json:"duration,omitempty"`
	From         string   `json:"from" enum:"auto,review,break_glass,refused"`
	To           string   `json:"to" enum:"auto,review,break_glass,refused"`
	Was          string   `json:"was"` // what was decided
	Now          string   `json:"now"` // what would be, and why
	GroupsLost   []string `json:"groups_lost"`
	GroupsGained []string `json:"groups_gained"`
	ScopeChanged bool     `json:"scope_changed,omitempty"` // its role has another scope
	Erased       bool     `json:"erased,omitempty"`
}
