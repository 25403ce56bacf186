package wire

import "fmt"

// SQLSTATEs that a gateway uses itself (PostgreSQL, appendix A).
const (
	CodeProtocol      = "08P01" // protocol_violation
	CodeFeature       = "0A000" // feature_not_supported
	CodeAuthorization = "28000" // invalid_authorization_specification
	CodePassword      = "28P01" // invalid_password
	CodeParameter     = "22023" // invalid_parameter_value
	CodePrivilege     = "42501" // insufficient_privilege
	CodeSyntax        = "42601" // syntax_error
	CodeLimit         = "54000" // program_limit_exceeded
	CodeConnections   = "53300" // too_many_connections
	CodeShutdown      = "57P01" // admin_shutdown
	CodeUnavailable   = "57P03" // cannot_connect_now
)

// Severities of an Error.
const (
	SeverityError   = "ERROR"
	SeverityFatal   = "FATAL"
	SeverityWarning = "WARNING"
	SeverityNotice  = "NOTICE"
)

// Error is what an ErrorResponse or a NoticeResponse says. As a Go error of this
// package it is FATAL: the session that caused it cannot go on.
type Error struct {
	Severity string // not localised
	Code     string // SQLSTATE
	Message  string
	Detail   string
	Hint     string
}

func (e *Error) Error() string { return e.Message + " (SQLSTATE " + e.Code + ")" }

func fatal(code, format string, args ...any) *Error {
	return &Error{Severity: SeverityFatal, Code: code, Message: fmt.Sprintf(format, args...)}
}

func violation(format string, args ...any) *Error { return fatal(CodeProtocol, format, args...) }
