package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is the one way to standard output and standard error. Whatever goes
// through it comes out without control bytes, but for line ends and, on a
// terminal, the colours of this file.
type screen struct {
	mu     sync.Mutex
	w      io.Writer
	fd     int
	tty    bool
	colour bool
	live   string // the line that is being rewritten in place
	err    error  // the first error of w
}

// newScreen returns a screen on w. Colours need a terminal, and plain false.
func newScreen(w io.Writer, plain bool) *screen {
	s := &screen{w: w, fd: -1}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.fd, s.tty, s.colour = int(f.Fd()), true, !plain
	}
	return s
}

// markup is text that is clean and may hold colour marks. Only paint makes it.
type markup string

// A mark stands for a colour inside markup. They are private-use runes, which
// clean never lets through: no text from elsewhere can hold one.
type mark rune

const (
	reset mark = 0xE000 + iota
	bold
	green
	yellow
	red
	grey
)

var sequences = map[mark]string{
	reset: "\x1b[0m", bold: "\x1b[1m", green: "\x1b[32m", yellow: "\x1b[33m", red: "\x1b[31m", grey: "\x1b[90m",
}

func isMark(r rune) bool { return rune(reset) <= r && r <= rune(grey) }

// paint returns text in a colour.
func paint(m mark, text string) markup {
	return markup(string(rune(m)) + clean(text) + string(rune(reset)))
}

// printf prints like fmt.Printf; what is a string, an error or a Stringer among
// args is cleaned first.
func (s *screen) printf(format string, args ...any) {
	for i, arg := range args {
		switch v := arg.(type) {
		case markup:
			args[i] = string(v)
		case string:
			args[i] = clean(v)
		case error:
			args[i] = clean(v.Error())
		case fmt.Stringer:
			args[i] = clean(v.String())
		case []byte:
			args[i] = clean(string(v))
		case int, int64, bool, rune:
		default:
			args[i] = clean(fmt.Sprint(v))
		}
	}
	s.emit(fmt.Sprintf(format, args...))
}

// Write makes s an io.Writer for text that others wrote, such as help.
func (s *screen) Write(p []byte) (int, error) {
	lines := strings.Split(string(p), "\n")
	for i := range lines {
		lines[i] = clean(strings.ReplaceAll(lines[i], "\t", "    "))
	}
	s.emit(strings.Join(lines, "\n"))
	return len(p), s.failed()
}

// emit writes text, in which marks become colours. It cleans once more, so
// that a mistake elsewhere shows as an escape and does no harm.
func (s *screen) emit(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emitLocked(text)
}

func (s *screen) emitLocked(text string) {
	var b strings.Builder
	for len(text) > 0 {
		i := strings.IndexFunc(text, func(r rune) bool { return r == '\n' || isMark(r) })
		if i < 0 {
			b.WriteString(clean(text))
			break
		}
		b.WriteString(clean(text[:i]))
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '\n':
			b.WriteByte('\n')
		case s.colour:
			b.WriteString(sequences[mark(r)])
		}
		text = text[i+size:]
	}
	s.raw(b.String())
}

// raw writes bytes of our own making.
func (s *screen) raw(text string) {
	if _, err := io.WriteString(s.w, text); err != nil && s.err == nil {
		s.err = fmt.Errorf("writing: %w", err)
	}
}

// failed returns the first error that writing met.
func (s *screen) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// showLive shows a line about something that goes on: rewritten in place on a
// terminal, elsewhere a line whenever steady, the part without counting clocks,
// changes.
func (s *screen) showLive(steady, clock string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tty {
		if steady != s.live {
			s.live = steady
			s.emitLocked(clean(steady) + clean(clock) + "\n")
		}
		return
	}
	line := []rune(clean(steady) + clean(clock))
	if columns, _, err := term.GetSize(s.fd); err == nil && columns > 1 {
		for width(string(line)) >= columns {
			line = line[:len(line)-1]
		}
	}
	s.raw("\r" + string(line) + "\x1b[K")
	s.live = steady
}

// endLive removes the line, so that what follows starts on a line of its own.
func (s *screen) endLive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty && s.live != "" {
		s.raw("\r\x1b[K")
	}
	s.live = ""
}

// json prints v as indented JSON. Runes that are not plainly visible can stand
// only inside its strings, where \u says the same.
func (s *screen) json(v any) error { return s.encode(v, "  ") }

// jsonLine prints v as one line.
func (s *screen) jsonLine(v any) error { return s.encode(v, "") }

func (s *screen) encode(v any, indent string) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	s.mu.Lock()
	s.raw(visibleJSON(b.Bytes()))
	s.mu.Unlock()
	return s.failed()
}

// visibleJSON escapes what is not plainly visible in JSON text.
func visibleJSON(text []byte) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == '\n' || visible(r) && (r != utf8.RuneError || size > 1):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		}
		text = text[size:]
	}
	return b.String()
}

// table prints rows under a head, in columns as wide as they need to be.
func (s *screen) table(head []string, rows [][]any) {
	all := make([][]markup, 0, len(rows)+1)
	top := make([]markup, len(head))
	for i, h := range head {
		top[i] = paint(grey, h)
	}
	all = append(all, top)
	for _, row := range rows {
		cells := make([]markup, len(row))
		for i, c := range row {
			if m, ok := c.(markup); ok {
				cells[i] = m
			} else {
				cells[i] = markup(clean(fmt.Sprint(c)))
			}
		}
		all = append(all, cells)
	}
	widths := make([]int, len(head))
	for _, row := range all {
		for i, c := range row {
			widths[i] = max(widths[i], width(string(c)))
		}
	}
	for _, row := range all {
		var line strings.Builder
		for i, c := range row {
			line.WriteString(string(c))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-width(string(c))+2))
			}
		}
		s.emit(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// field prints one line of a description.
func (s *screen) field(name string, format string, args ...any) {
	s.printf("  %s", paint(grey, fmt.Sprintf("%-11s", name)))
	s.printf(" "+format+"\n", args...)
}
