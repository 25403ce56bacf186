package gate

import "strings"

// statement reads one statement up to its semicolon or the end of the text.
func (p *reader) statement() {
	if p.heads() {
		p.body(true)
		return
	}
	if p.tok.kind != word {
		p.unreadable()
		return
	}
	verb := p.tok
	switch {
	case p.is("set"):
		p.next()
		p.set()
	case p.is("reset"):
		p.next()
		p.reset()
	case p.is("show"), p.is("fetch"), p.is("move"), p.is("close"), p.is("savepoint"), p.is("release"), p.is("deallocate"),
		p.is("unlisten"), p.is("discard"): // both only undo what the session itself did
		p.tail()
	case p.is("begin"):
		p.next()
		p.modes()
	case p.is("start"):
		if p.next(); p.expect("transaction") {
			p.modes()
		}
	case p.is("commit"), p.is("end"), p.is("abort"), p.is("rollback"):
		p.finish()
	case p.is("explain"):
		p.next()
		p.explain()
	case p.is("prepare"):
		p.next()
		p.prepare()
	case p.is("execute"):
		if p.next(); p.name() {
			p.body(false)
		}
	case p.is("declare"):
		p.next()
		p.declare()
	case p.is("copy"):
		p.next()
		p.copy()
	case p.is("lock"):
		p.next()
		p.lock()
	case p.is("call"):
		p.need(Execute, "CALL")
		p.next()
		p.body(false)
	default:
		p.deny(strings.ToUpper(p.excerpt(verb)))
	}
}

// heads reports whether a query or a change of rows begins here.
func (p *reader) heads() bool {
	return p.among("select", "with", "insert", "update", "delete", "merge", "values", "table", "(")
}

// modes reads the modes of a transaction.
func (p *reader) modes() {
	for !p.done() {
		if p.is("read") && p.peekIs("write") {
			p.need(writes, "READ WRITE")
		}
		if !p.among("work", "transaction", "isolation", "level", "serializable", "repeatable", "read", "committed",
			"uncommitted", "only", "write", "not", "deferrable", ",") {
			p.unreadable()
			return
		}
		p.next()
	}
}

// finish reads the end of a transaction, or of a part of it.
func (p *reader) finish() {
	back := p.is("rollback")
	p.next()
	switch {
	case p.is("prepared"):
		p.refuse(privilege, "", "transactions that are prepared for two-phase commit are not allowed: they outlive the grant")
		return
	case p.among("work", "transaction"):
		p.next()
	}
	if back && p.accept("to") {
		p.tail()
		return
	}
	p.only("and", "no", "chain")
}

// explain reads options and the statement that is explained, which must be
// allowed itself: ANALYZE runs it.
func (p *reader) explain() {
	if p.gate.Filtered {
		p.refuse(privilege, "", "EXPLAIN is not allowed where rows are filtered: a plan tells of those that are not shown")
		return
	}
	switch {
	case p.is("(") && p.peekIs("values"): // an option can have that name too
		p.unreadable()
		return
	case p.is("(") && !p.opensQuery():
		p.parens()
	default:
		for p.among("analyze", "analyse", "verbose") {
			p.next()
		}
	}
	switch {
	case p.heads():
		p.body(true)
	case p.accept("execute"):
		if p.name() {
			p.body(false)
		}
	case p.accept("declare"):
		p.declare()
	case p.tok.kind == word:
		p.deny("EXPLAIN " + strings.ToUpper(p.excerpt(p.tok)))
	default:
		p.unreadable()
	}
}

// opensQuery reports whether the parenthesis here is that of a query, rather than
// of options.
func (p *reader) opensQuery() bool {
	return p.peekIs("select") || p.peekIs("with") || p.peekIs("table") || p.peekIs("(")
}

// prepare reads PREPARE name (types) AS statement.
func (p *reader) prepare() {
	if p.is("transaction") && p.peek.kind == text {
		p.refuse(privilege, "", "PREPARE TRANSACTION is not allowed: the transaction would outlive the grant")
		return
	}
	if !p.name() {
		return
	}
	if p.is("(") {
		p.parens()
	}
	if p.expect("as") {
		p.queryOrChange()
	}
}

func (p *reader) queryOrChange() {
	if !p.heads() {
		p.unreadable()
		return
	}
	p.body(true)
}

// declare reads a cursor, which must not be WITH HOLD: it is computed in full and
// kept beyond its transaction.
func (p *reader) declare() {
	if !p.name() {
		return
	}
	for p.among("binary", "asensitive", "insensitive", "scroll", "no") {
		p.next()
	}
	if !p.expect("cursor") {
		return
	}
	switch {
	case p.is("with"):
		p.refuse(privilege, "Declare the cursor within a transaction, without WITH HOLD.", "a cursor WITH HOLD is not allowed: it keeps a copy of its rows")
		return
	case p.accept("without"):
		p.expect("hold")
	}
	if p.refusal == nil && p.expect("for") {
		p.queryOrChange()
	}
}

// copy reads COPY, which must not touch files or programs of the server.
func (p *reader) copy() {
	if p.accept("(") {
		if p.queryOrChange(); p.refusal == nil && p.expect(")") && p.expect("to") {
			p.client()
		}
		return
	}
	if p.is("binary") && (p.peek.kind == word && !p.peekIs("from") && !p.peekIs("to") || p.peek.kind == quoted) {
		p.next()
	}
	if !p.name() {
		return
	}
	for p.accept(".") {
		if !p.name() {
			return
		}
	}
	if p.is("(") {
		p.parens()
	}
	switch {
	case p.accept("to"):
		p.need(Select, "COPY … TO")
	case p.accept("from"):
		p.need(Insert, "COPY … FROM")
	default:
		p.unreadable()
	}
	if p.refusal == nil {
		p.client()
	}
}

// client reads where a COPY goes, and its options.
func (p *reader) client() {
	if !p.accept("stdin") && !p.accept("stdout") {
		p.refuse(privilege, "Use STDIN or STDOUT, or \\copy in psql.", "COPY with a file or program of the server is not allowed")
		return
	}
	p.body(false)
}

// lock reads LOCK, which may take no more than a SELECT takes. pg_dump does.
func (p *reader) lock() {
	for !p.done() && !p.is("in") {
		if p.tok.kind != word && p.tok.kind != quoted && !p.among(".", ",", "*", "(", ")") {
			p.unreadable()
			return
		}
		p.next()
	}
	if p.accept("in") && p.accept("access") && p.accept("share") && p.accept("mode") && (p.done() || p.accept("nowait")) && p.done() {
		if p.refusal == nil {
			p.need(Select, "LOCK")
		}
		return
	}
	p.refuse(privilege, "", "LOCK is not allowed but IN ACCESS SHARE MODE, which a SELECT takes too")
}
