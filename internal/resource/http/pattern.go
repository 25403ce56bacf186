package httpkind

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	maxPattern         = 1 << 10 // bytes
	maxPatternSegments = 32
)

type partKind uint8

const (
	literal  partKind = iota
	anyOne            // *: exactly one segment, which is not empty
	anyCount          // **: any number of segments, zero and a last empty one included
)

// part is one segment of a pattern. The last literal may be "": the path then
// ends in a slash.
type part struct {
	kind partKind
	text string // decoded, of a literal
}

// pattern is a path pattern: "/v1/orders/*", "/v1/**". "/v1/orders/**" matches
// "/v1/orders" too, "/v1/orders/" and all below; "/v1/orders/*" matches
// neither "/v1/orders/" nor two segments.
type pattern []part

// parsePattern reads one pattern. Literal segments follow the rules of request
// paths; a literal star is written %2A.
func parsePattern(raw string) (pattern, error) {
	switch {
	case raw == "":
		return nil, errors.New("is empty: write a path such as /v1/orders/**")
	case len(raw) > maxPattern:
		return nil, fmt.Errorf("is longer than %d bytes", maxPattern)
	case raw[0] != '/':
		return nil, errors.New("must begin with a slash")
	case strings.ContainsAny(raw, "?#"):
		return nil, errors.New("must be a path alone: ? and # are not part of it; queries are not matched")
	}
	raws := strings.Split(raw[1:], "/")
	if len(raws) > maxPatternSegments {
		return nil, fmt.Errorf("has more than %d segments", maxPatternSegments)
	}
	p := make(pattern, len(raws))
	for i, r := range raws {
		var err error
		if p[i], err = parsePart(r, i == len(raws)-1); err != nil {
			return nil, err
		}
		if i > 0 && p[i].kind == anyCount && p[i-1].kind == anyCount {
			return nil, errors.New("has ** twice in a row: once says the same")
		}
	}
	return p, nil
}

func parsePart(raw string, last bool) (part, error) {
	switch {
	case raw == "*":
		return part{kind: anyOne}, nil
	case raw == "**":
		return part{kind: anyCount}, nil
	case strings.Contains(raw, "*"):
		return part{}, errors.New("has a star inside a segment: * and ** stand for whole segments (a literal star is %2A)")
	case strings.ContainsAny(raw, "{}"):
		return part{}, errors.New("has a { or }: write * for one segment")
	case raw == "" && !last:
		return part{}, errSlashes
	}
	var b strings.Builder
	text, err := segment(raw, &b)
	return part{kind: literal, text: text}, err
}

// String returns the canonical form: one spelling for all patterns that were
// the same but for their escapes.
func (p pattern) String() string {
	var b strings.Builder
	for _, q := range p {
		b.WriteByte('/')
		switch q.kind {
		case anyOne:
			b.WriteByte('*')
		case anyCount:
			b.WriteString("**")
		default:
			writeLiteral(&b, q.text)
		}
	}
	return b.String()
}

// writeLiteral escapes what is not plain, and the quote and the star, so that
// a pattern can stand between single quotes and a literal star is no wildcard.
func writeLiteral(b *strings.Builder, text string) {
	for i := range len(text) {
		if c := text[i]; unreserved(c) || subDelim(c) && c != '*' && c != '\'' {
			b.WriteByte(c)
		} else {
			writeEscape(b, c)
		}
	}
}

// literalPattern returns the pattern that matches one path alone.
func literalPattern(segments []string) pattern {
	p := make(pattern, len(segments))
	for i, s := range segments {
		p[i] = part{kind: literal, text: s}
	}
	return p
}

// match reports whether p matches a path, given as its decoded segments. It
// takes at most len(p)·len(segments) steps.
func (p pattern) match(segments []string) bool {
	at, after := 0, -1 // after: the part behind the last ** that was passed
	var resume int     // the segment with which to go on from there
	for i := 0; ; {
		switch {
		case at < len(p) && p[at].kind == anyCount:
			at++
			after, resume = at, i
		case i < len(segments) && at < len(p) && p[at].takes(segments[i]):
			at, i = at+1, i+1
		case i == len(segments) && at == len(p):
			return true
		case after >= 0 && resume < len(segments):
			resume++
			at, i = after, resume
		default:
			return false
		}
	}
}

// takes reports whether a part that is not ** stands for this one segment.
func (q part) takes(segment string) bool {
	return q.kind == anyOne && segment != "" || q.kind == literal && q.text == segment
}

// within reports whether every path that p matches is matched by one of
// others: inclusion of regular languages, decided by following p and the set of
// all places in others side by side (the subset construction). Beyond maxSteps
// pairs it gives up and says no, which is the safe answer.
func (p pattern) within(others []pattern) bool {
	if slices.ContainsFunc(others, func(o pattern) bool { return slices.Equal(o, p) }) {
		return true
	}
	return newInclusion(p, others).holds()
}
