package access

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/daypass/daypass/internal/canonical"
)

// Hash is the content hash, "sha256:" and hex: the SHA-256 of the RFC 8785
// form of exactly what CONTRACT §4 lists, of what the kind found in the target
// where it looks there, and of the job that asked where one did. The name of the role is not in it, as the scope
// is what is granted; nor is the kind, which belongs to the incarnation of the
// resource. Every other key is always there, so that leaving something out
// cannot look like another content. It is empty when the scope is not JSON; an
// empty hash matches no vote.
func (c Content) Hash() string {
	scope, err := canonical.JSON(c.Scope)
	if err != nil {
		return ""
	}
	b := make([]byte, 0, 1024+len(scope)) // keys in the order of RFC 8785
	b = appendField(b, `{"duration":`, seconds(c.Duration))
	b = appendField(b, `,"extends":`, c.Extends)
	b = appendField(b, `,"incarnation":`, c.Incarnation)
	b = appendField(b, `,"reason_digest":`, c.ReasonDigest)
	b = appendField(b, `,"requester":`, c.Requester)
	b = appendField(b, `,"resource":`, c.Resource)
	b = append(append(b, `,"scope":`...), scope...)
	if c.StartAt == nil {
		b = append(b, `,"start_at":null`...)
	} else {
		b = appendField(b, `,"start_at":`, stamp(*c.StartAt))
	}
	if len(c.Target) > 0 { // left out where there is none, as break_glass is
		target, err := canonical.JSON(c.Target)
		if err != nil {
			return ""
		}
		b = append(append(b, `,"target":`...), target...)
	}
	b = c.Terms.append(append(b, `,"terms":`...))
	b = appendField(b, `,"ticket_digest":`, c.TicketDigest)
	if len(c.Workload) > 0 { // left out where there is none, as target is
		workload, err := canonical.JSON(c.Workload)
		if err != nil {
			return ""
		}
		b = append(append(b, `,"workload":`...), workload...)
	}
	b = append(b, '}')
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// append writes the terms as they are hashed. An empty list and none are one.
func (t *Terms) append(b []byte) []byte {
	b = appendField(b, `{"approve_within":`, seconds(t.ApproveWithin))
	b = strconv.AppendBool(append(b, `,"auto":`...), t.Auto)
	// The one key that is left out where there is none: contents hashed before
	// there was such a thing keep their hashes, and one with it always differs.
	if g := t.BreakGlass; g != nil {
		b = appendField(b, `,"break_glass":{"max_duration":`, seconds(g.MaxDuration))
		b = append(appendList(b, `,"notify":`, g.Notify), '}')
	}
	b = appendList(b, `,"guardrails":`, t.Guardrails)
	b = appendField(b, `,"max_duration":`, seconds(t.MaxDuration))
	b = appendField(b, `,"max_total":`, seconds(t.MaxTotal))
	b = appendField(b, `,"policy_version":`, t.PolicyVersion)
	b = appendField(b, `,"rule":`, t.Rule)
	b = append(b, `,"stages":[`...)
	for i, s := range t.Stages {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendList(b, `{"from":`, s.From)
		b = appendField(b, `,"name":`, s.Name)
		b = append(strconv.AppendInt(append(b, `,"quorum":`...), int64(s.Quorum), 10), '}')
	}
	return append(b, ']', '}')
}

func appendField(b []byte, key, value string) []byte {
	if !utf8.ValidString(value) {
		value = string([]rune(value)) // U+FFFD for each byte that is none, as encoding/json does
	}
	return canonical.AppendString(append(b, key...), value)
}

func appendList(b []byte, key string, values []string) []byte {
	b = append(append(b, key...), '[')
	for i, v := range values {
		comma := ","
		if i == 0 {
			comma = ""
		}
		b = appendField(b, comma, v)
	}
	return append(b, ']')
}

// seconds is a duration as text, "900s": as a number, RFC 8785 would round it.
func seconds(d time.Duration) string {
	if d%time.Second != 0 {
		return d.String()
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// spoken is a duration as people write one, "1h30m": without what is zero.
func spoken(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// stamp is RFC 3339 in UTC with exactly three decimals, rounded down.
func stamp(t time.Time) string {
	return t.UTC().Truncate(time.Millisecond).Format("2006-01-02T15:04:05.000Z07:00")
}
