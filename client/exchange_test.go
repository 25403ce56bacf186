package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tokens is a server that knows one token at a time.
type tokens struct {
	*httptest.Server
	good  atomic.Value
	calls atomic.Int64
	forms chan string
}

func newTokens(t *testing.T) *tokens {
	s := &tokens{forms: make(chan string, 8)}
	s.good.Store("t1")
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		switch {
		case r.URL.Path == "/oauth/token" || r.URL.Path == "/oauth/revoke":
			_ = r.ParseForm()
			s.forms <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization") + r.PostForm.Get("subject_token") + r.PostForm.Get("token")
			w.Header().Set("Content-Type", "application/json")
			if r.PostForm.Get("subject_token") == "bad" {
				w.WriteHeader(400)
				fmt.Fprint(w, `{"error":"invalid_request","error_description":"the subject token was not accepted"}`)
				return
			}
			fmt.Fprint(w, `{"access_token":"t2","token_type":"Bearer","expires_in":60}`)
		case r.Header.Get("Authorization") == "Bearer "+s.good.Load().(string):
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"id":"service:ci"}`)
		default:
			w.WriteHeader(401)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestExchange(t *testing.T) {
	s := newTokens(t)
	c := New(s.URL, "")
	made, err := c.Exchange(context.Background(), "jwt")
	if err != nil || made.Secret != "t2" || time.Until(made.ExpiresAt) > time.Minute || time.Until(made.ExpiresAt) < 50*time.Second {
		t.Fatalf("%+v %v", made, err)
	}
	if got := <-s.forms; got != "POST /oauth/token jwt" {
		t.Errorf("it sent %q", got)
	}
	if _, err := c.Exchange(context.Background(), "bad"); Status(err) != 400 || Code(err) != "invalid_request" || err.Error() != "the subject token was not accepted (400 invalid_request)" {
		t.Errorf("%v", err)
	}
	if <-s.forms; s.calls.Load() != 2 {
		t.Error("a refused token was sent again")
	}
	// A token that goes beside the form would be one more that can leak.
	if err := New(s.URL, "t1").EndToken(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := <-s.forms; got != "POST /oauth/revoke t1" {
		t.Errorf("it sent %q", got)
	}
}

func TestRenewal(t *testing.T) {
	s := newTokens(t)
	var renewed atomic.Int64
	fail := true
	c := New(s.URL, "t1", WithRenewal(func(context.Context) (string, error) {
		if renewed.Add(1); fail {
			return "", errors.New("the platform gives no other")
		}
		s.good.Store("t2")
		return "t2", nil
	}))
	ctx := context.Background()
	if _, err := c.Me(ctx); err != nil || renewed.Load() != 0 {
		t.Fatalf("%v after %d renewals", err, renewed.Load())
	}
	s.good.Store("none")
	for range 3 {
		if _, err := c.Me(ctx); Status(err) != 401 {
			t.Errorf("%v", err)
		}
	}
	if renewed.Load() != 1 {
		t.Errorf("a renewal that failed was tried %d times at once", renewed.Load())
	}
	fail, c.refused = false, time.Time{}
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			if me, err := c.Me(ctx); err != nil || me.ID != "service:ci" {
				t.Errorf("%v", err)
			}
		})
	}
	group.Wait()
	if renewed.Load() != 2 {
		t.Errorf("ten calls at once renewed %d times", renewed.Load()-1)
	}
	if !c.Renews() || New(s.URL, "t1").Renews() {
		t.Error("who renews is told otherwise")
	}
}
