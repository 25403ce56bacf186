package pgkind

import (
	"context"

	"github.com/daypass/daypass/internal/audit"
)

// maxText is what the record keeps of a statement, in bytes.
const maxText = 8 << 10

// maxDoing is what a list of sessions shows of one.
const maxDoing = 200

func textOf(sql []byte) *text {
	return &text{sql: string(sql[:min(len(sql), maxText)]), length: len(sql)}
}

// statement begins what the record says of a text that runs.
func (t *text) statement() audit.Statement {
	st := audit.Statement{SQL: t.sql, Unsure: t.unsure}
	if t.length > len(t.sql) {
		st.Length = t.length
	}
	return st
}

func (t *text) doing() string { return t.sql[:min(len(t.sql), maxDoing)] }

// outcome is how a statement ended.
type outcome struct {
	tag      string // of CommandComplete
	sqlstate string // of an error
	refused  string // why the gateway did not let it through
}

// atSync stands for what runs without a text of its own.
var atSync = &text{sql: "-- at Sync"}

// note records a statement that is over. It blocks when the record is full; on
// an error the session is being cut.
func (s *session) note(ctx context.Context, o owed) error {
	done, how := o.done, o.how
	t := done.text
	if t == nil {
		if done.kind != 'S' {
			return nil // an error about a name: nothing ran
		}
		t = atSync
	}
	st := t.statement()
	st.Rows, st.Bytes, st.Duration, st.Part = done.moved, done.bytes, o.at.Sub(done.at), done.part
	st.Tag, st.SQLState, st.Refused = how.tag, how.sqlstate, how.refused
	result := audit.Allowed
	if how.refused != "" {
		result = audit.Denied
	}
	return s.guard.Note(ctx, result, st, false)
}

// intend records, durably, a statement that is about to go out.
func (s *session) intend(t *text, what string) error {
	st := t.statement()
	st.Intent = what
	return s.guard.Note(s.guard.Context(), audit.Allowed, st, true)
}
