// Package gateway is what all enforcement points share. A gateway of some
// protocol asks Guard.Open before it forwards a byte; the Guard decides,
// records, registers the session, and ends it in the instant its grant is over.
//
// It refuses to speak any protocol and to know what a scope means, and it
// never lets an attempt pass that it could not record.
package gateway

import (
	"context"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/live"
)

// Recorder makes entries durable. The broker implements it.
type Recorder interface {
	// Record takes e into the audit record, and returns once it is committed
	// when durable is set, once it is accepted otherwise. It blocks rather than
	// drops. It fills in ID and Time where they are empty. principal is whose
	// access e is about.
	Record(ctx context.Context, e *audit.Entry, principal string, durable bool) error
	// CountDenied counts a denial without a valid token, per source and minute.
	// source is an IP address, channel such as "gateway:http", and what one of
	// the Why constants.
	CountDenied(source, channel, what string)
}

// Status is the kind of a Denial.
type Status uint8

// The kinds. Each protocol has its own words for them; HTTP says 401, 403, 503.
const (
	Unauthenticated Status = iota // no credential that is good here and now
	Forbidden                     // a good credential, outside its scope
	Unavailable                   // no decision could be made or recorded
)

// Why an attempt was denied: words for machines, in entries and counts.
const (
	WhyNoToken       = "no_token"
	WhyMalformed     = "malformed_token"
	WhyUnknown       = "unknown_token"
	WhyWrongHost     = "wrong_host"     // a cookie of another host
	WhyWrongResource = "wrong_resource" // a token of another resource, or of an earlier one of the same name
	WhyNotYet        = "not_yet"
	WhyEnded         = "ended"
	WhyScope         = "outside_scope"
	WhyNotRecorded   = "not_recorded"
	WhyFailed        = "failed"
)

// Denial is the error of Guard.Open. It holds nothing of the credential.
type Denial struct {
	Status  Status
	Why     string      // one of the Why constants
	Reason  string      // of WhyEnded: expired, returned, revoked, policy …; of WhyScope: a sentence
	EndedAt time.Time   // of WhyEnded
	Grant   *live.Grant // whose credential it was; nil when not known, or a grant of another resource
	Err     error       // of Unavailable: the cause, for the log
}

// Error says what happened, for a log.
func (d *Denial) Error() string {
	s := "denied: " + d.Why
	if d.Reason != "" {
		s += ": " + d.Reason
	}
	if d.Err != nil {
		s += ": " + d.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (d *Denial) Unwrap() error { return d.Err }

// Attempt is one try to use a resource: a connection, or one HTTP request.
type Attempt struct {
	Gateway string // "http"; the channel of its entries is "gateway:http"
	Secret  string // as the client sent it; "" when it sent none
	// Proven is, instead of Secret, the hash of a grant token that the client has
	// proven to hold without showing it; nil for none.
	Proven      *live.Hash
	Prefix      string // which credential is taken here: credential.GrantToken or credential.GrantCookie
	Host        string // what a credential that is bound to a host must be bound to
	Resource    string
	Incarnation string // of the resource now
	IP          string // the client's address, without port
	Doing       string // what it wants, for a person to read; never a value of a parameter
	Details     map[string]any
	via         string // the channel, once it was asked for
	// Allow says whether the grant's scope covers the attempt. Its error is
	// shown to the client. nil allows nothing.
	Allow func(*live.Grant) error
}

// Stats is what a session did, for its last entry.
type Stats struct {
	BytesIn, BytesOut int64 // from and to the client
	Details           map[string]any
}

// Counts is what a Guard has seen since it was made.
type Counts struct {
	Sessions    int // running now
	Allowed     uint64
	Denied      uint64 // Unauthenticated and Forbidden
	Unavailable uint64
	Cut         uint64 // ended while running, by expiry, revocation or an admin
	Panics      uint64
}
