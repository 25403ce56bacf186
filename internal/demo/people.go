package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

func (s *story) approvals(ctx context.Context) error {
	s.title("What is riskier takes two people, and nobody approves their own")
	s.types("user:ana", `daypass request orders-api --role refund --for 10m --reason "INC-42: refund order 1002"`)
	r, err := s.as("user:ana").Submit(ctx, api.SubmitRequest{Resource: "orders-api", Role: "refund", Duration: api.Duration(10 * time.Minute), Reason: "INC-42: refund order 1002"})
	if err != nil {
		return err
	}
	if err := expect(r.State == "pending", "the request is %s", r.State); err != nil {
		return err
	}
	s.sees(true, "%s", r.Explanation)
	s.types("user:ana", "daypass approve %s", r.ID)
	_, err = s.as("user:ana").Review(ctx, r.ID, api.ReviewRequest{Decision: "approve", ContentHash: r.ContentHash})
	var refused *client.Error
	if !errors.As(err, &refused) {
		return fmt.Errorf("ana could approve her own request: %w", err)
	}
	s.sees(false, "%d %s", refused.Status, refused.Problem.Detail)
	for _, who := range []string{"user:bo", "user:cy"} {
		s.types(who, "daypass approve %s", r.ID)
		if r, err = s.as(who).Review(ctx, r.ID, api.ReviewRequest{Decision: "approve", ContentHash: r.ContentHash}); err != nil {
			return err
		}
		s.sees(true, "%s", r.Explanation)
	}
	if err := expect(r.Grant != nil && r.Grant.State == "active", "the request is %s after both approvals", r.State); err != nil {
		return err
	}
	s.request = r
	c, err := s.as("user:ana").Credential(ctx, r.Grant.ID, "token")
	if err != nil {
		return err
	}
	s.token = *c.Secret
	s.types("user:ana", "daypass connect orders-api -- -X POST /v1/orders/1002/refund")
	a, err := s.call(ctx, http.MethodPost, "/v1/orders/1002/refund", s.token)
	if err != nil {
		return err
	}
	if err := expect(a.status == http.StatusOK, "the refund got %d: %s", a.status, a.body); err != nil {
		return err
	}
	s.sees(true, "%d %s", a.status, a.body)
	return nil
}

func (s *story) revoked(ctx context.Context) error {
	s.title("A revocation cuts a live connection")
	s.types("user:ana", "curl -N …/v1/orders/stream")
	f, err := s.open(ctx, s.token)
	if err != nil {
		return err
	}
	s.types("user:cy", `daypass revoke %s --reason "the refund is done"`, s.request.Grant.ID)
	g, err := s.as("user:cy").Revoke(ctx, s.request.Grant.ID, "the refund is done")
	if err != nil {
		return err
	}
	answered := time.Now()
	if err := expect(g.State == "ended", "the grant is %s", g.State); err != nil {
		return err
	}
	select {
	case at := <-f.ended:
		late := at.Sub(answered)
		if err := expect(late < time.Second, "the stream went on for %v", late); err != nil {
			return err
		}
		s.sees(true, "the stream was cut, %d ms after the revocation was answered", max(0, late.Milliseconds()))
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
