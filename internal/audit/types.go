package audit

import "slices"

// Types of entries. A type, once released, keeps its meaning for ever.
const (
	RequestCreated   = "request.created"   // somebody asked; scope and duration in it
	RequestApproved  = "request.approved"  // enough valid votes, or a rule by itself
	RequestDenied    = "request.denied"    // by a reviewer, or by the catalog in force
	RequestCancelled = "request.cancelled" // withdrawn
	RequestExpired   = "request.expired"   // nobody decided in time
	RequestRefused   = "request.refused"   // not requestable, or a guardrail's deny; nothing was stored

	ReviewRecorded = "review.recorded" // a vote that counts
	ReviewRefused  = "review.refused"  // a vote that was not let in: self-approval, not an approver, late

	GlassUsed     = "break_glass.used"     // access was taken before anybody agreed; who was told is in the details
	GlassFound    = "break_glass.finding"  // a reviewer denied it afterwards; what was left of the access ended
	GlassReviewed = "break_glass.reviewed" // enough people have looked at it

	GrantScheduled        = "grant.scheduled"         // approved, begins later
	GrantActivated        = "grant.activated"         // access is on
	GrantActivationFailed = "grant.activation_failed" // a connector could not make it real
	GrantExtended         = "grant.extended"          // the same grant lasts longer
	GrantEnding           = "grant.ending"            // access is off; something is still to be cleaned up at the target
	GrantEnded            = "grant.ended"             // access is off; the reason in the details
	GrantCleanupFailed    = "grant.cleanup_failed"    // access is off, but something is left at the target
	GrantsRevoked         = "grants.revoked"          // many at once, all off from here on; the entry of each follows

	CredentialIssued = "credential.issued" // written before the signature is made

	AccessAllowed       = "access.allowed"        // one connection, HTTP request or evaluation
	AccessDenied        = "access.denied"         // the same, refused
	AccessDeniedSummary = "access.denied_summary" // denials without a valid token: a count per source and minute

	SessionStarted = "session.started"
	SessionQuery   = "session.query"  // one statement; never its parameters' values
	SessionKilled  = "session.killed" // somebody ended it by hand; its end follows
	SessionEnded   = "session.ended"

	CatalogChanged    = "catalog.changed"    // principals, resources or policy
	CatalogExplained  = "catalog.explained"  // somebody was shown how another's request would be decided
	CatalogBacktested = "catalog.backtested" // somebody replayed the recorded requests against a catalog
	IssuingChanged    = "issuing.changed"    // the switch that stops approvals and credentials
	KeysRotated       = "keys.rotated"

	AuthSucceeded = "auth.succeeded"
	AuthFailed    = "auth.failed"
	AuthEnded     = "auth.ended" // a login is over before its time: logged out, replaced, its person gone
	TokenCreated  = "token.created"
	TokenRevoked  = "token.revoked"
	SetupOffered  = "setup.offered" // nobody could come in: a link for the first admin was printed

	StoreRestored   = "store.restored"   // from a backup: what came after it is lost
	QuarantineEnded = "quarantine.ended" // an admin let a restored store serve again; what was live in it ended

	ServerStarted = "server.started"
	ServerStopped = "server.stopped"
	ProtectionOff = "protection.off"     // a protection was turned off by a named setting
	PossibleGap   = "audit.possible_gap" // after an unclean stop: batched entries of this window may be lost
	TextErased    = "text.erased"        // personal texts were forgotten; their digests are in the details
	Exported      = "audit.exported"     // somebody took entries out
)

var types = []string{
	RequestCreated, RequestApproved, RequestDenied, RequestCancelled, RequestExpired, RequestRefused,
	ReviewRecorded, ReviewRefused,
	GlassUsed, GlassFound, GlassReviewed,
	GrantScheduled, GrantActivated, GrantActivationFailed, GrantExtended, GrantEnding, GrantEnded, GrantCleanupFailed, GrantsRevoked,
	CredentialIssued,
	AccessAllowed, AccessDenied, AccessDeniedSummary,
	SessionStarted, SessionQuery, SessionKilled, SessionEnded,
	CatalogChanged, CatalogExplained, CatalogBacktested, IssuingChanged, KeysRotated,
	AuthSucceeded, AuthFailed, AuthEnded, TokenCreated, TokenRevoked, SetupOffered,
	StoreRestored, QuarantineEnded,
	ServerStarted, ServerStopped, ProtectionOff, PossibleGap, TextErased, Exported,
}

// Types returns every type that this version writes. A reader must take
// others: a newer version may have written them.
func Types() []string { return slices.Clone(types) }
