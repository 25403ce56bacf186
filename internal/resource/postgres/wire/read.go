package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
)

// Prepared is what a Parse message says. Its slices are those of the message.
type Prepared struct {
	Name  []byte
	SQL   []byte
	Types []byte // as they came: a count of 16 bits and the OIDs
}

// Target is what an Execute, Describe or Close message names, or a Bind.
type Target struct {
	Kind      byte   // 'S' a statement, 'P' a portal
	Name      []byte // of it
	Statement []byte // of a Bind: what the portal is made of
}

// take cuts a string that ends with a zero byte off b.
func take(b []byte) (s, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, nil, false
	}
	return b[:i], b[i+1:], true
}

// ReadQuery reads the body of a Query message: one string, and nothing after it.
func ReadQuery(body []byte) (sql []byte, err error) {
	sql, rest, ok := take(body)
	if !ok || len(rest) > 0 {
		return nil, violation("invalid message format: a Query is one string")
	}
	return sql, nil
}

// ReadParse reads the body of a Parse message.
func ReadParse(body []byte) (m Prepared, err error) {
	var ok1, ok2 bool
	rest := body
	m.Name, rest, ok1 = take(rest)
	m.SQL, m.Types, ok2 = take(rest)
	if !ok1 || !ok2 || len(m.Types) < 2 || len(m.Types) != 2+4*int(binary.BigEndian.Uint16(m.Types)) {
		return Prepared{}, violation("invalid message format: a Parse is a name, a statement and types")
	}
	return m, nil
}

// ReadBind reads the names of a Bind message off the first bytes of its body. It
// never looks at parameters.
func ReadBind(head []byte) (Target, error) {
	name, rest, ok1 := take(head)
	statement, _, ok2 := take(rest)
	if !ok1 || !ok2 {
		return Target{}, violation("invalid message format: a Bind names a portal and a statement, in at most %d bytes", maxNames)
	}
	return Target{Kind: 'P', Name: name, Statement: statement}, nil
}

// ReadExecute reads the body of an Execute message.
func ReadExecute(body []byte) (Target, error) {
	name, rest, ok := take(body)
	if !ok || len(rest) != 4 {
		return Target{}, violation("invalid message format: an Execute is a name and a number of rows")
	}
	return Target{Kind: 'P', Name: name}, nil
}

// ReadTarget reads the body of a Describe or Close message.
func ReadTarget(body []byte) (Target, error) {
	if len(body) == 0 || body[0] != 'S' && body[0] != 'P' {
		return Target{}, violation("invalid message format: expected a statement or a portal")
	}
	name, rest, ok := take(body[1:])
	if !ok || len(rest) > 0 {
		return Target{}, violation("invalid message format: expected one name")
	}
	return Target{Kind: body[0], Name: name}, nil
}

// ReadAnswer reads the message with which a client answers a request for a proof,
// and not a byte beyond it. Any other message in its place is refused.
func ReadAnswer(r io.Reader) (body []byte, err error) {
	var head [header]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("reading the answer of the client: %w", err)
	}
	length := binary.BigEndian.Uint32(head[1:])
	switch {
	case head[0] != Password:
		return nil, violation("expected a password or SASL response, got message type %q", head[0])
	case length < 4 || length-4 > maxToken:
		return nil, violation("invalid length of a password or SASL response")
	}
	body = make([]byte, length-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("reading the answer of the client: %w", err)
	}
	return body, nil
}

// ReadPassword reads the body of a PasswordMessage: the password, in clear.
func ReadPassword(body []byte) (string, error) {
	password, rest, ok := take(body)
	if !ok || len(rest) > 0 || len(password) == 0 {
		return "", violation("invalid password packet")
	}
	return string(password), nil
}

// ReadSASL reads the body of a SASLInitialResponse.
func ReadSASL(body []byte) (mechanism string, data []byte, err error) {
	name, rest, ok := take(body)
	if !ok || len(rest) < 4 || uint64(binary.BigEndian.Uint32(rest)) != uint64(len(rest)-4) {
		return "", nil, violation("invalid SASL response")
	}
	return string(name), rest[4:], nil
}

// ReadError reads the body of an ErrorResponse or NoticeResponse, or what there
// is of one: a server that sends nonsense, or one without a SQLSTATE, gets fields
// that are empty.
func ReadError(body []byte) *Error {
	e := &Error{}
	for len(body) > 1 {
		field := body[0]
		value, rest, ok := take(body[1:])
		if !ok {
			value = body[1:]
		}
		body = rest
		switch field {
		case 'S':
			if e.Severity == "" {
				e.Severity = string(value)
			}
		case 'V':
			e.Severity = string(value)
		case 'C':
			e.Code = string(value)
		case 'M':
			e.Message = string(value)
		case 'D':
			e.Detail = string(value)
		case 'H':
			e.Hint = string(value)
		case 0:
			return e
		}
	}
	return e
}

// ReadTag reads the body of a CommandComplete message: what was done, and to how
// many rows where the tag says so ("SELECT 5", "INSERT 0 5").
func ReadTag(body []byte) (tag []byte, rows int64, counted bool) {
	tag, _, ok := take(body)
	if !ok {
		tag = body
	}
	last := tag[bytes.LastIndexByte(tag, ' ')+1:]
	if len(last) == len(tag) {
		return tag, 0, false
	}
	rows, err := strconv.ParseInt(string(last), 10, 64)
	if err != nil || rows < 0 {
		return tag, 0, false
	}
	return tag, rows, true
}

// ReadKeyData reads the body of a BackendKeyData message. The key is a copy.
func ReadKeyData(body []byte) (process uint32, key []byte, err error) {
	if n := len(body) - 4; n < shortCancel || n > maxCancel {
		return 0, nil, violation("the server sent a cancel key of an invalid length")
	}
	return binary.BigEndian.Uint32(body), bytes.Clone(body[4:]), nil
}

// ReadParameterStatus reads the body of a ParameterStatus message.
func ReadParameterStatus(body []byte) (name, value string, err error) {
	n, rest, ok1 := take(body)
	v, rest, ok2 := take(rest)
	if !ok1 || !ok2 || len(rest) > 0 {
		return "", "", violation("the server sent an invalid ParameterStatus")
	}
	return string(n), string(v), nil
}

// CheckSetting refuses a value, which a server reports, that changes how SQL is
// read: then what was checked is not what the server sees.
func CheckSetting(name, value string) error {
	switch {
	case name == "client_encoding" && value != "UTF8", name == "standard_conforming_strings" && value != "on":
		return violation("the session's %s became %s, which Daypass does not allow", name, value)
	}
	return nil
}

// ReadReady reads the body of a ReadyForQuery message: I, T or E.
func ReadReady(body []byte) (status byte, err error) {
	if len(body) != 1 || body[0] != 'I' && body[0] != 'T' && body[0] != 'E' {
		return 0, violation("the server sent an invalid ReadyForQuery")
	}
	return body[0], nil
}
