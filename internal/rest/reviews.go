package rest

import (
	"context"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

type reviews interface {
	Review(ctx context.Context, c identity.Caller, id string, v broker.Vote, once *broker.Once) (broker.View, error)
	Cancel(ctx context.Context, c identity.Caller, id string) (broker.View, error)
}

func (s *server) reviewRoutes() {
	add(s, Route{
		Method: "POST", Path: "/v1/requests/{id}/reviews", ID: "reviewRequest", Tag: "Requests",
		Summary: "Approve or deny",
		Text: "One person's vote on exactly the content they were shown: `content_hash` is the hash that the request had then. " +
			"`duration` may shorten the access, never lengthen it. The answer is the request as it is now.",
		Answers: []int{200}, Errors: []int{403, 404, 409, 412}, Creates: true, ETag: true,
		Example: `{"decision":"approve","content_hash":"sha256:…","comment":"looks right","duration":"10m"}`,
	}, func(c *call, in *api.ReviewRequest) (broker.View, error) {
		v := broker.Vote{Decision: in.Decision, ContentHash: in.ContentHash, Comment: in.Comment}
		if in.Duration != nil {
			v.Duration = in.Duration.Std()
		}
		return s.Broker.Review(c.ctx, c.caller, c.id(), v, c.once)
	}, viewed)
}
