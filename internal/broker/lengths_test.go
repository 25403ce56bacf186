package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/broker"
)

// How a length would be decided is what the policy says of that length, and is
// told to nobody who may not ask.
func TestLengths(t *testing.T) {
	inWorld(t, func(w *world) {
		w.apply(strings.Replace(base, `scope.methods == ["GET", "HEAD"]'`, `scope.methods == ["GET", "HEAD"] && request.duration <= duration("15m")'`, 1))
		of := []time.Duration{5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, 2 * time.Hour}
		got, err := w.Lengths(context.Background(), as("user:ana"), "orders", "read", of)
		must(t, err)
		words := []string{}
		for _, d := range got {
			words = append(words, d.Decision)
		}
		if strings.Join(words, " ") != "auto auto refused review refused" {
			t.Errorf("%v are decided %v", of, words)
		}
		for _, c := range [][3]string{{"user:dee", "closed", "read"}, {"user:ana", "closed", "read"}, {"user:ana", "orders", "none"}, {"user:ana", "none", "read"}} {
			if _, err := w.Lengths(context.Background(), as(c[0]), c[1], c[2], of); err == nil {
				t.Errorf("%v were told", c)
			} else {
				refused(t, err, "not_found")
			}
		}
	})
}

// To ask for the requests of one person shows no more of them than one may see,
// and what runs is what runs now.
//
// Attack: REQ-16
func TestRequestsOfOnePerson(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		auto, err := w.Submit(ctx, as("user:ana"), broker.Submission{Resource: "orders", Role: "read", Duration: 5 * time.Minute}, nil)
		must(t, err)
		time.Sleep(time.Second)
		waits, err := w.Submit(ctx, as("user:ana"), broker.Submission{Resource: "orders", Role: "write", Duration: 5 * time.Minute}, nil)
		must(t, err)
		ids := func(who string, q broker.RequestQuery) string {
			views, _, err := w.Requests(ctx, as(who), q)
			must(t, err)
			out := []string{}
			for _, v := range views {
				out = append(out, map[string]string{auto.ID: "auto", waits.ID: "waits"}[v.ID])
			}
			return strings.Join(out, " ")
		}
		of := broker.RequestQuery{Requester: "user:ana"}
		for who, want := range map[string]string{"user:aud": "waits auto", "user:cy": "waits auto", "user:bo": "waits", "user:dee": ""} {
			if got := ids(who, of); got != want {
				t.Errorf("%s sees %q of user:ana, want %q", who, got, want)
			}
		}
		if got := ids("user:aud", broker.RequestQuery{Requester: "user:bo"}); got != "" {
			t.Errorf("of somebody else: %q", got)
		}
		if got := ids("user:bo", broker.RequestQuery{Requester: "user:ana", Role: "requester"}); got != "" {
			t.Errorf("one's own, of somebody else: %q", got)
		}
		of.Running = true
		if got := ids("user:aud", of); got != "auto" {
			t.Errorf("what runs: %q", got)
		}
		time.Sleep(5 * time.Minute) // and nothing has noticed yet
		if got := ids("user:aud", of); got != "" {
			t.Errorf("what has run: %q", got)
		}
		if v, err := w.Request(ctx, as("user:aud"), auto.ID); err != nil || v.Grant.State != string(access.Ended) {
			t.Errorf("%v, %v", v.Grant, err)
		}
	})
}
