package audit

import (
	"strconv"
	"time"
)

// Statement is the Details of a session.query, typed: there are thousands of
// them a second. Its bytes are those of the map that Details returns.
type Statement struct {
	SQL        string        // as it ran, or its beginning
	Length     int           // of the whole text in bytes where SQL is only its beginning, else 0
	Unsure     bool          // SQL may have put another text under the name that ran
	Intent     string        // what is about to happen, such as "run"; then nothing of the rest is known
	Tag        string        // with which the database ended it
	SQLState   string        // of its error
	Refused    string        // why it was not let through
	Rows       int64         // that went either way
	Bytes      int64         // of these
	Duration   time.Duration // in whole microseconds
	Part       int           // which result of a query of several statements; 0 and 1 are not told
	Unfinished bool          // its session ended first
}

// Details is the statement as a map: what DecodeEntry makes of its bytes, but
// for the types of numbers.
func (s *Statement) Details() map[string]any {
	d := map[string]any{"sql": s.SQL}
	text := func(key, value string) {
		if value != "" {
			d[key] = value
		}
	}
	if s.Length > 0 {
		d["sql_length"] = s.Length
	}
	if s.Unsure {
		d["unsure"] = true
	}
	if s.Intent != "" {
		d["intent"] = s.Intent
		return d
	}
	d["rows"], d["bytes"], d["duration_ms"] = s.Rows, s.Bytes, s.milliseconds()
	text("tag", s.Tag)
	text("sqlstate", s.SQLState)
	text("refused", s.Refused)
	if s.Part > 1 {
		d["part"] = s.Part
	}
	if s.Unfinished {
		d["unfinished"] = true
	}
	return d
}

func (s *Statement) milliseconds() float64 { return float64(s.Duration.Microseconds()) / 1000 }

// appendTo appends what appendValue appends for Details, in the order of the
// keys.
func (s *Statement) appendTo(b []byte) ([]byte, error) {
	var err error
	b = append(b, '{')
	if s.Intent == "" {
		if b, err = appendInt(append(b, `"bytes":`...), s.Bytes); err != nil {
			return nil, err
		}
		if b, err = appendMilliseconds(append(b, `,"duration_ms":`...), s); err != nil {
			return nil, err
		}
		if s.Part > 1 {
			b = strconv.AppendInt(append(b, `,"part":`...), int64(s.Part), 10)
		}
		b = appendTold(b, `,"refused":`, s.Refused)
		if b, err = appendInt(append(b, `,"rows":`...), s.Rows); err != nil {
			return nil, err
		}
		b = append(b, ',')
	} else {
		b = append(appendText(append(b, `"intent":`...), s.Intent), ',')
	}
	b = appendText(append(b, `"sql":`...), s.SQL)
	if s.Length > 0 {
		b = strconv.AppendInt(append(b, `,"sql_length":`...), int64(s.Length), 10)
	}
	if s.Intent == "" {
		b = appendTold(b, `,"sqlstate":`, s.SQLState)
		b = appendTold(b, `,"tag":`, s.Tag)
		if s.Unfinished {
			b = append(b, `,"unfinished":true`...)
		}
	}
	if s.Unsure {
		b = append(b, `,"unsure":true`...)
	}
	return append(b, '}'), nil
}

func appendTold(b []byte, key, text string) []byte {
	if text == "" {
		return b
	}
	return appendText(append(b, key...), text)
}

// appendMilliseconds appends a duration as RFC 8785 section 3.2.2.3 writes the
// double that is nearest to it: of decimals of at most 15 digits that is the
// decimal itself.
func appendMilliseconds(b []byte, s *Statement) ([]byte, error) {
	us := s.Duration.Microseconds()
	if us < 0 || us >= 1e15 {
		return appendFloat(b, s.milliseconds())
	}
	b = strconv.AppendInt(b, us/1000, 10)
	if rest := us % 1000; rest != 0 {
		b = append(b, '.', byte('0'+rest/100))
		if rest %= 100; rest != 0 {
			b = append(b, byte('0'+rest/10))
			if rest %= 10; rest != 0 {
				b = append(b, byte('0'+rest))
			}
		}
	}
	return b, nil
}
