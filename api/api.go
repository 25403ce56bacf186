// Package api holds the wire types of the Daypass API: what /v1 takes and
// answers, as Go values. It is public, a leaf, and does nothing: it refuses
// behaviour beyond parsing and printing its own scalar types.
package api

import "encoding/json"

// Request is one principal asking for one scope on one resource.
type Request struct {
	ID          string          `json:"id"`
	Revision    int             `json:"revision"`
	ContentHash string          `json:"content_hash"`
	State       string          `json:"state" enum:"pending,approved,denied,cancelled,expired"`
	Requester   string          `json:"requester"`
	OnBehalfOf  *string         `json:"on_behalf_of"` // the owner of an agent or service
	Resource    string          `json:"resource"`
	Kind        string          `json:"kind"`
	Role        string          `json:"role,omitempty"`
	Scope       json.RawMessage `json:"scope"`
	Target      json.RawMessage `json:"target,omitempty"`   // what the scope means in the target, where the kind looks there
	Workload    *Workload       `json:"workload,omitempty"` // the job that asked, by its platform's signed token
	Duration    Duration        `json:"duration"`
	Reason      string          `json:"reason,omitempty"`
	Ticket      string          `json:"ticket,omitempty"`
	StartAt     *Time           `json:"start_at,omitempty"`
	Extends     string          `json:"extends,omitempty"`
	CreatedAt   Time            `json:"created_at"`
	ApproveBy   Time            `json:"approve_by"`
	DecidedAt   *Time           `json:"decided_at"`
	DecidedBy   string          `json:"decided_by,omitempty"`
	Stages      []Stage         `json:"stages"`
	Reviews     []Review        `json:"reviews"`
	Policy      Policy          `json:"policy"`
	BreakGlass  *BreakGlass     `json:"break_glass,omitempty"` // of a request that took access first
	Explanation string          `json:"explanation"`
	Grant       *Grant          `json:"grant"`
	Actions     []string        `json:"actions"` // what the caller may do with it now
	// Erased names the texts that were there and were erased: reason, ticket.
	Erased []string `json:"erased,omitempty"`
}

// Workload is one run of a job, as the platform that runs it has vouched for:
// not what the job says of itself.
type Workload struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
	Rule    string `json:"rule"` // which of the server's rules let it in
	// Claims are those of the token that the server keeps, such as
	// repository_id and run_id.
	Claims map[string]string `json:"claims"`
}

// Stage is one step of an approval and who has approved in it.
type Stage struct {
	Name      string   `json:"name"`
	From      []string `json:"from"`
	Quorum    int      `json:"quorum"`
	Approvals []string `json:"approvals"`
}

// Review is one person's vote.
type Review struct {
	ID       string    `json:"id"`
	By       string    `json:"by"`
	Decision string    `json:"decision" enum:"approve,deny"`
	Stage    string    `json:"stage"`
	Comment  string    `json:"comment,omitempty"`
	Duration *Duration `json:"duration,omitempty"`
	At       Time      `json:"at"`
	Erased   bool      `json:"erased,omitempty"` // there was a comment, and it was erased
}

// Policy is what decided.
type Policy struct {
	Version    string   `json:"version"`
	Rule       string   `json:"rule"`
	Guardrails []string `json:"guardrails"`
}

// Grant is the access itself, on [StartsAt, ExpiresAt).
type Grant struct {
	ID             string          `json:"id"`
	Request        string          `json:"request"`
	Principal      string          `json:"principal"`
	Resource       string          `json:"resource"`
	Kind           string          `json:"kind"`
	Scope          json.RawMessage `json:"scope"`
	State          string          `json:"state" enum:"scheduled,activating,active,ending,ended"`
	StartsAt       Time            `json:"starts_at"`
	ExpiresAt      Time            `json:"expires_at"`
	EndedAt        *Time           `json:"ended_at"`
	EndedReason    *string         `json:"ended_reason"`
	CleanupPending bool            `json:"cleanup_pending,omitempty"`
	BreakGlass     bool            `json:"break_glass,omitempty"` // taken before anybody agreed; never extended
	Connect        *Connect        `json:"connect,omitempty"`
	Actions        []string        `json:"actions"`
}

// Connect tells how to use a grant. It never holds a secret.
type Connect struct {
	URL          string   `json:"url,omitempty"`  // http kinds: the base URL at the gateway
	DSN          string   `json:"dsn,omitempty"`  // databases: a URI without the secret
	Host         string   `json:"host,omitempty"` // the parts of the DSN, for clients that want them one by one
	Port         int      `json:"port,omitempty"`
	User         string   `json:"user,omitempty"`
	Database     string   `json:"database,omitempty"`
	Instructions []string `json:"instructions,omitempty"` // lines to copy; <secret> stands for the credential
}

// SubmitRequest is the body of POST /v1/requests.
type SubmitRequest struct {
	Resource string          `json:"resource" minLength:"1" maxLength:"128"`
	Role     string          `json:"role,omitempty" maxLength:"128"`
	Scope    json.RawMessage `json:"scope,omitempty"`
	Duration Duration        `json:"duration"`
	Reason   string          `json:"reason,omitempty" maxLength:"4096"`
	Ticket   string          `json:"ticket,omitempty" maxLength:"256"`
	StartAt  *Time           `json:"start_at,omitempty"`
	// BreakGlass takes access first, in an emergency: the rule must allow it.
	BreakGlass bool `json:"break_glass,omitempty"`
}

// Decision answers a dry run, and says in a resource how a role would be decided.
type Decision struct {
	Decision    string `json:"decision" enum:"auto,review,break_glass,refused"`
	Code        string `json:"code,omitempty"`  // of the refusal
	Field       string `json:"field,omitempty"` // of the request, which the refusal is about
	Explanation string `json:"explanation"`
	// Target is what the scope means in the target, where the kind looks there.
	Target      json.RawMessage `json:"target,omitempty"`
	Stages      []Stage         `json:"stages"`
	MaxDuration Duration        `json:"max_duration,omitempty"`
	Policy      Policy          `json:"policy"`
	// BreakGlass is what the rule allows in an emergency, asked for or not.
	BreakGlass *BreakGlassOffer `json:"break_glass,omitempty"`
}

// BreakGlassOffer says how access can be had before anybody agrees.
type BreakGlassOffer struct {
	MaxDuration Duration `json:"max_duration"`
	Notify      []string `json:"notify"` // who is told at once
}

// BreakGlass is a request's broken glass, and the review that it owes.
type BreakGlass struct {
	MaxDuration Duration `json:"max_duration"`
	Notify      []string `json:"notify"` // whom the rule names
	Told        []string `json:"told"`   // the accounts that were told at once
	Review      string   `json:"review" enum:"due,passed,finding"`
	Finding     bool     `json:"finding"` // a reviewer denied it
	ReviewedAt  *Time    `json:"reviewed_at"`
}

// ReviewRequest is the body of POST /v1/requests/{id}/reviews.
type ReviewRequest struct {
	Decision    string    `json:"decision" enum:"approve,deny"`
	ContentHash string    `json:"content_hash"`
	Comment     string    `json:"comment,omitempty" maxLength:"4096"`
	Duration    *Duration `json:"duration,omitempty"`
}

// CredentialRequest is the body of POST /v1/grants/{id}/credentials.
type CredentialRequest struct {
	Format string `json:"format,omitempty" enum:"token,jwt" default:"token"`
}

// Credential is shown once. Secret is null when an idempotent call is replayed.
type Credential struct {
	Format    string  `json:"format"`
	Secret    *string `json:"secret"`
	ExpiresAt Time    `json:"expires_at"`
	Connect   Connect `json:"connect"`
}

// RevokeRequest is the body of POST /v1/grants/{id}/revoke.
type RevokeRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"4096"`
}

// ExtendRequest is the body of POST /v1/grants/{id}/extend.
type ExtendRequest struct {
	Duration Duration `json:"duration"`
	Reason   string   `json:"reason,omitempty" maxLength:"4096"`
	Ticket   string   `json:"ticket,omitempty" maxLength:"256"`
}

// RevocationRequest is the body of POST /v1/revocations: exactly one of
// Principal and Resource.
type RevocationRequest struct {
	Principal string `json:"principal,omitempty"`
	Resource  string `json:"resource,omitempty"`
	Reason    string `json:"reason,omitempty" maxLength:"4096"`
}

// Revocation says how many grants a revocation ended, and lists them: of very
// many only the newest.
type Revocation struct {
	Grants []Grant `json:"grants"`
	Count  int     `json:"count"`
}

// Resource is something the caller may ask for.
type Resource struct {
	ID     string            `json:"id"`
	Kind   string            `json:"kind"`
	Labels map[string]string `json:"labels"`
	Owners []string          `json:"owners"`
	Roles  []Role            `json:"roles"`
	// FreeScope says that any scope of the kind may be asked for, beside the roles.
	FreeScope bool `json:"free_scope,omitempty"`
}

// Role is a named scope and how asking for it would be decided.
type Role struct {
	Name     string          `json:"name"`
	Scope    json.RawMessage `json:"scope"`
	Decision Decision        `json:"decision"`
}

// Me is the caller.
type Me struct {
	ID      string   `json:"id"`
	Person  string   `json:"person"`
	Kind    string   `json:"kind"`
	Owner   string   `json:"owner,omitempty"`
	Groups  []string `json:"groups"`
	Admin   bool     `json:"admin"`
	Auditor bool     `json:"auditor"`
	// Login is what the caller is logged in by; none where it is an API token.
	Login *Login `json:"login,omitempty"`
	// ExpiresAt is when what the caller showed ends; none for a token that the
	// catalog lists.
	ExpiresAt *Time `json:"expires_at,omitempty"`
}

// Login is one login of a person: a browser, or a command line.
type Login struct {
	ID        string `json:"id"`
	Principal string `json:"principal"`
	Kind      string `json:"kind" enum:"browser,cli"`
	Label     string `json:"label"`  // what the device says of itself
	IP        string `json:"ip"`     // from where it was made
	Issuer    string `json:"issuer"` // who vouched for the person
	CreatedAt Time   `json:"created_at"`
	SeenAt    Time   `json:"seen_at"`
	ExpiresAt Time   `json:"expires_at"` // at the latest
	Current   bool   `json:"current"`    // the one of this call
}

// LoginsEnded says how many logins a call has ended.
type LoginsEnded struct {
	Ended int `json:"ended"`
}

// Session is one live connection through a gateway.
type Session struct {
	ID        string `json:"id"`
	Grant     string `json:"grant"`
	Request   string `json:"request"`
	Principal string `json:"principal"`
	Resource  string `json:"resource"`
	Gateway   string `json:"gateway"`
	Source    string `json:"source"` // the client's address
	Doing     string `json:"doing"`  // what it does, for a person to read
	StartedAt Time   `json:"started_at"`
	ExpiresAt Time   `json:"expires_at"`
	// Of statements that are over, where the gateway knows of statements.
	Statements int64 `json:"statements"`
	Rows       int64 `json:"rows"`  // that went either way
	Bytes      int64 `json:"bytes"` // of these

	Recent []SessionStatement `json:"recent,omitempty"` // the last 20, the oldest first; only where one session is asked for
}

// SessionStatement is one statement of a session that is over.
type SessionStatement struct {
	N          int64   `json:"n"`          // which of the session's, from 1
	At         Time    `json:"at"`         // when it was over
	SQL        string  `json:"sql"`        // its beginning
	SQLLength  int     `json:"sql_length"` // of the whole in bytes
	Rows       int64   `json:"rows"`
	Bytes      int64   `json:"bytes"`
	DurationMS float64 `json:"duration_ms"`
	SQLState   string  `json:"sqlstate,omitempty"` // of its error
	Refused    bool    `json:"refused,omitempty"`  // the gateway did not let it through
}

// Token is an API token of a principal. Secret is set only when it is made.
type Token struct {
	ID        string  `json:"id"`
	Principal string  `json:"principal"`
	Name      string  `json:"name,omitempty"`
	CreatedAt Time    `json:"created_at"`
	ExpiresAt Time    `json:"expires_at"`
	Secret    *string `json:"secret,omitempty"`
}

// TokenRequest is the body of POST /v1/tokens.
type TokenRequest struct {
	Principal string   `json:"principal,omitempty"` // default: the caller; others need an admin or its owner
	Name      string   `json:"name,omitempty" maxLength:"128"`
	TTL       Duration `json:"ttl"`
}

// Issuing is the switch that stops approvals and credentials.
type Issuing struct {
	Enabled bool `json:"enabled"`
}

// Catalog is the catalog in force.
type Catalog struct {
	Version   string `json:"version"`
	Source    string `json:"source"` // as it was written
	AppliedAt Time   `json:"applied_at"`
	AppliedBy string `json:"applied_by"`
	Managed   string `json:"managed" enum:"file,api"` // file: PUT is 409
}

// CatalogCheck answers POST /v1/catalog/check.
type CatalogCheck struct {
	OK       bool             `json:"ok"` // it would be taken
	Version  string           `json:"version,omitempty"`
	Problems []CatalogProblem `json:"problems"`
	Findings []CatalogFinding `json:"findings"`
	Bounded  string           `json:"bounded,omitempty"` // what was not looked at
}

// CatalogFinding is one thing that a reader of a catalog should know. Its code
// is stable. A problem is one too, with the severity error.
type CatalogFinding struct {
	Line      int    `json:"line"`
	Column    int    `json:"column"`
	Code      string `json:"code"`
	Severity  string `json:"severity" enum:"error,warning,note"`
	Message   string `json:"message"`             // what is wrong
	Fix       string `json:"fix,omitempty"`       // what to do
	Suspected bool   `json:"suspected,omitempty"` // not proven
}

// CatalogProblem is one thing wrong with a catalog.
type CatalogProblem struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// Event is an audit entry.
type Event struct {
	ID         string          `json:"id"`
	Seq        int64           `json:"seq"`
	Time       Time            `json:"time"`
	Type       string          `json:"type"`
	Actor      string          `json:"actor"`
	OnBehalfOf *string         `json:"on_behalf_of"`
	Request    *string         `json:"request"`
	Grant      *string         `json:"grant"`
	Session    *string         `json:"session"`
	Resource   *string         `json:"resource"`
	Scope      json.RawMessage `json:"scope"`
	Outcome    string          `json:"outcome" enum:"allowed,denied,failed"`
	Reason     *string         `json:"reason"` // null also when its text was erased
	Source     EventSource     `json:"source"`
	Details    json.RawMessage `json:"details"`
	Leaf       *EventLeaf      `json:"leaf,omitempty"` // x-ndjson only: what an offline check needs
}

// EventSource says where an act came from.
type EventSource struct {
	IP      string `json:"ip"`
	Channel string `json:"channel"`
}

// EventLeaf places an entry in the Merkle tree.
type EventLeaf struct {
	Index int64  `json:"index"` // of the leaf
	First int64  `json:"first"` // seq of the leaf's first entry
	Count int    `json:"count"` // entries in the leaf
	Bytes string `json:"bytes"` // the stored, hashed bytes of this entry
	// ReasonSalt ties the visible reason to its digest in Bytes: 32 hex digits,
	// "" where there is no reason or its text was erased.
	ReasonSalt string `json:"reason_salt,omitempty"`
}

// Proof is an inclusion proof of one entry: entry → batch → checkpoint.
type Proof struct {
	Event      string    `json:"event"`
	Leaf       EventLeaf `json:"leaf"`
	BatchProof []string  `json:"batch_proof"` // base64 hashes; empty when the leaf is one entry
	BatchRoot  string    `json:"batch_root,omitempty"`
	TreeProof  []string  `json:"tree_proof"`
	Checkpoint string    `json:"checkpoint"` // signed note
}

// List is one page, newest first.
type List[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"next_cursor"`
}

// Problem is an RFC 9457 problem document.
type Problem struct {
	Type   string         `json:"type"` // urn:daypass:problem:<code>
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Code   string         `json:"code"`
	Errors []FieldProblem `json:"errors,omitempty"`
	// AccessRequest is a body for POST /v1/requests, filled in, where asking
	// for access would help.
	AccessRequest *AccessHint `json:"access_request,omitempty"`
}

// FieldProblem is what is wrong with one field.
type FieldProblem struct {
	Location string `json:"location"` // body.duration, query.limit …
	Message  string `json:"message"`
}

// AccessHint tells a denied caller how to ask.
type AccessHint struct {
	Method  string        `json:"method"` // POST
	URL     string        `json:"url"`
	Body    SubmitRequest `json:"body"`
	Command string        `json:"command"` // the same as a line for a shell
}

// StreamEvent is the data of one Server-Sent Event of GET /v1/events. Its SSE
// id is Seq, its SSE event is Type.
type StreamEvent struct {
	Seq     int64    `json:"seq"`
	Type    string   `json:"type"`
	Time    Time     `json:"time"`
	Request *Request `json:"request"` // as it is now, as the caller may see it
}

// Checkpoint is the signed head of the audit log.
type Checkpoint struct {
	Checkpoint string `json:"checkpoint"` // C2SP signed note
	Key        string `json:"key"`        // its verifier key
}

// Keys lists the key IDs in use after a rotation.
type Keys struct {
	Kids []string `json:"kids"`
}

// Quarantine says whether a store that was restored from a backup waits for an
// admin, and what of the record is lost.
type Quarantine struct {
	Active     bool  `json:"active"`
	BackupAt   Time  `json:"backup_at"`
	RestoredAt Time  `json:"restored_at"`
	Head       int64 `json:"head"`       // the last entry in the backup
	KnownHead  int64 `json:"known_head"` // the last entry that a newer checkpoint vouches for; 0 when none was given
	Lost       int64 `json:"lost"`       // how many are known to be lost
	LostFrom   *Time `json:"lost_from"`  // the window of what is lost, as far as it is known
	LostTo     *Time `json:"lost_to"`
	// Explanation says the same in a sentence.
	Explanation string `json:"explanation"`
}

// QuarantineRequest is the body of POST /v1/quarantine/end.
type QuarantineRequest struct {
	// KeepTokens keeps the API tokens made before the backup; one of them may
	// have been revoked since.
	KeepTokens bool `json:"keep_tokens,omitempty"`
}

// QuarantineEnd says what ended with the quarantine.
type QuarantineEnd struct {
	Grants   int `json:"grants"`   // that were live in the backup
	Requests int `json:"requests"` // that waited in it
	Tokens   int `json:"tokens"`   // API tokens
}

// ErasureRequest is the body of POST /v1/audit/erasures: one of Request and
// Principal.
type ErasureRequest struct {
	Request   string `json:"request,omitempty" maxLength:"128"`
	Principal string `json:"principal,omitempty" maxLength:"256"`
	Reason    string `json:"reason" minLength:"1" maxLength:"4096"`
}

// Erasure says what was erased.
type Erasure struct {
	Texts    int `json:"texts"`
	Requests int `json:"requests"` // whose texts were looked for
	Replies  int `json:"replies"`  // kept answers of idempotent calls that were blanked
}
