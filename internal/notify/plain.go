package notify

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plain returns s as one line of at most limit visible characters ("…"
// included), in which nothing can act: control characters (so ANSI escapes
// too), marks that turn the direction of text, characters of no width, blank
// letters, private and unassigned code points are shown as "‹U+202E›"; line
// ends as "⏎"; every space is a plain one; bytes that are no UTF-8 become
// U+FFFD. The result holds no "\r", "\n" or "\t". What is cut or shown so is
// only this copy: the text itself is kept as it was written.
func Plain(s string, limit int) string {
	if limit <= 0 {
		return ""
	}
	var b strings.Builder
	var fits int // bytes that hold limit-1 characters: where to cut
	n := 0
	write := func(piece string) bool {
		size := utf8.RuneCountInString(piece)
		if n+size > limit {
			return false
		}
		b.WriteString(piece)
		n += size
		if n <= limit-1 {
			fits = b.Len()
		}
		return true
	}
	s = strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n"))
	marks := 0
	for _, r := range s {
		if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) {
			if marks++; marks > 4 {
				continue // piled-up accents cover the lines around them
			}
		} else {
			marks = 0
		}
		if !write(shown(r)) {
			return b.String()[:fits] + "…"
		}
	}
	return b.String()
}

// shown returns how Plain writes one character.
func shown(r rune) string {
	switch {
	case r == '\n' || r == '\r' || r == '\v' || r == '\f' || r == '\u0085' || r == '\u2028' || r == '\u2029':
		return "⏎"
	case r == '\t' || unicode.Is(unicode.Zs, r):
		return " "
	case !unicode.IsGraphic(r) || invisible(r):
		return fmt.Sprintf("‹U+%04X›", r)
	}
	return string(r)
}

// invisible reports the characters that count as graphic and yet show nothing.
func invisible(r rune) bool {
	switch {
	case r == 0x034f, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x2800, r == 0x3164, r == 0xffa0:
		return true // joiners and blank letters
	case 0x180b <= r && r <= 0x180f, 0xfe00 <= r && r <= 0xfe0e, 0xe0100 <= r && r <= 0xe01ef:
		return true // variation selectors, in which text can be hidden; U+FE0F only colours an emoji
	}
	return false
}
