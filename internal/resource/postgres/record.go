package pgkind

import (
	"time"

	"github.com/daypass/daypass/internal/audit"
)

// maxText is what the record keeps of a statement, in bytes.
const maxText = 8 << 10

// maxDoing is what a list of sessions shows of one.
const maxDoing = 200

func textOf(sql []byte) *text {
	return &text{sql: string(sql[:min(len(sql), maxText)]), length: len(sql)}
}

func (t *text) details() map[string]any {
	d := map[string]any{"sql": t.sql}
	if t.length > len(t.sql) {
		d["sql_length"] = t.length
	}
	if t.unsure {
		d["unsure"] = true
	}
	return d
}

func (t *text) doing() string { return t.sql[:min(len(t.sql), maxDoing)] }

// outcome is how a statement ended.
type outcome struct {
	tag      string // of CommandComplete
	sqlstate string // of an error
	refused  string // why the gateway did not let it through
}

// note records a statement that is over. It blocks when the record is full; on
// an error the session is being cut.
func (s *session) note(done *op, how outcome, now time.Time) error {
	t := done.text
	if t == nil {
		if done.kind != 'S' {
			return nil // an error about a name: nothing ran
		}
		t = &text{sql: "-- at Sync"}
	}
	d := t.details()
	d["rows"], d["bytes"] = done.moved, done.bytes
	d["duration_ms"] = float64(now.Sub(done.at).Microseconds()) / 1000
	if done.part > 1 {
		d["part"] = done.part // of a query of several statements
	}
	if how.tag != "" {
		d["tag"] = how.tag
	}
	if how.sqlstate != "" {
		d["sqlstate"] = how.sqlstate
	}
	result := audit.Allowed
	if how.refused != "" {
		d["refused"] = how.refused
		result = audit.Denied
	}
	return s.guard.Note(s.guard.Context(), audit.SessionQuery, result, "", d, false)
}

// intend records, durably, a statement that is about to go out.
func (s *session) intend(t *text, what string) error {
	d := t.details()
	d["intent"] = what
	return s.guard.Note(s.guard.Context(), audit.SessionQuery, audit.Allowed, t.doing(), d, true)
}
