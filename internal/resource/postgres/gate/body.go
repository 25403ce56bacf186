package gate

// frame is what an open parenthesis is of.
type frame uint8

const (
	plain frame = iota // an expression, a subquery, a list of columns
	cte                // a query of a WITH clause
)

// body reads a query or a change of rows, up to a semicolon, the end of the text
// or a parenthesis that was opened before. It finds what in it changes rows, in
// WITH clauses too, and INTO where it would create a table. If verb, a statement
// begins here; else an expression.
//
// The words INSERT, UPDATE, DELETE and MERGE may also be names of columns
// (SELECT (1) insert INTO x). They are verbs only at the head of a statement:
// at its beginning, after a parenthesis, and behind a WITH clause.
func (p *reader) body(verb bool) {
	var space [32]frame
	open, head := space[:0], verb
	if verb && !p.heads() {
		p.unreadable()
	}
	for p.refusal == nil {
		switch {
		case p.tok.kind == end, p.is(";"):
			if len(open) > 0 {
				p.unreadable()
			}
			return
		case p.tok.kind == word:
			if head && p.is("with") {
				p.next()
				p.accept("recursive")
				p.common()
				open = append(open, cte)
				continue // at the head of the query
			}
			p.word(head)
			head = false
		case p.is("("):
			open, head = append(open, plain), true
			p.next()
		case p.is(")"):
			if len(open) == 0 {
				return
			}
			last := open[len(open)-1]
			open, head = open[:len(open)-1], false
			p.next()
			if last != cte {
				continue
			}
			if p.search(); p.accept(",") {
				p.common()
				open = append(open, cte)
			} else if p.refusal == nil && !p.heads() {
				p.unreadable()
			}
			head = true
		default:
			head = false
			p.next()
		}
	}
}

// word reads a word of a body.
func (p *reader) word(head bool) {
	switch {
	case !head && (p.tok.to-p.tok.from > 4 || p.tok.to-p.tok.from < 2): // none of those below; most words are
	case head && p.is("insert"):
		p.need(Insert, "INSERT")
		p.next()
		p.accept("into")
		return
	case head && p.is("merge"):
		p.next()
		p.accept("into")
		return
	case head && p.is("update"):
		p.need(Update, "UPDATE")
	case head && p.is("delete"):
		p.need(Delete, "DELETE")
	case p.is("into"):
		p.refuse(privilege, "", "SELECT … INTO is not allowed: it creates a table")
	case p.is("then"), p.is("do"): // WHEN … THEN UPDATE, ON CONFLICT … DO UPDATE
		switch {
		case p.peekIs("update"):
			p.need(Update, "UPDATE")
		case p.peekIs("insert"):
			p.need(Insert, "INSERT")
		case p.peekIs("delete"):
			p.need(Delete, "DELETE")
		}
	}
	p.next()
}

// common reads one part of a WITH clause up to the head of its query.
func (p *reader) common() {
	if !p.name() {
		return
	}
	if p.is("(") {
		p.parens()
	}
	if !p.expect("as") {
		return
	}
	if p.accept("not") && !p.is("materialized") {
		p.unreadable()
		return
	}
	p.accept("materialized")
	if p.expect("(") && !p.heads() {
		p.unreadable()
	}
}

// search reads the SEARCH and CYCLE clauses that may follow a query of a WITH
// clause. They are full of names, and any verb may be one.
func (p *reader) search() {
	if p.accept("search") {
		if !p.accept("depth") {
			p.expect("breadth")
		}
		if p.expect("first") && p.expect("by") && p.columns() && p.expect("set") {
			p.name()
		}
	}
	if p.accept("cycle") && p.columns() && p.expect("set") && p.name() {
		if p.accept("to") && p.constant() && p.expect("default") {
			p.constant()
		}
		if p.expect("using") {
			p.name()
		}
	}
}

func (p *reader) columns() bool {
	for p.name() {
		if !p.accept(",") {
			return p.refusal == nil
		}
	}
	return false
}

func (p *reader) constant() bool {
	if p.tok.kind == text || p.tok.kind == number {
		p.next()
		return p.refusal == nil
	}
	return p.name() // true, false, null
}
