package sqlstore

import (
	"database/sql"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"github.com/daypass/daypass/internal/access"
)

// asEncodingJSON has go-json-experiment write and read what encoding/json does,
// in half the time: a request is read and written at each of its changes.
// Without the last one the scope, which is canonical JSON and hashed, would come
// back with its <, > and & escaped.
var asEncodingJSON = json.JoinOptions(jsonv1.DefaultOptionsV1(), jsontext.EscapeForHTML(false))

// encodeRequest is the body of a request's row.
func encodeRequest(r *access.Request) (string, error) {
	b, err := json.Marshal(r, asEncodingJSON)
	return string(b), err
}

func decodeRequest[Body string | sql.RawBytes](act string, version int64, body Body) (*access.Request, error) {
	r := new(access.Request)
	if err := json.Unmarshal([]byte(body), r, asEncodingJSON); err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	r.Version = version
	return r, nil
}
