package wire

import (
	"strconv"
	"strings"
)

const maxValue = 256 // bytes of a parameter's value

// Session is what a client wants to work as.
type Session struct {
	User     string
	Database string // the user's name, if the client named none, as PostgreSQL has it
	Version  Version
	// Params are the settings to start the session at the server with. The two
	// on which reading SQL depends are always among them.
	Params map[string]string
	// Unsupported are protocol extensions that the client asked for.
	Unsupported []string
}

// Negotiates reports whether the client has to be told that it does not get the
// version or the extensions that it asked for.
func (s Session) Negotiates(f First) bool {
	return s.Version != f.Version || len(s.Unsupported) > 0
}

// setting says what is done with a startup parameter that is a setting.
type setting struct {
	name  string // as it is passed on
	allow func(string) bool
	hint  string
}

var settings = map[string]setting{
	"application_name":            {name: "application_name", allow: func(string) bool { return true }},
	"client_encoding":             {name: "client_encoding", allow: unicode, hint: "Set PGCLIENTENCODING=UTF8, or client_encoding=UTF8 in the connection string."},
	"datestyle":                   {name: "DateStyle", allow: words},
	"intervalstyle":               {name: "IntervalStyle", allow: words},
	"timezone":                    {name: "TimeZone", allow: words},
	"extra_float_digits":          {name: "extra_float_digits", allow: digits},
	"standard_conforming_strings": {name: "standard_conforming_strings", allow: on, hint: "It must be on."},
}

// Session reads the parameters of a StartupMessage. What is not on the list is
// refused: a parameter can name a role, a search path, a timeout, a stream of
// replication. The error is an *Error.
func (f First) Session() (Session, error) {
	s := Session{Version: min(f.Version, Version32), Params: map[string]string{}}
	named := false
	for i, name := range f.names {
		value := f.values[i]
		switch {
		case len(value) > maxValue:
			return Session{}, fatal(CodeParameter, "startup parameter %q is longer than %d bytes", name, maxValue)
		case name == "user":
			s.User = value
		case name == "database":
			s.Database, named = value, value != ""
		case name == "options":
			if err := checkOptions(value); err != nil {
				return Session{}, err
			}
		case strings.HasPrefix(name, "_pq_."):
			s.Unsupported = append(s.Unsupported, name)
		case name == "replication":
			if !off(value) {
				return Session{}, fatal(CodeFeature, "replication is refused")
			}
		default:
			if err := s.set(name, value); err != nil {
				return Session{}, err
			}
		}
	}
	if s.User == "" {
		return Session{}, fatal(CodeAuthorization, "no PostgreSQL user name specified in startup packet")
	}
	if !named {
		s.Database = s.User
	}
	s.Params["client_encoding"], s.Params["standard_conforming_strings"] = "UTF8", "on"
	return s, nil
}

func (s *Session) set(name, value string) error {
	known, ok := settings[fold(name)]
	if !ok {
		err := fatal(CodeFeature, "startup parameter %q is refused", name)
		err.Hint = "Daypass passes on application_name, client_encoding, DateStyle, IntervalStyle, TimeZone and extra_float_digits. Leave this one out of the connection string."
		return err
	}
	if !known.allow(value) {
		err := fatal(CodeParameter, "startup parameter %q must not be %q", name, value)
		err.Hint = known.hint
		return err
	}
	s.Params[known.name] = value
	return nil
}

// checkOptions refuses command-line options, which can set anything. Some
// clients send an empty string; "-c geqo=off" is an old driver's habit that
// cannot do harm.
func checkOptions(value string) error {
	switch strings.Join(strings.Fields(value), " ") {
	case "", "-c geqo=off", "-cgeqo=off", "-c standard_conforming_strings=on", "-c client_encoding=UTF8", "-c client_encoding=utf8":
		return nil
	}
	err := fatal(CodeFeature, "startup parameter \"options\" is refused")
	err.Hint = "Leave options (PGOPTIONS) out of the connection string."
	return err
}

// unicode reports whether name is one of UTF-8, compared as PostgreSQL does
// (pg_char_to_encoding). A client without an encoding of its own gets UTF-8 too.
func unicode(name string) bool {
	var b strings.Builder
	for _, c := range []byte(fold(name)) {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			b.WriteByte(c)
		}
	}
	switch b.String() {
	case "utf8", "unicode", "sqlascii":
		return true
	}
	return false
}

func words(value string) bool {
	for _, c := range []byte(value) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_+-/:,.<> '", c) >= 0) {
			return false
		}
	}
	return true
}

func digits(value string) bool {
	n, err := strconv.Atoi(strings.TrimSpace(value))
	return err == nil && -15 <= n && n <= 3
}

func on(value string) bool {
	switch fold(value) {
	case "on", "true", "yes", "1":
		return true
	}
	return false
}

func off(value string) bool {
	switch fold(value) {
	case "off", "false", "no", "0":
		return true
	}
	return false
}

// fold makes ASCII letters small, as PostgreSQL does with names of settings.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
