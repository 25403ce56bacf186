package broker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// cursorKey authenticates the cursors of lists: one of another caller, another
// list, or made up, is refused (WEB-07).
type cursorKey struct{ key []byte }

func (k cursorKey) mac(c identity.Caller, list, place string) []byte {
	h := hmac.New(sha256.New, k.key)
	for _, part := range []string{c.Principal, list, place} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return h.Sum(nil)[:16]
}

func (k cursorKey) seal(c identity.Caller, list string, at sqlstore.Cursor) string {
	place := strconv.FormatInt(at.At.UnixMilli(), 10) + "." + at.ID
	return base64.RawURLEncoding.EncodeToString(append(k.mac(c, list, place), place...))
}

func (k cursorKey) open(c identity.Caller, list, cursor string) (sqlstore.Cursor, error) {
	if cursor == "" {
		return sqlstore.Cursor{}, nil
	}
	bad := &Error{Kind: Malformed, Code: "invalid_cursor", Field: "query.cursor", Message: "This cursor is not one of this list; begin without a cursor."}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < 16 || !hmac.Equal(raw[:16], k.mac(c, list, string(raw[16:]))) {
		return sqlstore.Cursor{}, bad
	}
	ms, id, ok := strings.Cut(string(raw[16:]), ".")
	at, err := strconv.ParseInt(ms, 10, 64)
	if !ok || err != nil {
		return sqlstore.Cursor{}, bad
	}
	return sqlstore.Cursor{At: time.UnixMilli(at).UTC(), ID: id}, nil
}
