package api

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxDuration is the longest duration that the API takes.
const MaxDuration = 8760 * time.Hour

// Time is an instant on the wire: RFC 3339, UTC, exactly three decimals,
// rounded down.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000Z"

// TimeOf returns t as the wire shows it.
func TimeOf(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// String returns the wire form.
func (t Time) String() string { return t.UTC().Truncate(time.Millisecond).Format(timeLayout) }

// MarshalText returns the wire form.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalJSON returns the wire form, quoted.
func (t Time) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// UnmarshalText takes any RFC 3339 time with an upper-case T and Z or an
// offset, and rounds it down to milliseconds.
func (t *Time) UnmarshalText(b []byte) error {
	v, err := time.Parse(time.RFC3339Nano, string(b))
	// An offset can move the last hour of year 9999 into a year of five digits.
	if err != nil || len(b) > 40 || bytes.ContainsAny(b, "tz ,") || v.UTC().Year() > 9999 || v.UTC().Year() < 0 {
		return fmt.Errorf("%q is not a time: write RFC 3339, such as 2026-11-23T14:00:00Z", clip(string(b)))
	}
	*t = TimeOf(v)
	return nil
}

// UnmarshalJSON is UnmarshalText of a JSON string; null is refused.
func (t *Time) UnmarshalJSON(b []byte) error {
	s, err := unquote(b)
	if err != nil {
		return err
	}
	return t.UnmarshalText([]byte(s))
}

// Duration is a length of time on the wire: whole numbers of h, m and s, each
// at most once and in that order, more than 0 and at most 8760h: "90s",
// "15m", "1h30m".
type Duration time.Duration

// ParseDuration parses the wire form.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration: write whole numbers of h, m and s in that order, such as 90s, 15m or 1h30m", clip(s))
	rest, total := s, time.Duration(0)
	for _, unit := range []struct {
		suffix byte
		size   time.Duration
	}{{'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}} {
		digits := 0
		for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
			digits++
		}
		if digits == 0 || digits == len(rest) || rest[digits] != unit.suffix {
			continue
		}
		n, err := strconv.ParseUint(rest[:digits], 10, 32)
		if err != nil || digits > 9 {
			return 0, bad
		}
		total += time.Duration(n) * unit.size
		rest = rest[digits+1:]
		if total > MaxDuration {
			return 0, fmt.Errorf("%q is longer than 8760h", clip(s))
		}
	}
	switch {
	case rest != "" || s == "":
		return 0, bad
	case total <= 0:
		return 0, fmt.Errorf("%q is not more than 0", clip(s))
	}
	return total, nil
}

// FormatDuration prints the wire form, in whole seconds rounded down.
func FormatDuration(d time.Duration) string {
	if d < time.Second {
		return "0s"
	}
	var b strings.Builder
	if h := d / time.Hour; h > 0 {
		fmt.Fprintf(&b, "%dh", h)
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		fmt.Fprintf(&b, "%dm", m)
	}
	if s := d % time.Minute / time.Second; s > 0 {
		fmt.Fprintf(&b, "%ds", s)
	}
	return b.String()
}

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns the wire form.
func (d Duration) String() string { return FormatDuration(time.Duration(d)) }

// MarshalText returns the wire form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// MarshalJSON returns the wire form, quoted.
func (d Duration) MarshalJSON() ([]byte, error) { return []byte(`"` + d.String() + `"`), nil }

// UnmarshalText parses the wire form.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// UnmarshalJSON is UnmarshalText of a JSON string; null and numbers are refused.
func (d *Duration) UnmarshalJSON(b []byte) error {
	s, err := unquote(b)
	if err != nil {
		return err
	}
	return d.UnmarshalText([]byte(s))
}

func unquote(b []byte) (string, error) {
	if len(b) < 2 || b[0] != '"' {
		return "", errors.New("must be a string")
	}
	s, err := strconv.Unquote(string(b))
	if err != nil {
		return "", errors.New("must be a plain string")
	}
	return s, nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
