package cli_test

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// firstOdd names the first thing in text that does something other than being
// seen, but for line ends. It is written apart from the code under test.
func firstOdd(text string) string {
	if !utf8.ValidString(text) {
		return "bytes that are not UTF-8"
	}
	for i, r := range text {
		switch {
		case r == '\n':
		case unicode.Is(unicode.C, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r),
			unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), unicode.Is(unicode.Variation_Selector, r),
			unicode.Is(unicode.Bidi_Control, r), unicode.Is(unicode.Zs, r) && r != ' ':
			return fmt.Sprintf("%U at byte %d", r, i)
		}
	}
	return ""
}
