package access_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	. "github.com/daypass/daypass/internal/access"
	"pgregory.net/rapid"
)

var (
	groups   = []string{"group:dba", "group:owners", "group:sec"}
	accounts = []string{
		"user:ana", "user:ana2", "user:bo", "user:bo2", "user:cy", "user:di", "user:ed", "user:fay",
		"service:ci", "agent:bot", "user:nobody",
	}
	verdicts = []string{"calm", "calm", "stricter", "stricter", "shorter", "auto", "refusal", "missing", "random", "random"}
)

// life is one random life of one request in a world that changes around it:
// the directory, the catalog in force, the clock, the switches.
type life struct {
	t   *rapid.T
	now time.Time
	dir *people
	f   Facts // all but Now and Directory

	r       *Request
	history []step
	votes   int
}

// step is a command that was accepted or refused, and what the world was then.
type step struct {
	cmd    Command
	f      Facts
	dir    *people // a copy
	events []Event
	err    error
	before *Request
	after  *Request
}

// die is an even one: the ranges of rapid favour small numbers, and with them
// the same few kinds of life.
var die = rapid.Custom(func(t *rapid.T) int {
	n := 0
	for range 10 {
		n <<= 1
		if rapid.Bool().Draw(t, "bit") {
			n++
		}
	}
	return n
})

func between(t *rapid.T, low, high int, label string) int {
	return low + die.Draw(t, label)%(high-low+1)
}

func pick[T any](t *rapid.T, from []T, label string) T {
	return from[between(t, 0, len(from)-1, label)]
}

// newTown is the town with one more dba.
func newTown() *people {
	dir := town()
	dir.person["user:fay"] = "user:fay"
	dir.groups["group:dba"] = append(dir.groups["group:dba"], "user:fay")
	return dir
}

func newLife(t *rapid.T) *life {
	l := &life{t: t, now: noon, dir: newTown()}
	l.f.Connector = rapid.Bool().Draw(t, "connector")
	tm := l.terms("frozen")
	l.f.Current = &Verdict{Terms: tm}
	c := content(tm)
	c.Requester = pick(l.t, []string{"user:ana", "user:ana", "user:ana", "service:ci", "agent:bot"}, "requester")
	c.Duration = time.Duration(between(l.t, 1, 60, "minutes")) * time.Minute
	if between(l.t, 0, 2, "starts") == 0 {
		at := noon.Add(time.Duration(between(l.t, -60, 600, "start")) * time.Minute)
		c.StartAt = &at
	}
	submit := Submit{ID: "req_1", GrantID: "grt_1", Content: c}
	if !tm.Auto && between(l.t, 0, 3, "breaks glass") == 0 {
		l.glass(&submit)
	}
	if l.do(submit); l.r == nil {
		// Whoever may not break glass asks in the ordinary way.
		l.f.OpenDuty, l.f.IssuingOff, l.f.Current = "", false, &Verdict{Terms: tm}
		l.do(Submit{ID: "req_1", GrantID: "grt_1", Content: c})
	}
	return l
}

// glass makes a submission one that breaks glass, mostly as it has to be.
func (l *life) glass(s *Submit) {
	tm := s.Content.Terms
	tm.BreakGlass = &BreakGlass{MaxDuration: time.Duration(between(l.t, 20, 60, "glass")) * time.Minute, Notify: []string{pick(l.t, groups, "told"), "group:owners"}}
	s.Content.Terms, s.Person = tm, "user:ana"
	l.f.Current = &Verdict{Terms: tm}
	if between(l.t, 0, 9, "no reason") > 0 {
		s.Content.ReasonDigest = "sha256:11"
	}
	if between(l.t, 0, 9, "later") > 0 {
		s.Content.StartAt = nil
	}
	switch between(l.t, 0, 19, "spoils") {
	case 0:
		l.f.OpenDuty = "req_0"
	case 1:
		l.f.IssuingOff = true
	case 2:
		l.f.Current = &Verdict{Terms: l.terms("no glass")}
	}
	for _, a := range accounts {
		if between(l.t, 0, 2, "is told") > 0 {
			s.Told = append(s.Told, a)
		}
	}
}

// terms draws well-formed terms: mostly of one or two stages.
func (l *life) terms(label string) Terms {
	if between(l.t, 0, 7, label+" auto") == 0 {
		return autoTerms()
	}
	var stages []Stage
	for i := range between(l.t, 1, 3, label+" stages") {
		from := []string{pick(l.t, groups, "from")}
		if between(l.t, 0, 4, "more") == 0 {
			from = append(from, pick(l.t, append(groups, "user:di"), "also from"))
		}
		stages = append(stages, stage(fmt.Sprint("s", i), pick(l.t, []int{1, 1, 1, 2, 2, 3}, "quorum"), from...))
	}
	return terms(stages...)
}

// live lets n random things happen, and calls check after every command.
func (l *life) live(n int, check func(step)) {
	for _, s := range l.history {
		check(s)
	}
	for range n {
		switch between(l.t, 0, 15, "what happens") {
		case 0, 1:
			l.wait()
		case 2:
			l.people()
		case 3:
			l.catalog()
		default:
			check(l.do(l.command()))
		}
	}
}

// wait moves the clock, often to the very instants that matter or a
// millisecond beside them, and now and then back.
func (l *life) wait() {
	at := l.now.Add(time.Duration(between(l.t, -2, 20, "wait")) * time.Minute)
	if l.r != nil && between(l.t, 0, 7, "to an instant") < 1+5*len(l.grants()) {
		instants := []time.Time{l.r.ApproveBy}
		if g := l.r.Grant; g != nil {
			instants = []time.Time{g.StartsAt, g.ExpiresAt}
		}
		at = pick(l.t, instants, "instant").Add(time.Duration(between(l.t, -1, 1, "beside")) * time.Millisecond)
	}
	l.now = at
}

func (l *life) grants() []*Grant {
	if l.r == nil || l.r.Grant == nil {
		return nil
	}
	return []*Grant{l.r.Grant}
}

// people changes who is who. The old directory stays as it was for history.
func (l *life) people() {
	l.dir = l.dir.clone()
	account := pick(l.t, accounts, "who")
	group := pick(l.t, groups, "group")
	switch between(l.t, 0, 7, "becomes") {
	case 0, 1:
		l.dir.leave(account, group)
	case 2:
		if !slices.Contains(l.dir.groups[group], account) {
			l.dir.groups[group] = append(l.dir.groups[group], account)
		}
	case 3:
		delete(l.dir.person, account) // disabled
	case 4:
		l.dir.person[account] = account
	default:
		// Two accounts turn out to be one person's.
		l.dir.person[account] = pick(l.t, accounts[:8], "is really")
	}
}

// catalog changes the catalog in force, and the switches.
func (l *life) catalog() {
	if l.r == nil {
		return
	}
	frozen := l.r.Content.Terms
	l.f.IssuingOff = between(l.t, 0, 5, "issuing") == 0
	v := Verdict{Terms: frozen}
	switch pick(l.t, verdicts, "catalog") {
	case "stricter":
		v.Terms.Stages = append(slices.Clone(frozen.Stages), stage("more", between(l.t, 1, 2, "quorum"), pick(l.t, groups, "from")))
		v.Terms.Auto = false
	case "shorter":
		v.Terms.MaxDuration = time.Duration(between(l.t, 1, 60, "cap")) * time.Minute
	case "auto":
		v.Terms.Auto, v.Terms.Stages = true, nil
	case "refusal":
		v.Refusal = "Use a migration." // and terms that would be met
	case "missing":
		l.f.Current = nil
		return
	case "random":
		v.Terms = l.terms("current")
	}
	l.f.Current = &v
}

func (l *life) command() Command {
	t := l.t
	by := pick(t, accounts, "by")
	if l.r != nil && l.r.TakesVotes() && between(t, 0, 3, "votes") > 0 {
		return l.vote(pick(t, l.approvers(by), "voter"))
	}
	if len(l.grants()) > 0 && between(t, 0, 2, "time acts") == 0 {
		return Tick{}
	}
	switch between(t, 0, 16, "command") {
	case 0:
		return Cancel{By: by}
	case 1, 2, 3:
		return Tick{}
	case 4, 5:
		return Provisioned{}
	case 6:
		return ProvisionFailed{Reason: "no"}
	case 7, 8:
		return Removed{}
	case 9:
		return RemoveFailed{Reason: "no"}
	case 10:
		return End{By: by, Reason: pick(l.t, []EndReason{EndReturned, EndRevoked, EndPolicy, EndExpired, ""}, "reason")}
	case 11:
		return Extend{By: "req_2", Duration: time.Duration(between(l.t, -1, 60, "more")) * time.Minute, MaxTotal: l.terms("total").MaxTotal}
	case 12:
		if between(l.t, 0, 4, "lapse") == 0 {
			return Lapse{}
		}
		return pick(l.t, []Command{nil, Submit{ID: "req_1"}, &Tick{}}, "nonsense")
	}
	return l.vote(by)
}

// approvers are those who may vote somewhere and have not; other is one more.
func (l *life) approvers(other string) []string {
	var may []string
	for _, a := range accounts {
		voted := slices.ContainsFunc(l.r.Reviews, func(v Review) bool { return v.By == a })
		if !voted && slices.ContainsFunc(l.r.Stages(), func(s Stage) bool { return mayVote(l.dir, a, l.r.Content.Requester, s.From) }) {
			may = append(may, a)
		}
	}
	return append(may, other)
}

func (l *life) vote(by string) CastVote {
	l.votes++
	v := CastVote{ReviewID: fmt.Sprint("rev_", l.votes), GrantID: fmt.Sprint("grt_", l.votes), By: by, Decision: Approve}
	if l.r != nil {
		v.ContentHash = l.r.ContentHash
	}
	switch between(l.t, 0, 29, "spoil") {
	case 0:
		v.ContentHash = pick(l.t, []string{"", "sha256:00"}, "hash")
	case 1, 2:
		v.Decision = pick(l.t, []Decision{Deny, "perhaps"}, "decision")
	}
	if l.r != nil && l.r.Duty != nil {
		if between(l.t, 0, 3, "finds") == 0 {
			v.Decision = Deny
		}
		return v
	}
	if between(l.t, 0, 3, "narrows") == 0 {
		v.Duration = time.Duration(between(l.t, -1, 61, "narrowed")) * time.Minute
	}
	return v
}

// do decides, applies and remembers.
func (l *life) do(cmd Command) step {
	s := step{cmd: cmd, f: l.f, dir: l.dir.clone(), before: l.r}
	s.f.Now, s.f.Directory = l.now, l.dir
	image := snapshot(l.r)
	s.events, s.err = Decide(l.r, cmd, s.f)
	if !bytes.Equal(image, snapshot(l.r)) {
		l.t.Fatalf("Decide(%#v) changed the request", cmd)
	}
	s.after = l.r
	if s.err == nil && len(s.events) > 0 {
		s.after = Apply(l.r, s.events...)
		if !bytes.Equal(image, snapshot(l.r)) {
			l.t.Fatalf("Apply(%#v) changed its input", s.events)
		}
		// Somebody who decided on the same request at the same time.
		result := snapshot(s.after)
		Apply(l.r, Voted{Review{ID: "rev_other"}}, StagesAdded{[]Stage{stage("other", 9)}}, GrantEnding{At: noon}, GlassFound{At: noon}, GlassReviewed{At: noon})
		if !bytes.Equal(result, snapshot(s.after)) {
			l.t.Fatalf("what Apply(%#v) gave is changed by another Apply", s.events)
		}
	}
	var refusal *Error
	if s.err != nil && (!errors.As(s.err, &refusal) || len(s.events) > 0 || refusal.Message == "") {
		l.t.Fatalf("%#v was refused with %v and events %#v", cmd, s.err, s.events)
	}
	l.r = s.after
	l.history = append(l.history, s)
	return s
}

func snapshot(r *Request) []byte {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return raw
}

// sights counts what the lives of a property came to, so that none of them
// can hold because nothing ever happened.
type sights struct {
	sync.Mutex
	seen map[string]int
}

func (s *sights) saw(what string) {
	s.Lock()
	defer s.Unlock()
	if s.seen == nil {
		s.seen = map[string]int{}
	}
	s.seen[what]++
}

// mustHaveSeen fails unless each of these things happened, given enough lives.
func (s *sights) mustHaveSeen(t interface {
	Errorf(string, ...any)
	Logf(string, ...any)
}, whats ...string) {
	for _, what := range whats {
		if s.seen[what] == 0 && lives() >= 1000 {
			t.Errorf("none of the random lives saw: %s", what)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(s.seen)) {
		t.Logf("%6d × %s", s.seen[what], what)
	}
}
