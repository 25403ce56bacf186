package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
)

// reads is the act with a database: only reads, on one table, until the end.
func (s *story) reads(ctx context.Context) error {
	if s.db == nil {
		fmt.Fprintf(s.out, "\n%s\n", s.style("1", "The act with a database is left out: "+s.Without+"."))
		return nil
	}
	s.title("The same for a database: PostgreSQL itself keeps to the scope")
	s.types("user:ana", `daypass request orders-db --role read-orders --for 8s --reason "INC-43: totals"`)
	r, err := s.active(ctx, "user:ana", api.SubmitRequest{Resource: "orders-db", Role: "read-orders", Duration: api.Duration(readFor), Reason: "INC-43: totals"})
	if err != nil {
		return err
	}
	s.sees(true, "%s", r.Explanation)
	var target struct {
		Tables    map[string]uint32
		Effective struct {
			Relations      int `json:"relations"`
			OwnerFunctions int `json:"owner_functions"`
		}
	}
	if err := json.Unmarshal(r.Target, &target); err != nil {
		return fmt.Errorf("what the grant reaches: %w", err)
	}
	role := "daypass_g_" + strings.TrimPrefix(r.Grant.ID, "grt_")
	s.say("  PostgreSQL has a role for this grant alone: %s", role)
	s.say("  asked for: %d table; what it really reaches: %d, and %d functions with their owner's rights", len(target.Tables), target.Effective.Relations, target.Effective.OwnerFunctions)
	c, err := s.as("user:ana").Credential(ctx, r.Grant.ID, "token")
	if err != nil {
		return err
	}
	shell := func(sql string) (said, error) {
		s.types("user:ana", "daypass connect orders-db -- -c '%s'", sql)
		return query(ctx, s.db.psql(), r.Grant.Connect, *c.Secret, sql)
	}
	for _, one := range []struct {
		sql  string
		want string
	}{
		{"select id, total, state from orders order by id", "129.00"},
		{"select * from customers", "42501: permission denied for table customers"}, // the database's own words
		{"update orders set total = 0", "42501: UPDATE is not allowed"},
	} {
		a, err := shell(one.sql)
		if err != nil {
			return err
		}
		good := !a.failed
		if err := expect(good == strings.HasPrefix(one.sql, "select id") && strings.Contains(a.text, one.want), "%s: %s", one.sql, a.text); err != nil {
			return err
		}
		s.shows(good, a.text)
	}
	return s.cutInTheMiddle(ctx, r, role, shell)
}

// cutInTheMiddle lets a statement run into the end of the grant.
func (s *story) cutInTheMiddle(ctx context.Context, r *api.Request, role string, shell func(string) (said, error)) error {
	end := r.Grant.ExpiresAt.Time
	type ended struct {
		said
		at  time.Time
		err error
	}
	done := make(chan ended, 1)
	go func() {
		a, err := shell("select pg_sleep(60)")
		done <- ended{a, time.Now(), err}
	}()
	if err := s.until(ctx, "the statement runs", func() (bool, error) {
		n, _, err := s.db.sessions(ctx, role)
		return n == 1, err
	}); err != nil {
		return err
	}
	s.say("  it runs … the grant ends at %s", end.Format("15:04:05.000"))
	var a ended
	select {
	case a = <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.err != nil {
		return a.err
	}
	late := a.at.Sub(end)
	if err := expect(a.failed && late < time.Second && late > -time.Second && strings.Contains(a.text, "57P01: terminating connection: the Daypass grant "+r.Grant.ID+" expired at") &&
		strings.Contains(a.text, "HINT:  Ask again: daypass request orders-db --role read-orders"), "%v after the end: %s", late, a.text); err != nil {
		return err
	}
	s.shows(false, a.text)
	s.sees(true, "cut in the middle of it, %d ms after the end of the grant", late.Milliseconds())
	if err := s.until(ctx, "the role is gone", func() (bool, error) {
		n, there, err := s.db.sessions(ctx, role)
		return n == 0 && !there, err
	}); err != nil {
		return err
	}
	s.sees(true, "the backend is gone from pg_stat_activity, and the role from pg_roles")
	a.said, a.err = shell("select 1")
	if err := expect(a.err == nil && a.failed && strings.Contains(a.text, "the Daypass grant "+r.Grant.ID+" expired at"), "after the end: %v %s", a.err, a.text); err != nil {
		return err
	}
	s.shows(false, a.text)
	return nil
}

// active asks, and waits until what was granted can be used.
func (s *story) active(ctx context.Context, who string, asked api.SubmitRequest) (*api.Request, error) {
	r, err := s.as(who).Submit(ctx, asked)
	if err != nil {
		return nil, err
	}
	for r, err := range s.as(who).FollowRequest(ctx, r.ID) {
		if err != nil {
			return nil, err
		}
		switch {
		case r.Grant == nil || r.Grant.State == "ended":
			return nil, expect(false, "the request is %s", r.State)
		case r.Grant.State == "active":
			s.request = r
			return r, nil
		}
	}
	return nil, ctx.Err()
}

// until asks again and again, for at most ten seconds.
func (s *story) until(ctx context.Context, what string, is func() (bool, error)) error {
	for last := time.Now().Add(10 * time.Second); ; {
		ok, err := is()
		if ok || err != nil {
			return err
		}
		if err := expect(time.Now().Before(last), "it did not come to this: %s", what); err != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
