package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var at = time.Date(2026, 11, 23, 14, 0, 0, 123456789, time.UTC)

func facts() Facts {
	return Facts{
		ID: "msg_abc", Type: RequestPending, At: at, PublicURL: "https://daypass.example.com/base/",
		Request: "req_5zkmnbq3yx7f2tq4c6h2dwa7vi", Requester: "user:ana", Resource: "orders-api", Role: "read-orders",
		Duration: 15 * time.Minute, Reason: "refund totals", Ticket: "INC-42", ApproveBy: at.Add(4 * time.Hour),
	}
}

func compose(t *testing.T, f Facts) Message {
	t.Helper()
	m, err := Compose(f, []Recipient{{Principal: "user:bo", Email: "bo@example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestComposePending(t *testing.T) {
	m := compose(t, facts())
	want := `ana asks for read-orders on orders-api for 15m.

Reason: refund totals
Ticket: INC-42
Open until: Mon 23 Nov 2026 18:00:00 UTC

Review: daypass show req_5zkmnbq3yx7f2tq4c6h2dwa7vi
On the page: https://daypass.example.com/base/requests/req_5zkmnbq3yx7f2tq4c6h2dwa7vi
`
	if m.Text != want {
		t.Errorf("got:\n%s\nwant:\n%s", m.Text, want)
	}
	if m.Subject != "Daypass: ana asks for read-orders on orders-api for 15m" {
		t.Errorf("subject: %s", m.Subject)
	}
	if m.ID != "msg_abc" || m.Type != RequestPending || !m.At.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("frame: %+v", m)
	}
	data, err := json.Marshal(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{`"approve_by":"2026-11-23T18:00:00.123Z"`, `"duration":"15m"`, `"recipients":["user:bo"]`, `"requester":"user:ana"`} {
		if !strings.Contains(string(data), s) {
			t.Errorf("data lacks %s: %s", s, data)
		}
	}
	if strings.Contains(string(data), "bo@example.com") {
		t.Errorf("data holds a mail address: %s", data)
	}
}

func TestComposeEveryType(t *testing.T) {
	f := facts()
	f.Grant, f.By, f.Comment, f.StartsAt, f.ExpiresAt = "grt_x", "user:bo", "only this once", at, at.Add(15*time.Minute)
	for typ, want := range map[string]string{
		RequestApproved:  "Your request for read-orders on orders-api is approved.\n\nApproved by: bo\nComment: only this once\nFrom: Mon 23 Nov 2026 14:00:00 UTC\nUntil: Mon 23 Nov 2026 14:15:00 UTC\n",
		RequestDenied:    "Your request for read-orders on orders-api was denied.\n\nDenied by: bo\nComment: only this once\n",
		RequestExpired:   "Your request for read-orders on orders-api lapsed: nobody decided in time.\n\nAsk again: daypass request orders-api --role read-orders --for 15m --reason …\n",
		RequestCancelled: "The request of ana for read-orders on orders-api was cancelled.\n\nCancelled by: bo\n",
		GrantActive:      "Your access to read-orders on orders-api has begun.\n\nUntil: Mon 23 Nov 2026 14:15:00 UTC\n",
		GrantEnded:       "Your access to read-orders on orders-api was revoked.\n\nBy: bo\nWhy: only this once\nAsk again: daypass request orders-api --role read-orders --for 15m --reason …\n",
	} {
		f.Type, f.EndedReason = typ, "revoked"
		m := compose(t, f)
		if !strings.HasPrefix(m.Text, want) {
			t.Errorf("%s:\n%s\nwant:\n%s", typ, m.Text, want)
		}
	}
	f.Type, f.By = RequestApproved, "system:policy"
	if m := compose(t, f); !strings.Contains(m.Text, "Approved by: a rule of the policy\n") {
		t.Errorf("auto-approved:\n%s", m.Text)
	}
	f.Type, f.Extends = RequestPending, "grt_x"
	if m := compose(t, f); !strings.HasPrefix(m.Text, "ana asks to keep read-orders on orders-api for 15m longer.\n") {
		t.Errorf("extension:\n%s", m.Text)
	}
	seen := map[string]bool{}
	for _, reason := range []string{"expired", "returned", "revoked", "policy", "activation_failed", "?"} {
		seen[ended(reason)] = true
	}
	if len(seen) != 6 {
		t.Errorf("reasons of an end read alike: %v", seen)
	}
	for name, f := range map[string]Facts{"nothing": {}, "unknown type": func() Facts { f := facts(); f.Type = "x"; return f }()} {
		if _, err := Compose(f, nil); !errors.Is(err, ErrFacts) || !IsPermanent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The one link is to a page, under the configured URL; nothing in a message
// decides anything by being opened.
//
// Invariant: A14
// Attack: WHK-10, WHK-13
func TestOnlyLinkIsThePage(t *testing.T) {
	for _, typ := range []string{RequestPending, RequestApproved, RequestDenied, RequestExpired, RequestCancelled, GrantActive, GrantEnded} {
		f := facts()
		f.Type, f.Grant = typ, "grt_x"
		m := compose(t, f)
		const page = "https://daypass.example.com/base/requests/req_5zkmnbq3yx7f2tq4c6h2dwa7vi"
		if m.Link != page || strings.Count(m.Text, "://") != 1 || !strings.HasSuffix(m.Text, "On the page: "+page+"\n") {
			t.Errorf("%s: links in\n%s", typ, m.Text)
		}
		all := fmt.Sprint(m)
		for _, s := range []string{"?", "token", "dpgt_", "dpat_", "approve=", "/approve"} {
			if strings.Contains(all, s) {
				t.Errorf("%s: %q in %s", typ, s, all)
			}
		}
	}
	for _, public := range []string{"", "javascript:alert(1)", "//evil.example", "https://u:p@x", "::", "ftp://x"} {
		f := facts()
		f.PublicURL = public
		if m := compose(t, f); m.Link != "" || strings.Contains(m.Text, "page") {
			t.Errorf("%q made the link %q", public, m.Link)
		}
	}
	f := facts()
	f.PublicURL = "https://x.example/?next=1#top"
	if m := compose(t, f); m.Link != "https://x.example/requests/"+f.Request {
		t.Errorf("link: %s", m.Link)
	}
}

// Attack: REQ-04, WHK-14
func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"refund totals":                    "refund totals",
		"  a\tb\u00a0c  ":                  "a b c",
		"a\r\nBcc: x@y\n\rb":               "a⏎Bcc: x@y⏎⏎b",
		"\x1b[31mred\x1b]8;;http://e\x07":  "‹U+001B›[31mred‹U+001B›]8;;http://e‹U+0007›",
		"abc\u202etxt.exe":                 "abc‹U+202E›txt.exe",
		"a\u200bb\ufeffc\u2066d\u00ade":    "a‹U+200B›b‹U+FEFF›c‹U+2066›d‹U+00AD›e",
		"\u3164\u2800":                     "‹U+3164›‹U+2800›",
		"x\U000e0041y\U000e0100z":          "x‹U+E0041›y‹U+E0100›z",
		"a\u2028b\u0085c\x00d\x7f\u009b":   "a⏎b⏎c‹U+0000›d‹U+007F›‹U+009B›",
		"bad \xff utf":                     "bad \ufffd utf",
		"Ünï ❤️ 日本":                        "Ünï ❤️ 日本",
		"<!channel> <http://e|bank> **b**": "<!channel> <http://e|bank> **b**",
		"z" + strings.Repeat("\u0301", 50): "z" + strings.Repeat("\u0301", 4),
	} {
		if got := Plain(in, 100); got != want {
			t.Errorf("Plain(%q) = %q, want %q", in, got, want)
		}
	}
	for limit, want := range map[int]string{-1: "", 0: "", 1: "…", 3: "ab…", 4: "abcd", 5: "abcd"} {
		if got := Plain("abcd", limit); got != want {
			t.Errorf("Plain(abcd, %d) = %q, want %q", limit, got, want)
		}
	}
}

func checkPlain(t interface{ Fatalf(string, ...any) }, in, out string, limit int) {
	if n := utf8.RuneCountInString(out); n > limit || !utf8.ValidString(out) {
		t.Fatalf("%q: %d characters of %d, or not UTF-8: %q", in, n, limit, out)
	}
	for _, r := range out {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			t.Fatalf("%q: %U came through: %q", in, r, out)
		}
	}
	if again := Plain(out, limit); again != out {
		t.Fatalf("%q: not stable: %q, then %q", in, out, again)
	}
}

// Attack: REQ-04, WHK-14
func TestPlainProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "in")
		limit := rapid.IntRange(1, 60).Draw(t, "limit")
		checkPlain(t, in, Plain(in, limit), limit)
	})
}

// Whatever a user writes, in whichever field, stays inside its line.
//
// Attack: REQ-04, WHK-14
// Who decides reads which run of which job asks, before anything that it wrote.
func TestAMessageNamesTheJob(t *testing.T) {
	for _, typ := range []string{RequestPending, GlassBroken, ReviewDue} {
		f := facts()
		f.Type, f.Job = typ, "GitHub Actions run 7 of acme/orders@refs/heads/main"
		m := compose(t, f)
		if job, reason := strings.Index(m.Text, "\nJob: "+f.Job+"\n"), strings.Index(m.Text, "\nReason: "); job < 0 || job > reason {
			t.Errorf("%s: %s", typ, m.Text)
		}
		if data, err := json.Marshal(m.Data); err != nil || !strings.Contains(string(data), `"job":"`+f.Job+`"`) {
			t.Errorf("%s: %s", typ, data)
		}
	}
}

func TestHostileTextStaysInItsLine(t *testing.T) {
	evil := "x\r\n\r\nReview: daypass approve req_evil\nOn the page: y\x1b[2J\u202e" + strings.Repeat("A", 5000)
	for _, typ := range []string{RequestPending, RequestApproved, RequestDenied, RequestExpired, RequestCancelled, GrantActive, GrantEnded} {
		f := facts()
		f.Type = typ
		calm := strings.Count(compose(t, func() Facts {
			c := f
			c.Job, c.Reason, c.Ticket, c.Comment, c.Outcome, c.By = "a", "a", "a", "a", "a", "a"
			return c
		}()).Text, "\n")
		f.Job, f.Reason, f.Ticket, f.Comment, f.Outcome, f.By, f.Requester, f.Role, f.Resource = evil, evil, evil, evil, evil, evil, "user:"+evil, evil, evil
		m := compose(t, f)
		if n := strings.Count(m.Text, "\n"); n != calm {
			t.Errorf("%s: %d lines instead of %d:\n%s", typ, n, calm, m.Text)
		}
		for i, line := range strings.Split(m.Text, "\n") {
			if strings.HasPrefix(line, "Review: daypass approve") {
				t.Errorf("%s: line %d is forged", typ, i)
			}
			checkPlain(t, evil, line, 2000)
		}
		if n := utf8.RuneCountInString(m.Subject); n > maxSubject || strings.ContainsAny(m.Subject, "\r\n\x1b\u202e") {
			t.Errorf("%s: subject %q", typ, m.Subject)
		}
		data, _ := json.Marshal(m.Data)
		if len(data) > 16<<10 || strings.Contains(string(data), `\n`) || strings.Contains(string(data), "\u202e") {
			t.Errorf("%s: data of %d bytes: %.300s", typ, len(data), data)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "a\x1b[31m", "\u202eabc", "\xff\xfe", "a\r\nb", "e\u0301\u0301\u0301\u0301\u0301\u0301", "\u3164", strings.Repeat("é", 99)} {
		f.Add(s, 20)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 1 || limit > 1000 {
			return
		}
		checkPlain(t, s, Plain(s, limit), limit)
	})
}

func TestErrorsSayWhatToDo(t *testing.T) {
	base := errors.New("no")
	wrapped := fmt.Errorf("sending: %w", Permanent(base))
	if !IsPermanent(wrapped) || !errors.Is(wrapped, base) || IsPermanent(base) || Permanent(nil) != nil || IsPermanent(nil) {
		t.Error("Permanent does not mark exactly what it wraps")
	}
	later := fmt.Errorf("sending: %w", &RetryAfter{After: time.Minute, Err: base})
	if d, ok := RetryDelay(later); !ok || d != time.Minute || !errors.Is(later, base) || IsPermanent(later) {
		t.Errorf("RetryDelay = %v, %v", d, ok)
	}
	if _, ok := RetryDelay(base); ok {
		t.Error("a plain error has a delay")
	}
}
