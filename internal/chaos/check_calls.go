package chaos

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
)

const present = "what was acknowledged is there [A34]"

// acknowledged looks up each call that was answered with a success.
func (c *checker) acknowledged() {
	for _, k := range c.calls {
		if !k.Acknowledged() || c.replayed(k) {
			continue
		}
		switch {
		case k.Is("POST", "/v1/requests"), k.Is("POST", "/v1/grants/*/extend"):
			c.submitted(k)
		case k.Is("POST", "/v1/requests/*/reviews"):
			c.reviewed(k)
		case k.Is("POST", "/v1/requests/*/cancel"):
			if r := c.requests[k.ID()]; r == nil || r.State != access.Cancelled {
				c.violated(present, "the cancellation of %s", k.ID())
			}
		case k.Is("POST", "/v1/grants/*/revoke"):
			if r := c.grants[k.ID()]; r == nil || r.Grant.State != access.Ended || r.Grant.EndedAt == nil || r.Grant.EndedAt.After(k.End) {
				c.violated(present, "the end of %s by %s", k.ID(), k.Who)
			}
		case k.Is("POST", "/v1/grants/*/credentials"):
			c.credential(k)
		case k.Is("POST", "/v1/tokens"):
			var t api.Token
			if k.Into(&t) && !c.tokens[t.ID] && !c.tried("DELETE", "/v1/tokens/"+t.ID) {
				c.violated(present, "the API token %s", t.ID)
			}
		case k.Is("DELETE", "/v1/tokens/*"):
			if c.tokens[k.ID()] {
				c.violated(present, "the end of the API token %s", k.ID())
			}
		case k.Is("DELETE", "/v1/sessions/*"):
			if c.count(func(e *audit.Entry) bool { return e.Type == audit.SessionKilled && e.Session == k.ID() }) != 1 {
				c.violated(present, "the end of session %s", k.ID())
			}
		}
	}
}

// replayed reports whether k is an answer that was kept: that of the first
// call counts, and once checks that both are the same.
func (c *checker) replayed(k Call) bool { return k.Again && k.Is("POST", "/v1/grants/*/credentials") }

func (c *checker) tried(method, path string) bool {
	for _, k := range c.calls {
		if k.Method == method && k.Path == path {
			return true
		}
	}
	return false
}

func (c *checker) count(is func(*audit.Entry) bool) (n int) {
	for _, e := range c.entries {
		if is(e) {
			n++
		}
	}
	return n
}

func (c *checker) submitted(k Call) {
	var said api.Request
	if !k.Into(&said) {
		return
	}
	r := c.requests[said.ID]
	switch {
	case r == nil:
		c.violated(present, "request %s of %s", said.ID, k.Who)
	case r.ContentHash != said.ContentHash || r.Content.Requester != k.Who:
		c.violated(present, "request %s is not what was acknowledged", said.ID)
	case said.Grant != nil && said.Extends == "" && (r.Grant == nil || r.Grant.ID != said.Grant.ID || !r.Grant.StartsAt.Equal(said.Grant.StartsAt.Time)):
		c.violated(present, "the grant of %s", said.ID)
	}
}

func (c *checker) reviewed(k Call) {
	var sent api.ReviewRequest
	if json.Unmarshal(k.Body, &sent) != nil {
		return
	}
	r := c.requests[k.ID()]
	if r == nil {
		c.violated(present, "request %s, which %s voted on", k.ID(), k.Who)
		return
	}
	for _, v := range r.Reviews {
		if v.By == k.Who && string(v.Decision) == sent.Decision && v.ContentHash == sent.ContentHash {
			return
		}
	}
	c.violated(present, "the vote of %s on %s", k.Who, k.ID())
}

// credential checks what was revealed: its hash is kept, its issue is on
// record, once.
func (c *checker) credential(k Call) {
	var said api.Credential
	if !k.Into(&said) || said.Secret == nil {
		return
	}
	if said.Format == "token" {
		if !c.hashes[k.ID()][sha256.Sum256([]byte(*said.Secret))] {
			c.violated(present, "a token of %s", k.ID())
		}
		return
	}
	parts := strings.Split(*said.Secret, ".")
	var claims struct {
		ID string `json:"jti"`
	}
	if len(parts) != 3 {
		c.violated(present, "a JWT of %s is none", k.ID())
		return
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		c.violated(present, "a JWT of %s is none", k.ID())
		return
	}
	if n := c.count(func(e *audit.Entry) bool { return e.Type == audit.CredentialIssued && e.Details["jti"] == claims.ID }); n != 1 {
		c.violated("exactly one entry for each credential [A20, A30]", "%s has %d", claims.ID, n)
	}
}

// acknowledgedSwitches compares what one admin set, one after the other, with
// what is set: the last that was acknowledged, or one after it of which nobody
// knows.
func (c *checker) acknowledgedSwitches() {
	catalogs, switches := map[string]bool{c.firstCatalog(): true}, map[bool]bool{true: true}
	unknown := false // a catalog was sent whose version nobody was told
	for _, k := range c.calls {
		switch {
		case k.Is("PUT", "/v1/catalog"):
			var said api.Catalog
			switch {
			case k.Acknowledged() && k.Into(&said):
				catalogs, unknown = map[string]bool{said.Version: true}, false
			case k.Status == 0:
				unknown = true
			}
		case k.Is("PUT", "/v1/issuing"):
			var sent api.Issuing
			if json.Unmarshal(k.Body, &sent) != nil {
				continue
			}
			if k.Acknowledged() {
				switches = map[bool]bool{}
			}
			if k.Acknowledged() || k.Status == 0 {
				switches[sent.Enabled] = true
			}
		}
	}
	if !unknown && !catalogs[c.catalog] {
		c.violated(present, "the catalog in force is %s", c.catalog)
	}
	if !switches[c.issuing] {
		c.violated(present, "issuing is on: %v", c.issuing)
	}
	rotated := 0
	for _, k := range c.calls {
		if k.Acknowledged() && k.Is("POST", "/v1/keys/rotate") {
			rotated++
		}
	}
	if n := c.count(func(e *audit.Entry) bool { return e.Type == audit.KeysRotated }); n < rotated {
		c.violated(present, "%d rotations of the keys, on record are %d", rotated, n)
	}
}

func (c *checker) firstCatalog() string {
	for _, e := range c.entries {
		if e.Type == audit.CatalogChanged {
			v, _ := e.Details["version"].(string)
			return v
		}
	}
	return ""
}

// once: calls with one Idempotency-Key did one thing and got one answer (A23).
func (c *checker) once() {
	const rule = "a repeated call happens once [A23]"
	answers := map[string]Call{}
	for _, k := range c.calls {
		if k.Key == "" || !k.Acknowledged() {
			continue
		}
		first, again := answers[k.Who+k.Path+k.Key]
		if !again {
			answers[k.Who+k.Path+k.Key] = k
			continue
		}
		if first.Status != k.Status || !bytes.Equal(withoutSecret(first.Answer), withoutSecret(k.Answer)) {
			c.violated(rule, "%s %s was answered %d %s, and then %d %s", k.Method, k.Path, first.Status, clip(first.Answer), k.Status, clip(k.Answer))
		}
	}
	reasons := map[string]string{}
	for id, reason := range c.texts {
		if !strings.HasPrefix(reason, "key ") {
			continue
		}
		if other := reasons[reason]; other != "" {
			c.violated(rule, "%s and %s came of one call", id, other)
		}
		reasons[reason] = id
	}
}

// withoutSecret is an answer whose secret, shown once, is taken out.
func withoutSecret(answer []byte) []byte {
	var m map[string]any
	if json.Unmarshal(answer, &m) != nil {
		return answer
	}
	delete(m, "secret")
	out, err := json.Marshal(m)
	if err != nil {
		return answer
	}
	return out
}

func clip(b []byte) string { return string(b[:min(len(b), 200)]) }

// monotone: whatever answer showed something final, it is final (A2, A12).
func (c *checker) monotone() {
	const rule = "what is final stays so [A2, A12]"
	for _, k := range c.calls {
		var r api.Request
		if !k.Acknowledged() || !k.Into(&r) || !strings.HasPrefix(r.ID, "req_") {
			continue
		}
		row := c.requests[r.ID]
		if row == nil {
			c.violated(present, "request %s, which %s was shown", r.ID, k.Who)
			continue
		}
		if r.State != string(access.Pending) && r.State != string(row.State) {
			c.violated(rule, "%s was %s and is %s", r.ID, r.State, row.State)
		}
		if g := r.Grant; g != nil && g.State == string(access.Ended) && row.Grant != nil && row.Grant.State != access.Ended && time.Now().Before(row.Grant.ExpiresAt) {
			c.violated(rule, "the grant of %s was ended and is %s", r.ID, row.Grant.State)
		}
	}
}
