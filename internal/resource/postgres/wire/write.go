package wire

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Requests of an Authentication message.
const (
	authOK        = 0
	authCleartext = 3
	authSASL      = 10
	authContinue  = 11
	authFinal     = 12
)

// message appends a message whose body is appended by body.
func message(b []byte, typ byte, body func([]byte) []byte) []byte {
	start := len(b)
	b = body(append(b, typ, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[start+1:], uint32(len(b)-start-1)) //nolint:gosec // our own messages are short
	return b
}

// text appends a string of the protocol, which ends with a zero byte.
func text(b []byte, s string) []byte {
	return append(append(b, strings.ReplaceAll(s, "\x00", "")...), 0)
}

// AppendError appends e as an ErrorResponse.
func (e *Error) AppendError(b []byte) []byte { return e.append(b, ErrorResponse) }

// AppendNotice appends e as a NoticeResponse.
func (e *Error) AppendNotice(b []byte) []byte { return e.append(b, NoticeResponse) }

// AppendHinted appends an ErrorResponse whose body is given, with a hint added.
// A body that is not well-formed goes on as it is.
func AppendHinted(b, body []byte, hint string) []byte {
	return message(b, ErrorResponse, func(b []byte) []byte {
		fields, ended := bytes.CutSuffix(body, []byte{0})
		if !ended || !bytes.HasSuffix(fields, []byte{0}) {
			return append(b, body...)
		}
		return append(text(append(append(b, fields...), 'H'), hint), 0)
	})
}

func (e *Error) append(b []byte, typ byte) []byte {
	return message(b, typ, func(b []byte) []byte {
		// S may be localised, V never is; both are expected.
		for _, f := range []struct {
			field byte
			value string
		}{{'S', e.Severity}, {'V', e.Severity}, {'C', e.Code}, {'M', e.Message}, {'D', e.Detail}, {'H', e.Hint}} {
			if f.value != "" {
				b = text(append(b, f.field), f.value)
			}
		}
		return append(b, 0)
	})
}

func auth(b []byte, request uint32, body func([]byte) []byte) []byte {
	return message(b, Authentication, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, request)
		if body != nil {
			b = body(b)
		}
		return b
	})
}

// AppendAuthOK appends an AuthenticationOk.
func AppendAuthOK(b []byte) []byte { return auth(b, authOK, nil) }

// AppendAuthCleartext appends the request for a password as it is. It must be
// sent within TLS only.
func AppendAuthCleartext(b []byte) []byte { return auth(b, authCleartext, nil) }

// AppendSASL appends the offer of mechanisms, the best first.
func AppendSASL(b []byte, mechanisms []string) []byte {
	return auth(b, authSASL, func(b []byte) []byte {
		for _, m := range mechanisms {
			b = text(b, m)
		}
		return append(b, 0)
	})
}

// AppendSASLContinue appends the server's first message of an exchange.
func AppendSASLContinue(b, data []byte) []byte {
	return auth(b, authContinue, func(b []byte) []byte { return append(b, data...) })
}

// AppendSASLFinal appends the server's last message of an exchange.
func AppendSASLFinal(b, data []byte) []byte {
	return auth(b, authFinal, func(b []byte) []byte { return append(b, data...) })
}

// AppendParameterStatus appends the value of a setting.
func AppendParameterStatus(b []byte, name, value string) []byte {
	return message(b, ParameterStatus, func(b []byte) []byte { return text(text(b, name), value) })
}

// AppendKeyData appends what the client has to show to cancel a statement.
func AppendKeyData(b []byte, process uint32, key []byte) []byte {
	return message(b, KeyData, func(b []byte) []byte {
		return append(binary.BigEndian.AppendUint32(b, process), key...)
	})
}

// AppendReady appends a ReadyForQuery: status is I (idle), T (in a transaction)
// or E (in a failed one).
func AppendReady(b []byte, status byte) []byte {
	return message(b, ReadyForQuery, func(b []byte) []byte { return append(b, status) })
}

// AppendNegotiate appends a NegotiateProtocolVersion: what is spoken in place of
// what the client asked for.
func AppendNegotiate(b []byte, v Version, unsupported []string) []byte {
	return message(b, Negotiate, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, uint32(v))                // the whole version, as PostgreSQL sends it
		b = binary.BigEndian.AppendUint32(b, uint32(len(unsupported))) //nolint:gosec // a startup packet is short
		for _, name := range unsupported {
			b = text(b, name)
		}
		return b
	})
}

// AppendQuery appends a Query message, to a server.
func AppendQuery(b []byte, sql []byte) []byte {
	return message(b, Query, func(b []byte) []byte { return append(append(b, sql...), 0) })
}

// AppendParse appends a Parse message, to a server, with the types that m names.
func (m Prepared) AppendParse(b []byte) []byte {
	return message(b, Parse, func(b []byte) []byte {
		b = append(append(b, m.Name...), 0)
		b = append(append(b, m.SQL...), 0)
		return append(b, m.Types...)
	})
}

// AppendCancel appends a CancelRequest, to a server.
func AppendCancel(b []byte, process uint32, key []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(12+len(key))) //nolint:gosec // a key is short
	b = binary.BigEndian.AppendUint32(b, codeCancel)
	b = binary.BigEndian.AppendUint32(b, process)
	return append(b, key...)
}
