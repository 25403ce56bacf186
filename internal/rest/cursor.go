package rest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sort"

	"github.com/daypass/daypass/internal/broker"
)

// cursors pages through the lists that the broker answers whole. A cursor
// names the key of the last item and is bound to its list and its caller by a
// MAC; the key of the MAC lives as long as the process (ATTACKS WEB-07).
type cursors struct{ key []byte }

func newCursors() cursors {
	key := make([]byte, 32)
	rand.Read(key)
	return cursors{key}
}

func (c cursors) mac(list, caller, after string) []byte {
	m := hmac.New(sha256.New, c.key)
	for _, part := range []string{list, caller, after} {
		m.Write([]byte(part))
		m.Write([]byte{0})
	}
	return m.Sum(nil)[:16]
}

func (c cursors) seal(list, caller, after string) string {
	return base64.RawURLEncoding.EncodeToString(append(c.mac(list, caller, after), after...))
}

func (c cursors) open(list, caller, cursor string) (string, error) {
	bad := malformed("query.cursor", "This is not a cursor of this list. Begin again without one.")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < 16 {
		return "", bad
	}
	after := string(raw[16:])
	if !hmac.Equal(raw[:16], c.mac(list, caller, after)) {
		return "", bad
	}
	return after, nil
}

// order is how a list is sorted: by a key that is unique and holds no NUL.
type order[T any] struct {
	key       func(T) string
	ascending bool
}

func (o order[T]) before(a, b string) bool {
	if o.ascending {
		return a < b
	}
	return a > b
}

// slicePage is the page p of items, which are sorted first.
func slicePage[T any](s *server, c *call, items []T, p broker.Page, o order[T]) (page[T], error) {
	items = append([]T(nil), items...)
	sort.SliceStable(items, func(i, j int) bool { return o.before(o.key(items[i]), o.key(items[j])) })
	if p.Cursor != "" {
		after, err := s.cursors.open(c.r.URL.Path, c.caller.Principal, p.Cursor)
		if err != nil {
			return page[T]{}, err
		}
		items = items[sort.Search(len(items), func(i int) bool { return o.before(after, o.key(items[i])) }):]
	}
	if len(items) <= p.Limit {
		return page[T]{items: items}, nil
	}
	items = items[:p.Limit]
	return page[T]{items: items, next: s.cursors.seal(c.r.URL.Path, c.caller.Principal, o.key(items[len(items)-1]))}, nil
}
