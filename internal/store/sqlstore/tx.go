package sqlstore

import (
	"encoding/json"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/clock"
)

// Tx is one function's view of the store inside Update or View.
type Tx struct{}

// AfterCommit has f run after the commit and before Update returns, in commit
// order. f must not block.
func (t *Tx) AfterCommit(f func()) { panic("being written") }

// Request loads a request with its reviews and grant.
func (t *Tx) Request(id string) (*access.Request, error) { panic("being written") }

// RequestOfGrant loads the request that a grant belongs to.
func (t *Tx) RequestOfGrant(grant string) (*access.Request, error) { panic("being written") }

// PutRequest inserts r (Version 0) or replaces it if its stored version is
// still r.Version, else ErrConflict. It moves r.Version on.
func (t *Tx) PutRequest(r *access.Request) error { panic("being written") }

// PutInput keeps the decision input of a request, once, without its texts.
func (t *Tx) PutInput(request string, input json.RawMessage) error { panic("being written") }

// Input returns what PutInput kept.
func (t *Tx) Input(request string) (json.RawMessage, error) { panic("being written") }

// Requests lists requests, newest first.
func (t *Tx) Requests(f RequestFilter) ([]*access.Request, error) { panic("being written") }

// DueRequests returns the IDs of at most limit requests whose deadline is at
// or before now, the earliest first.
func (t *Tx) DueRequests(now time.Time, limit int) ([]string, error) { panic("being written") }

// NextDeadline returns the earliest deadline of all; zero when there is none.
func (t *Tx) NextDeadline() (time.Time, error) { panic("being written") }

// CountPending counts pending requests of requester, all and those for resource.
func (t *Tx) CountPending(requester, resource string) (all, onResource int, err error) {
	panic("being written")
}

// PutText keeps personal text beside the log, under its salted digest.
func (t *Tx) PutText(digest string, salt [16]byte, text, subject string) error {
	panic("being written")
}

// Text returns a text, "" when it was erased or never was.
func (t *Tx) Text(digest string) (string, error) { panic("being written") }

// PutCredential keeps a credential's hash.
func (t *Tx) PutCredential(c Credential) error { panic("being written") }

// Credentials lists the credentials of a grant; of all grants that are not
// ended when grant is "".
func (t *Tx) Credentials(grant string) ([]Credential, error) { panic("being written") }

// MarkUsed records that a credential's first use is on record.
func (t *Tx) MarkUsed(hash [32]byte) error { panic("being written") }

// DeleteCredentials forgets the credentials of a grant that has ended.
func (t *Tx) DeleteCredentials(grant string) error { panic("being written") }

// PutToken keeps an API token's hash.
func (t *Tx) PutToken(token Token) error { panic("being written") }

// Token loads an API token by its ID.
func (t *Tx) Token(id string) (*Token, error) { panic("being written") }

// Tokens lists API tokens, of one principal or (with "") all, newest first.
func (t *Tx) Tokens(principal string) ([]Token, error) { panic("being written") }

// DeleteToken forgets an API token.
func (t *Tx) DeleteToken(id string) error { panic("being written") }

// PutCatalog makes c the catalog in force; every version is kept.
func (t *Tx) PutCatalog(c Catalog) error { panic("being written") }

// Catalog returns the catalog in force; ErrNotFound on a new store.
func (t *Tx) Catalog() (*Catalog, error) { panic("being written") }

// CatalogVersion returns the last application of a version.
func (t *Tx) CatalogVersion(version string) (*Catalog, error) { panic("being written") }

// Setting returns a setting, "" when it was never set.
func (t *Tx) Setting(key string) (string, error) { panic("being written") }

// PutSetting sets one.
func (t *Tx) PutSetting(key, value string) error { panic("being written") }

// Reply returns the kept answer of an idempotent call; ErrNotFound.
func (t *Tx) Reply(principal, route, key string) (*Reply, error) { panic("being written") }

// PutReply keeps one.
func (t *Tx) PutReply(principal, route, key string, r Reply) error { panic("being written") }

// DeleteReplies forgets the answers kept before an instant.
func (t *Tx) DeleteReplies(before time.Time) error { panic("being written") }

// Enqueue adds jobs. IDs are given by the store.
func (t *Tx) Enqueue(jobs ...Job) error { panic("being written") }

// ClaimJobs leases at most limit jobs that are due at now until lease: never
// one whose key has an earlier job, or a leased one.
func (t *Tx) ClaimJobs(now, lease time.Time, limit int) ([]Job, error) { panic("being written") }

// FinishJob removes a job that is done.
func (t *Tx) FinishJob(id int64) error { panic("being written") }

// RetryJob puts a job back, to run at an instant, with what went wrong.
func (t *Tx) RetryJob(id int64, runAt time.Time, problem string) error { panic("being written") }

// NextJob returns when the next job is due; zero when there is none.
func (t *Tx) NextJob() (time.Time, error) { panic("being written") }

// Append writes audit entries, each a leaf of its own, and gives them their
// sequence numbers.
func (t *Tx) Append(records ...Record) error { panic("being written") }

// AppendBatch writes audit entries as one leaf.
func (t *Tx) AppendBatch(records []Record) error { panic("being written") }

// Event loads an entry by its ID.
func (t *Tx) Event(id string) (*Event, error) { panic("being written") }

// Events lists audit entries.
func (t *Tx) Events(f EventFilter) ([]Event, error) { panic("being written") }

// Head returns the log's head and its signed checkpoint.
func (t *Tx) Head() (audit.Head, []byte, error) { panic("being written") }

// Prove builds the inclusion proof of an entry against the stored checkpoint.
func (t *Tx) Prove(id string) (leaf audit.Leaf, bytes []byte, batch, tree [][32]byte, checkpoint []byte, err error) {
	panic("being written")
}

// ClockMark returns the clock's mark of the last commit.
func (t *Tx) ClockMark() (clock.Mark, error) { panic("being written") }
