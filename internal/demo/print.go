package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// teller prints the story.
type teller struct {
	out   io.Writer
	color bool
	act   int
	start time.Time
}

func (t *teller) style(code, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// title begins an act.
func (t *teller) title(s string) {
	t.act++
	fmt.Fprintf(t.out, "\n%s\n", t.style("1", fmt.Sprintf("%d. %s", t.act, s)))
}

// say explains.
func (t *teller) say(format string, args ...any) {
	fmt.Fprintf(t.out, "   %s\n", fmt.Sprintf(format, args...))
}

// types shows what a person types.
func (t *teller) types(who, format string, args ...any) {
	fmt.Fprintf(t.out, "   %s %s\n", t.style("36", strings.TrimPrefix(who, "user:")+" $"), fmt.Sprintf(format, args...))
}

// shows is sees for lines.
func (t *teller) shows(good bool, text string) {
	for i, line := range strings.Split(text, "\n") {
		if i == 0 {
			t.sees(good, "%s", line)
		} else {
			t.say("    %s", line)
		}
	}
}

// sees shows what comes back.
func (t *teller) sees(good bool, format string, args ...any) {
	mark := t.style("32", "✓")
	if !good {
		mark = t.style("33", "✗")
	}
	fmt.Fprintf(t.out, "     %s %s\n", mark, fmt.Sprintf(format, args...))
}
