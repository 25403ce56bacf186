package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"regexp"
	"sort"
	"strings"
	"time"
	"unicode"

	"github.com/daypass/daypass/api"
)

// funcs are what the templates say things with.
var funcs = template.FuncMap{
	"plain": plainly, "say": say, "prose": func(line string) bool { return strings.HasPrefix(line, "or ") }, "stamp": func(t time.Time) string { return api.TimeOf(t).String() }, "rows": rows, "how": how, "reach": func(t json.RawMessage) []row { out, _ := reach(t); return out }, "summary": func(t json.RawMessage) string { _, s := reach(t); return s }, "state": stateWord, "left": left, "clock": clockOf, "ago": since, "grantword": grantWord,
	"quorum": quorum, "ask": askLink, "name": shortName, "first": initial, "tone": tone, "pair": func(a, b any) [2]any { return [2]any{a, b} },
	"has": func(list []string, want string) bool {
		for _, v := range list {
			if v == want {
				return true
			}
		}
		return false
	},
}

// plainly shows characters that a reader would not see, or that would turn the
// text around, as what they are (ATTACKS REQ-04). Line ends stay.
func plainly(s string) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func hidden(r rune) bool {
	switch r {
	case '\n', '\t', '\u200d': // a joiner is part of many letters and emoji
		return false
	case '\u2028', '\u2029', '\u115f', '\u1160', '\u3164', '\uffa0', unicode.ReplacementChar:
		return true
	}
	return unicode.Is(unicode.C, r)
}

// row is one line of a table of facts.
type row struct {
	Name, Text string
	Code       bool
}

// rows spell a JSON object, every member of it: lists of texts as texts,
// whatever else as JSON.
func rows(raw json.RawMessage) []row {
	if len(raw) == 0 {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return []row{{"scope", string(raw), true}}
	}
	var out []row
	for name, value := range members {
		var list []string
		var text string
		switch {
		case json.Unmarshal(value, &list) == nil && list != nil:
			out = append(out, row{name, strings.Join(list, ", "), false})
		case string(value) != "null" && json.Unmarshal(value, &text) == nil:
			out = append(out, row{name, text, false})
		default:
			var b bytes.Buffer
			if json.Indent(&b, value, "", "  ") != nil {
				b.Write(value)
			}
			out = append(out, row{name, b.String(), true})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// reach spells what a scope means in its target, and the sentence that the kind
// has for it, "" for none.
func reach(target json.RawMessage) ([]row, string) {
	var said struct {
		Summary string `json:"summary"`
	}
	_ = json.Unmarshal(target, &said) // a kind that says no sentence has none
	all := rows(target)
	kept := all[:0]
	for _, r := range all {
		if r.Name != "summary" {
			kept = append(kept, r)
		}
	}
	return kept, said.Summary
}

// how says in few words how something would be decided.
func how(d api.Decision) string {
	switch d.Decision {
	case "auto":
		return "at once"
	case "break_glass":
		return "at once, reviewed afterwards"
	case "refused":
		return "refused"
	}
	people := 0
	for _, st := range d.Stages {
		people += st.Quorum
	}
	if people == 1 {
		return "1 approval"
	}
	return fmt.Sprintf("%d approvals", people)
}

func quorum(st api.Stage) string {
	return fmt.Sprintf("%d of %s", st.Quorum, strings.Join(st.From, " or "))
}

// stateWord is the state of a request, for a person.
func stateWord(state string) string {
	if state == "pending" {
		return "waiting"
	}
	return state
}

// grantWord says where access stands.
func grantWord(g *api.Grant) string {
	switch g.State {
	case "active":
		return "active"
	case "scheduled":
		return "begins later"
	case "activating":
		return "being set up"
	case "ending":
		return "being taken away"
	}
	if g.EndedReason != nil {
		return *g.EndedReason
	}
	return "ended"
}

// tone is the colour of a state; the word beside it says the same.
func tone(state string) string {
	switch state {
	case "active", "approved", "auto":
		return "good"
	case "denied", "refused":
		return "bad"
	case "pending", "activating", "scheduled", "review", "break_glass":
		return "wait"
	}
	return "off"
}

// left is how much time there is until an instant, in words.
func left(until api.Time, now time.Time) string {
	switch d := until.Sub(now); {
	case d <= 0:
		return "over"
	case d < time.Minute:
		return "less than a minute"
	default:
		return coarse(d)
	}
}

// since is how long ago something was.
func since(at api.Time, now time.Time) string {
	if d := now.Sub(at.Time); d >= time.Minute {
		return coarse(d) + " ago"
	}
	return "just now"
}

func coarse(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 24*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute), " 0 min")
	case d < 48*time.Hour:
		return "1 day"
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// clockOf is an instant as people read it. The zone is said: the server does
// not know the reader's.
func clockOf(at api.Time, now time.Time) string {
	t := at.UTC()
	if now.UTC().Format(time.DateOnly) == t.Format(time.DateOnly) {
		return t.Format("15:04 UTC")
	}
	return t.Format("2 Jan 2006, 15:04 UTC")
}

var stamps = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)

// say is a sentence of the broker with its instants as people read them.
func say(text string, now time.Time) string {
	return plainly(stamps.ReplaceAllStringFunc(text, func(found string) string {
		var at api.Time
		if at.UnmarshalText([]byte(found)) != nil {
			return found
		}
		return clockOf(at, now)
	}))
}

// shortName is a principal without what kind of one it is, where that is a
// person.
func shortName(id string) string { return strings.TrimPrefix(id, "user:") }

func initial(id string) string {
	for _, r := range shortName(id) {
		return strings.ToUpper(string(r))
	}
	return "?"
}
