package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/daypass/daypass/api"
)

// Story tells the whole of it and returns an error if anything went otherwise
// than it should.
func Story(ctx context.Context, out io.Writer, color bool, o Options) error {
	began := time.Now()
	t := &teller{out: out, color: color, start: began}
	w, err := Start(ctx, o)
	if err != nil {
		return err
	}
	defer w.Close()
	s := &story{World: w, teller: t}
	fmt.Fprintf(out, "%s\nA server, a service of orders behind its gateway, and some people: %s\n",
		t.style("1", "Daypass: access that is asked for, decided, used, and ends by itself."), w.API())
	for _, act := range []func(context.Context) error{s.denied, s.asks, s.cut, s.approvals, s.revoked, s.reads, s.proof} {
		if err := act(ctx); err != nil {
			return fmt.Errorf("act %d: %w", t.act, err)
		}
	}
	fmt.Fprintf(out, "\n%s\n", t.style("1", fmt.Sprintf("That was Daypass, in %.0f seconds.", time.Since(began).Seconds())))
	fmt.Fprint(out, "Play with the same people:  daypass dev\nPut it in front of your own service:  README.md, \"Your own service\"\n")
	return nil
}

// story is what happens so far.
type story struct {
	*World
	*teller
	request *api.Request
	token   string
}

// expect fails the story unless it goes as it should.
func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("this should not have happened: "+format, args...)
}

func (s *story) denied(ctx context.Context) error {
	s.title("Nobody has access by default, and every denial says how to ask")
	s.types("user:ana", "curl http://orders-api.localhost:%s/v1/orders", port(s.Gateway()))
	a, err := s.call(ctx, http.MethodGet, "/v1/orders", "")
	if err != nil {
		return err
	}
	if err := expect(a.status == http.StatusUnauthorized && a.problem.AccessRequest != nil, "a call without a token got %d", a.status); err != nil {
		return err
	}
	s.sees(false, "%d %s", a.status, a.problem.Detail)
	s.say("  ask so: %s", a.problem.AccessRequest.Command)
	return nil
}

// readFor is the length of the first grant.
const readFor = 8 * time.Second

func (s *story) asks(ctx context.Context) error {
	s.title("Ask for what you need, for as long as you need it: policy decides")
	s.types("user:ana", `daypass request orders-api --role read --for 8s --reason "INC-42: refund totals"`)
	r, err := s.as("user:ana").Submit(ctx, api.SubmitRequest{Resource: "orders-api", Role: "read", Duration: api.Duration(readFor), Reason: "INC-42: refund totals"})
	if err != nil {
		return err
	}
	if err := expect(r.Grant != nil && r.Grant.State == "active", "the request is %s", r.State); err != nil {
		return err
	}
	s.request = r
	s.sees(true, "%s", r.Explanation)
	s.types("user:ana", "daypass credential %s", r.Grant.ID)
	c, err := s.as("user:ana").Credential(ctx, r.Grant.ID, "token")
	if err != nil {
		return err
	}
	s.token = *c.Secret
	s.sees(true, "%s… shown once; the server keeps its hash alone", s.token[:9])
	s.types("user:ana", `curl -H "Authorization: Bearer $TOKEN" …/v1/orders/1002`)
	a, err := s.call(ctx, http.MethodGet, "/v1/orders/1002", s.token)
	if err != nil {
		return err
	}
	if err := expect(a.status == http.StatusOK, "reading got %d: %s", a.status, a.body); err != nil {
		return err
	}
	s.sees(true, "%d %s", a.status, a.body)
	s.types("user:ana", "curl -X POST …/v1/orders/1002/refund")
	if a, err = s.call(ctx, http.MethodPost, "/v1/orders/1002/refund", s.token); err != nil {
		return err
	}
	if err := expect(a.status == http.StatusForbidden, "a write got %d", a.status); err != nil {
		return err
	}
	s.sees(false, "%d %s", a.status, a.problem.Detail)
	return nil
}

func (s *story) cut(ctx context.Context) error {
	s.title("The end is the end: a stream is cut in the instant of expiry")
	s.types("user:ana", "curl -N …/v1/orders/stream")
	f, err := s.open(ctx, s.token)
	if err != nil {
		return err
	}
	end := s.request.Grant.ExpiresAt.Time
	s.say("  streaming … the grant ends at %s", end.Format("15:04:05.000"))
	select {
	case at := <-f.ended:
		late := at.Sub(end)
		if err := expect(late < time.Second && late > -time.Second, "the stream ended %v after the grant", late); err != nil {
			return err
		}
		s.sees(true, "cut after %d lines, %d ms after the end of the grant", f.lines, late.Milliseconds())
	case <-ctx.Done():
		return ctx.Err()
	}
	a, err := s.call(ctx, http.MethodGet, "/v1/orders", s.token)
	if err != nil {
		return err
	}
	if err := expect(a.status == http.StatusUnauthorized, "after the end a call got %d", a.status); err != nil {
		return err
	}
	s.sees(false, "%d %s", a.status, a.problem.Detail)
	return nil
}
