package config

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// joinColons undoes a fault of the lexer (v1.19.2): inside {…} it takes the
// colon of [group:dba] for that of a key, though YAML 1.2 §7.3.3 wants white
// space after it. Three tokens that touch are one plain scalar. Typed IDs are
// written in such lists everywhere.
func joinColons(tokens token.Tokens) token.Tokens {
	out := make(token.Tokens, 0, len(tokens))
	for i := 0; i < len(tokens); i++ {
		tk := tokens[i]
		if i+2 >= len(tokens) || !touching(tk, tokens[i+1], tokens[i+2]) {
			out = append(out, tk)
			continue
		}
		last := tokens[i+2]
		joined := token.New(tk.Value+":"+last.Value, tk.Origin+":"+last.Origin, tk.Position)
		joined.Prev, joined.Next = tk.Prev, last.Next
		if joined.Prev != nil {
			joined.Prev.Next = joined
		}
		if joined.Next != nil {
			joined.Next.Prev = joined
		}
		out = append(out, joined)
		i += 2
	}
	return out
}

func touching(a, colon, b *token.Token) bool {
	return colon.Type == token.MappingValueType && plainToken(a) && plainToken(b) &&
		a.Position.Line == colon.Position.Line && b.Position.Line == colon.Position.Line &&
		a.Position.Column+utf8.RuneCountInString(a.Value) == colon.Position.Column &&
		b.Position.Column == colon.Position.Column+1 && !strings.HasPrefix(b.Origin, " ")
}

func plainToken(tk *token.Token) bool {
	switch tk.Type {
	case token.StringType, token.BoolType, token.NullType, token.IntegerType, token.BinaryIntegerType, token.OctetIntegerType,
		token.HexIntegerType, token.FloatType, token.InfinityType, token.NanType:
		return true
	}
	return false
}
