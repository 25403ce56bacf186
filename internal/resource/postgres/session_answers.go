package pgkind

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// answer is what a message of the server means: the op whose result is now
// complete, nil if none is.
//
// Of messages with a body only what matters is given: the tag of C.
func (o *ops) answer(kind byte, tag string, now time.Time) (*op, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.head()
	if h == nil {
		if kind == 'E' { // FATAL, on the server's own account
			return nil, nil
		}
		return nil, o.unexpected(kind, h)
	}
	switch is := h.kind; {
	case h.refusal != nil && (kind == '1' || kind == 'T' || kind == 'C' || kind == 'G' || kind == 'H'):
		return nil, fmt.Errorf("%w: what stands for a refused statement was not refused", errProtocol)
	case h.answered && kind != 'Z' && kind != 'E':
		return nil, o.unexpected(kind, h) // an error ends a query
	case kind == '1' && is == 'P':
		return nil, o.parsed(h)
	case kind == '2' && is == 'B':
		return nil, o.bound(h)
	case kind == '3' && is == 'C':
		o.closedName(h)
		o.pop()
	case kind == 't' && is == 'D', kind == 'T' && is == 'Q', kind == 'H' && (is == 'Q' || is == 'E'), kind == 'c' && (is == 'Q' || is == 'E'):
	case (kind == 'T' || kind == 'n') && is == 'D':
		o.pop()
	case kind == 'G' && (is == 'Q' || is == 'E'):
		return nil, o.copying()
	case kind == 'I' && is == 'Q':
		h.part++
	case kind == 'I' && is == 'E':
		o.pop()
	case (kind == 'C' || kind == 's') && (is == 'Q' && kind == 'C' || is == 'E'):
		return o.complete(h, tag, now), nil
	case kind == 'E':
		return o.failed(h, now), nil
	case kind == 'Z' && (is == 'S' || is == 'Q'):
		o.pop()
		o.skipping, o.copyIn = false, false
		o.status = tag[0]
		if o.status == 'I' {
			clear(o.portals) // none outlives its transaction
		}
	default:
		return nil, o.unexpected(kind, h)
	}
	return nil, nil
}

// rows counts rows, or lines of a COPY, of n bytes.
func (o *ops) rows(count, n int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.head()
	if h == nil || h.kind != 'Q' && h.kind != 'E' || h.answered {
		return o.unexpected('D', h)
	}
	h.moved += int64(count)
	h.bytes += int64(n)
	return nil
}

func (o *ops) unexpected(kind byte, h *op) error {
	if h == nil {
		return fmt.Errorf("%w: the server sent %q unasked", errProtocol, kind)
	}
	return fmt.Errorf("%w: the server answered %q with %q", errProtocol, h.kind, kind)
}

// parsed: ParseComplete.
func (o *ops) parsed(h *op) error {
	if was, ok := o.statements[h.name]; ok {
		o.texts -= len(was.sql)
	}
	o.texts += len(h.text.sql)
	if o.texts > maxTexts || len(o.statements) >= maxNamed {
		return errors.New("too many prepared statements in one session: close those that are not needed")
	}
	o.statements[h.name] = known{h.text, o.doubts}
	o.pop()
	return nil
}

// bound: BindComplete.
func (o *ops) bound(h *op) error {
	if len(o.portals) >= maxNamed {
		return errors.New("too many portals in one transaction: close those that are not needed")
	}
	o.portals[h.name] = known{o.textOf(o.statements, h.of), o.doubts}
	o.pop()
	return nil
}

// textOf is what is under a name; of one that only SQL has used, just that
// name, whose PREPARE or DECLARE is on record with its text.
func (o *ops) textOf(names map[string]known, name string) *text {
	if is, ok := names[name]; ok {
		if name != "" && is.doubts != o.doubts && !is.unsure {
			is.text = &text{sql: is.sql, length: is.length, unsure: true}
			names[name] = is
		}
		return is.text
	}
	return &text{sql: "-- prepared or declared in SQL as " + name, unsure: true}
}

func (o *ops) closedName(h *op) {
	names := o.statements
	if h.of == "P" {
		names = o.portals
	} else if was, ok := names[h.name]; ok {
		o.texts -= len(was.sql)
	}
	delete(names, h.name)
}

// copying: CopyInResponse. What the client has sent since the statement is
// either ignored by the server, as a Sync is, or the end of the data.
func (o *ops) copying() error {
	over := 0
	for over+1 < o.queue.n && o.queue.at(over+1).kind == 'S' {
		over++
	}
	switch {
	case over+1 == o.queue.n:
		o.copyIn = true
	case o.queue.at(over+1).kind == copyEnd:
		over++
	default:
		return fmt.Errorf("%w: message %q during COPY", errProtocol, o.queue.at(over+1).kind)
	}
	*o.queue.at(over) = *o.queue.at(0)
	for range over {
		o.pop()
	}
	return nil
}

// complete: CommandComplete and PortalSuspended.
func (o *ops) complete(h *op, tag string, now time.Time) *op {
	h.part++
	done := o.result(h, now)
	switch word, _, _ := strings.Cut(tag, " "); word {
	case "PREPARE", "DEALLOCATE", "DISCARD", "DECLARE", "CLOSE":
		// SQL and the protocol share one space of names. Which ones are meant is seen
		// when they are used: there may be thousands, and a thousand of these tags in
		// what is read at once.
		o.doubts++
	}
	if h.kind == 'E' {
		o.pop()
	} else {
		h.moved, h.bytes = 0, 0
	}
	return done
}

// failed: ErrorResponse. What follows in an extended query is skipped up to the
// next Sync.
func (o *ops) failed(h *op, now time.Time) *op {
	h.part++
	done := o.result(h, now)
	o.copyIn = false
	h.answered = true
	if h.kind == 'Q' || h.kind == 'S' {
		return done
	}
	o.skipping = true
	for o.queue.n > 0 && o.queue.at(0).kind != 'S' {
		o.pop()
	}
	if o.queue.n > 0 {
		o.skipping = false
	}
	return done
}

// result copies h, with the text that it stands for.
func (o *ops) result(h *op, now time.Time) *op {
	done := *h
	switch h.kind {
	case 'B':
		done.text = o.textOf(o.statements, h.of)
	case 'E':
		done.text = o.textOf(o.portals, h.name)
	}
	if o.last.After(done.at) {
		done.at = o.last
	}
	o.last = now
	return &done
}

// intended is the text that an Execute, sent now, will most likely run: that of
// the newest messages which the server has not answered yet, else that of its
// portal.
func (o *ops) intended(portal string) *text {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.runs(cutName(portal), o.queue.n)
}

// runs is the text of an Execute that has n messages before it.
func (o *ops) runs(portal string, n int) *text {
	statement, found := "", false
	for i := n - 1; i >= 0; i-- {
		switch p := o.queue.at(i); {
		case !found && p.kind == 'B' && p.name == portal:
			statement, found = p.of, true
		case found && p.kind == 'P' && p.name == statement:
			return p.text
		}
	}
	if found {
		return o.textOf(o.statements, statement)
	}
	return o.textOf(o.portals, portal)
}
