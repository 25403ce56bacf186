package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// erasedPerEntry bounds the digests that one entry names.
const erasedPerEntry = 100

// longEnough is how long a text must be for kept answers to be searched for it.
// Those of its request are found by the request; a short word would find others.
const longEnough = 8

// Erase forgets personal texts for good: those of one request, or those that
// one person wrote and those on their requests. Rows, entries and proofs stay:
// they hold salted digests, which say nothing once text and salt are gone.
func (b *Broker) Erase(ctx context.Context, c identity.Caller, request, principal, why string) (api.Erasure, error) {
	var out api.Erasure
	err := b.alone(ctx, c, sqlstore.Normal, func(u *unit) error {
		out = api.Erasure{}
		if !u.who().admin() {
			return u.forbid("erasing texts", "Only admins erase texts.")
		}
		if (request == "") == (principal == "") {
			return invalid("body.request", "Name a request or a principal, one of the two.")
		}
		if strings.TrimSpace(why) == "" {
			return invalid("body.reason", "Say why: an erasure is on record with its reason.")
		}
		digests, ids, err := u.textsOf(request, principal)
		if err != nil {
			return err
		}
		return u.erase(&out, digests, ids, request, principal, why)
	})
	if err != nil || b.cfg.Scrub == nil {
		return out, err
	}
	// What was deleted is still in the journal until it is written over.
	if err := b.cfg.Scrub(ctx); err != nil {
		return out, &Error{Kind: Unavailable, Code: "not_scrubbed", Message: "The texts are erased, but remains of them may still be in the store's journal; erase again in a moment to have them overwritten.", RetryAfter: 0}
	}
	return out, nil
}

// textsOf collects the digests of a request, or of all that a person wrote and
// of all their requests. None of these may still wait for reviewers.
func (u *unit) textsOf(request, principal string) (digests, ids []string, err error) {
	var rows []*access.Request
	if request != "" {
		if !credential.ValidID("req", request) {
			return nil, nil, notFound("The request")
		}
		r, err := u.tx.Request(request)
		if errors.Is(err, sqlstore.ErrNotFound) {
			return nil, nil, notFound("The request")
		}
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, r)
	} else {
		for _, account := range u.accounts(principal) {
			own, err := u.tx.TextsOf(account)
			if err != nil {
				return nil, nil, err
			}
			digests = append(digests, own...)
			more, err := u.tx.Requests(sqlstore.RequestFilter{Requester: account})
			if err != nil {
				return nil, nil, err
			}
			rows = append(rows, more...)
		}
	}
	for _, r := range rows {
		if r, err = u.tick(r); err != nil {
			return nil, nil, err
		}
		if r.TakesVotes() {
			return nil, nil, stillRead(r.ID)
		}
		ids = append(ids, r.ID)
		digests = append(digests, r.Content.ReasonDigest, r.Content.TicketDigest)
		for _, v := range r.Reviews {
			digests = append(digests, v.CommentDigest)
		}
		said, err := u.tx.ReasonsOf(r.ID)
		if err != nil {
			return nil, nil, err
		}
		digests = append(digests, said...)
	}
	slices.Sort(digests)
	digests = slices.DeleteFunc(slices.Compact(digests), func(d string) bool { return d == "" })
	return digests, ids, nil
}

// stillRead refuses to take away the words that reviewers are to decide on, or
// are to look back at: whoever erased them could have them vote blind.
func stillRead(request string) *Error {
	return &Error{Kind: Conflict, Code: "still_in_review", Message: "Reviewers still have to read " + request + "; have it decided or cancelled, or its break-glass reviewed, and erase then."}
}

func (u *unit) erase(out *api.Erasure, digests, ids []string, request, principal, why string) error {
	var words [][]byte
	erased := []string{}
	for _, d := range digests {
		text, err := u.tx.Text(d)
		if err != nil {
			return err
		}
		if text == "" {
			continue // gone already
		}
		quoted, err := json.Marshal(text)
		if err != nil {
			return err
		}
		if len(text) >= longEnough {
			words = append(words, bytes.Trim(quoted, `"`), []byte(text))
		}
		if err := u.tx.EraseText(d); err != nil {
			return err
		}
		erased = append(erased, d)
	}
	n, err := u.eraseReplies(words, ids, principal)
	if err != nil {
		return err
	}
	if err := u.tx.ForgetJobErrors(); err != nil {
		return err
	}
	out.Texts, out.Requests, out.Replies = len(erased), len(ids), n
	digest, err := u.text(why, u.c.Principal)
	if err != nil {
		return err
	}
	for first := true; first || len(erased) > 0; first = false {
		part := erased[:min(len(erased), erasedPerEntry)]
		erased = erased[len(part):]
		e := entry(audit.TextErased, "", map[string]any{"digests": part, "replies": n})
		e.Reason, e.Outcome = audit.Text{Digest: digest}, audit.Allowed
		if request != "" {
			e.Request = request
		} else {
			e.Details["principal"] = principal
		}
		if err := u.append(e, principal); err != nil {
			return err
		}
	}
	return nil
}

// eraseReplies blanks the kept answers of idempotent calls that show a text, a
// request whose texts are erased, or, of a person, anything they were answered:
// a refusal repeats what was asked for. Their keys stay used.
func (u *unit) eraseReplies(words [][]byte, ids []string, principal string) (int, error) {
	var accounts []string
	if principal != "" {
		accounts = u.accounts(principal)
	}
	for _, id := range ids {
		words = append(words, []byte(id))
	}
	gone, err := json.Marshal(api.Problem{Type: "urn:daypass:problem:erased", Title: "Erased", Status: 410, Code: "erased", Detail: "This call was answered before, and the answer was erased with a personal text in it. Look at what there is now."})
	if err != nil {
		return 0, err
	}
	n, err := u.tx.BlankReplies(410, gone, func(owner string, body []byte) bool {
		return slices.Contains(accounts, owner) || slices.ContainsFunc(words, func(w []byte) bool { return bytes.Contains(body, w) })
	})
	if err != nil {
		return n, fmt.Errorf("erasing kept answers: %w", err)
	}
	return n, nil
}
