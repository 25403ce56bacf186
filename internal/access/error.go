package access

// Code names a refusal. The strings are those of the public API.
type Code string

// The refusals of this package.
const (
	CodeSelfApproval   Code = "self_approval"
	CodeNotAnApprover  Code = "not_an_approver"
	CodeAlreadyDecided Code = "already_decided"
	CodeStageNotOpen   Code = "stage_not_open"
	CodeAlreadyVoted   Code = "already_voted"
	CodeContentChanged Code = "content_changed"
	CodeInvalidField   Code = "invalid_field" // Error.Field names it
	CodeNotActive      Code = "not_active"    // the grant is not, or no longer, live
	CodeLimitReached   Code = "limit_reached" // the cap on a grant's total
	CodeReviewDue      Code = "review_due"    // an earlier break-glass waits for its review
	CodeIssuingOff     Code = "issuing_off"
	CodeInvalidCommand Code = "invalid_command" // a bug in the caller
)

// Error is a refusal. Message is a sentence that says what to do next.
type Error struct {
	Code    Code
	Field   string
	Message string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }
