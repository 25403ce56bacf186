package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
)

// Of a session that runs the last statements can be looked at, and all are
// counted; an intent is no statement yet.
func TestWatchingASession(t *testing.T) {
	f := newFixture(false)
	defer f.index.Close()
	s, err := f.Open(context.Background(), f.attempt())
	if err != nil {
		t.Fatal(err)
	}
	note := func(st audit.Statement) {
		t.Helper()
		outcome := audit.Allowed
		if st.Refused != "" {
			outcome = audit.Denied
		}
		if err := s.Note(context.Background(), outcome, st, false); err != nil {
			t.Fatal(err)
		}
	}
	if w, ok := f.Watch(s.ID); !ok || w.Statements != 0 || len(w.Recent) != 0 || w.Doing != "GET /v1" {
		t.Errorf("%+v", w)
	}
	long := "select '" + strings.Repeat("é", 300) + "'"
	for i := range 25 {
		s.Does(fmt.Sprint("select ", i))
		note(audit.Statement{SQL: fmt.Sprint("select ", i), Intent: "run"})
		st := audit.Statement{SQL: fmt.Sprint("select ", i), Rows: int64(i), Bytes: 10, Duration: 1500 * time.Microsecond}
		switch i {
		case 22:
			st = audit.Statement{SQL: long, Length: 9000}
		case 23:
			st.SQLState, st.Refused = "42501", "not allowed"
		}
		note(st)
		w, ok := f.Watch(s.ID)
		if !ok || w.Statements != int64(i+1) || len(w.Recent) != min(i+1, 20) || w.Recent[len(w.Recent)-1].N != int64(i+1) || w.Recent[0].N != int64(max(0, i-19)+1) {
			t.Fatalf("after %d: %+v", i+1, w)
		}
	}
	w, _ := f.Watch(s.ID)
	if w.Doing != "select 24" || w.Rows != 24*25/2-22 || w.Bytes != 240 {
		t.Errorf("%+v", w)
	}
	if cut := w.Recent[17]; !strings.HasPrefix(long, strings.TrimSuffix(cut.SQL, "\uFFFD")) || len(cut.SQL) > lastText+3 || cut.SQLLength != 9000 {
		t.Errorf("%+v", cut)
	}
	if r := w.Recent[18]; !r.Refused || r.SQLState != "42501" || r.N != 24 {
		t.Errorf("%+v", r)
	}
	if l := w.Recent[19]; l.SQL != "select 24" || l.DurationMS != 1.5 || l.Rows != 24 || l.Bytes != 10 || l.At.IsZero() {
		t.Errorf("%+v", l)
	}
	if all := f.Sessions(); len(all) != 1 || all[0].Statements != 25 || all[0].Recent != nil {
		t.Errorf("%+v", all)
	}
	s.Close(Stats{})
	if _, ok := f.Watch(s.ID); ok {
		t.Error("a session that is over can be watched")
	}
}

// What cannot be recorded has not happened, and ends the session.
//
// Invariant: A20
func TestAStatementThatCannotBeRecordedEndsTheSession(t *testing.T) {
	f := newFixture(false)
	defer f.index.Close()
	s, err := f.Open(context.Background(), f.attempt())
	if err != nil {
		t.Fatal(err)
	}
	f.rec.fail = context.DeadlineExceeded
	if err := s.Note(context.Background(), audit.Allowed, audit.Statement{SQL: "select 1"}, true); err == nil || s.EndReason() != WhyNotRecorded {
		t.Errorf("%v, %q", err, s.EndReason())
	}
	if w, _ := f.Watch(s.ID); w.Statements != 0 {
		t.Errorf("%+v", w)
	}
	s.Close(Stats{})
}
