package wire

// Types of messages that a client sends (PostgreSQL, chapter 55.7).
const (
	Query        = 'Q'
	Parse        = 'P'
	Bind         = 'B'
	Execute      = 'E'
	Describe     = 'D'
	Close        = 'C'
	Flush        = 'H'
	Sync         = 'S'
	Terminate    = 'X'
	CopyData     = 'd' // of either side
	CopyDone     = 'c' // of either side
	CopyFail     = 'f'
	Password     = 'p' // and SASL responses: only while logging in
	FunctionCall = 'F' // refused
)

// Types of messages that a server sends.
const (
	Authentication       = 'R'
	KeyData              = 'K'
	ParameterStatus      = 'S'
	ReadyForQuery        = 'Z'
	ErrorResponse        = 'E'
	NoticeResponse       = 'N'
	Notification         = 'A'
	CommandComplete      = 'C'
	EmptyQuery           = 'I'
	DataRow              = 'D'
	RowDescription       = 'T'
	ParameterDescription = 't'
	NoData               = 'n'
	ParseComplete        = '1'
	BindComplete         = '2'
	CloseComplete        = '3'
	PortalSuspended      = 's'
	CopyIn               = 'G'
	CopyOut              = 'H'
	Negotiate            = 'v' // only while logging in
)

// small comes whole, or is refused.
var small = rule{known: true, head: maxSmall, limit: maxSmall}

// stream goes through as it comes.
var stream = rule{known: true, limit: maxLarge}

var statement = rule{known: true, head: MaxStatement, limit: MaxStatement}

var fromClient = rules{
	Query:     statement,
	Parse:     statement,
	Bind:      {known: true, head: maxNames, limit: maxLarge},
	Execute:   small,
	Describe:  small,
	Close:     small,
	Flush:     small,
	Sync:      small,
	Terminate: small,
	CopyData:  stream,
	CopyDone:  small,
	CopyFail:  small,
}

var report = rule{known: true, head: maxReport, limit: maxLarge}

var fromServer = rules{
	Authentication:       small,
	KeyData:              small,
	ParameterStatus:      {known: true, head: maxReport, limit: maxReport},
	ReadyForQuery:        small,
	ErrorResponse:        report,
	NoticeResponse:       report,
	Notification:         stream,
	CommandComplete:      small,
	EmptyQuery:           small,
	DataRow:              stream,
	RowDescription:       stream,
	ParameterDescription: stream,
	NoData:               small,
	ParseComplete:        small,
	BindComplete:         small,
	CloseComplete:        small,
	PortalSuspended:      small,
	CopyIn:               small,
	CopyOut:              small,
	CopyData:             stream,
	CopyDone:             small,
}
