package pgkind

import (
	"context"
	"time"

	"github.com/daypass/daypass/internal/audit"
)

// unfinished puts on record what the end came before: what had run and was not
// on record yet, and what the client sent and the server had not answered in full.
// Whoever reads nearly all of a result and hangs up has read it all the same. It
// may have run in full, in part or not at all.
func (s *session) unfinished() {
	ctx, cancel := context.WithTimeout(context.Background(), lastCall)
	defer cancel()
	s.writing.Lock()
	notes := s.withheld.notes
	s.withheld.notes = nil
	s.writing.Unlock()
	if len(s.settle(ctx, notes)) > 0 {
		return
	}
	for _, p := range s.ops.unanswered() {
		st, result := p.text.statement(), audit.Allowed
		st.Unfinished, st.Rows, st.Bytes, st.Duration = true, p.moved, p.bytes, time.Since(p.at)
		if p.part > 0 {
			st.Part = p.part + 1 // of a query of several statements
		}
		if p.refusal != nil {
			st.Refused, result = p.refusal.Message, audit.Denied
		}
		if s.guard.Note(ctx, result, st, false) != nil {
			return // the recorder reports its own troubles
		}
	}
}

// unanswered are the statements that wait for an answer, with their texts.
func (o *ops) unanswered() []op {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []op
	for i := range o.queue.n {
		p := *o.queue.at(i)
		switch {
		case p.answered:
			continue
		case p.kind == 'E' && p.text == nil:
			p.text = o.runs(p.name, i)
		case p.kind != 'Q' && p.kind != 'E' && p.refusal == nil:
			continue
		}
		if p.text != nil {
			out = append(out, p)
		}
	}
	return out
}
