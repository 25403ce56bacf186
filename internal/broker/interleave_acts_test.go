package broker_test

import (
	"context"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/live"
)

var pendingActs = []act{
	voting("approve by cy", "user:cy", "approve"),
	voting("approve by dee", "user:dee", "approve"),
	voting("approve by ben", "user:ben", "approve"), // whose stage is full
	voting("deny by cy", "user:cy", "deny"),
	voting("deny by dee", "user:dee", "deny"),
	cancelling("cancel by ana", "user:ana"),
	cancelling("cancel by ada", "user:ada"),
	timeActs("lapse"),
	disable, elsewhere, leave, issuingOff,
}

var grantActs = []act{
	revoking("return by ana", "user:ana"),
	revoking("revoke by ada", "user:ada"),
	{"revoke by token", false, func(ctx context.Context, s *scene) error {
		return s.RevokeToken(ctx, identity.Caller{Channel: "api"}, s.token)
	}},
	{"revoke all of ana", false, func(ctx context.Context, s *scene) error {
		_, err := s.RevokeAll(ctx, as("user:ada"), "user:ana", "", "", nil)
		return err
	}},
	{"revoke all of orders", false, func(ctx context.Context, s *scene) error {
		_, err := s.RevokeAll(ctx, as("user:cy"), "", "orders", "", nil)
		return err
	}},
	timeActs("expire"),
	{"credential", false, func(ctx context.Context, s *scene) error {
		_, err := s.Issue(ctx, as("user:ana"), s.grant, "token", nil)
		return err
	}},
	{"approve extension", false, func(ctx context.Context, s *scene) error {
		_, err := s.Review(ctx, as("user:cy"), s.more.ID, broker.Vote{Decision: "approve", ContentHash: s.more.ContentHash}, nil)
		return err
	}},
	{"cancel extension", false, func(ctx context.Context, s *scene) error {
		_, err := s.Cancel(ctx, as("user:ana"), s.more.ID)
		return err
	}},
	disable, elsewhere, issuingOff,
}

var scheduledActs = []act{
	timeActs("start"),
	revoking("return by ana", "user:ana"),
	revoking("revoke by ada", "user:ada"),
	{"revoke all of ana", false, func(ctx context.Context, s *scene) error {
		_, err := s.RevokeAll(ctx, as("user:ada"), "user:ana", "", "", nil)
		return err
	}},
	{"tighten", true, func(ctx context.Context, s *scene) error {
		return s.putCatalog(ctx, func(c *mCatalog) { c.deny = true })
	}},
	disable, elsewhere, leave, issuingOff,
}

var (
	disable = act{"disable ana", true, func(ctx context.Context, s *scene) error {
		return s.putCatalog(ctx, func(c *mCatalog) { c.off = []string{"user:ana"} })
	}}
	elsewhere = act{"point elsewhere", true, func(ctx context.Context, s *scene) error {
		return s.putCatalog(ctx, func(c *mCatalog) { c.upstream = 1 })
	}}
	leave = act{"bo leaves dba", true, func(ctx context.Context, s *scene) error {
		return s.putCatalog(ctx, func(c *mCatalog) { c.groups["group:dba"] = []string{"user:ana2", "user:ben"} })
	}}
	issuingOff = act{"issuing off", true, func(ctx context.Context, s *scene) error {
		_, err := s.SetIssuing(ctx, as("user:ada"), false)
		return err
	}}
)

func voting(name, who, decision string) act {
	return act{name, false, func(ctx context.Context, s *scene) error {
		_, err := s.Review(ctx, as(who), s.id, broker.Vote{Decision: decision, ContentHash: s.hash}, nil)
		return err
	}}
}

func cancelling(name, who string) act {
	return act{name, false, func(ctx context.Context, s *scene) error {
		_, err := s.Cancel(ctx, as(who), s.id)
		return err
	}}
}

func revoking(name, who string) act {
	return act{name, false, func(ctx context.Context, s *scene) error {
		_, err := s.Revoke(ctx, as(who), s.grant, "")
		return err
	}}
}

// timeActs is the clock reaching the next edge of the scene, and the worker
// writing down what that means.
func timeActs(name string) act {
	return act{name, false, func(ctx context.Context, s *scene) error {
		s.reach(s.end)
		_, err := s.Due(ctx)
		return err
	}}
}

func (m *machine) ask(start *time.Time) broker.View {
	v, err := m.Submit(context.Background(), as("user:ana"), broker.Submission{Resource: "orders", Role: "write", Duration: 30 * time.Minute, Reason: "because", StartAt: start}, nil)
	if err != nil {
		panic(err)
	}
	return v
}

func (m *machine) say(who string, v broker.View, d time.Duration) broker.View {
	v, err := m.Review(context.Background(), as(who), v.ID, broker.Vote{Decision: "approve", ContentHash: v.ContentHash, Duration: d}, nil)
	if err != nil {
		panic(err)
	}
	return v
}

func setPending(s *scene) {
	v := s.say("user:bo", s.ask(nil), 0)
	s.id, s.hash, s.end = v.ID, v.ContentHash, v.ApproveBy.Time
}

func setGrant(s *scene) {
	v := s.say("user:cy", s.say("user:bo", s.ask(nil), 0), 0)
	s.id, s.grant, s.end = v.ID, v.Grant.ID, v.Grant.ExpiresAt.Time
	c, err := s.Issue(context.Background(), as("user:ana"), s.grant, "token", nil)
	if err != nil {
		panic(err)
	}
	hash, err := credential.ParseToken(credential.GrantToken, *c.Secret)
	if err != nil {
		panic(err)
	}
	s.token, s.check = *c.Secret, live.Hash(hash)
	x, err := s.Extend(context.Background(), as("user:ana"), s.grant, 10*time.Minute, "more", "", nil)
	if err != nil {
		panic(err)
	}
	s.more = s.say("user:bo", x, 0)
}

func setScheduled(s *scene) {
	at := s.now().Add(time.Hour)
	v := s.say("user:cy", s.say("user:bo", s.ask(&at), 0), 0)
	s.id, s.grant, s.end = v.ID, v.Grant.ID, v.Grant.StartsAt.Time
}
