package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/daypass/daypass/api"
)

func TestParseDuration(t *testing.T) {
	good := map[string]time.Duration{
		"90s": 90 * time.Second, "15m": 15 * time.Minute, "1h30m": 90 * time.Minute, "1h30m10s": 90*time.Minute + 10*time.Second,
		"1h10s": time.Hour + 10*time.Second, "1s": time.Second, "60s": time.Minute, "90m": 90 * time.Minute, "8760h": api.MaxDuration,
		"0h1s": time.Second, "007m": 7 * time.Minute, "1h0m": time.Hour, "31536000s": api.MaxDuration,
	}
	for s, want := range good {
		if got, err := api.ParseDuration(s); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	bad := []string{
		"", "1.5h", "60", "-5m", "+5m", "1m1h", "1h1h", "1s1m", "0s", "0h0m0s", "8761h", "8760h1s", "31536001s", "١m", "１m", " 5m", "5m ", "5 m", "5M", "5min",
		"1d", "100ms", "5µs", "1h 30m", "h", "m5", "1e3s", "0x10s", "1_0s", "99999999999999999999s", "4294967296s", "1h\n", "1h\x00", "null", "∞",
	}
	for _, s := range bad {
		if got, err := api.ParseDuration(s); err == nil {
			t.Errorf("ParseDuration(%q) = %v", s, got)
		}
	}
}

func TestDurationJSON(t *testing.T) {
	for _, raw := range []string{`null`, `60`, `1.5`, `""`, `"0s"`, `"\u0031m "`, `["1m"]`, `{}`, `true`, `'1m'`, `"1.5h"`, "`1m`"} {
		d := api.Duration(42)
		if err := d.UnmarshalJSON([]byte(raw)); err == nil {
			t.Errorf("%s was taken as %v", raw, d)
		}
		if d != 42 {
			t.Errorf("%s was refused, but changed the value to %v", raw, d)
		}
	}
	var v struct {
		D api.Duration  `json:"d"`
		P *api.Duration `json:"p"`
	}
	if err := json.Unmarshal([]byte(`{"d":"15m","p":null}`), &v); err != nil || v.D.Std() != 15*time.Minute || v.P != nil {
		t.Errorf("%+v, %v", v, err)
	}
}

// Invariant: A3
func TestDurationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(int64(time.Second), int64(api.MaxDuration)).Draw(t, "nanoseconds"))
		text := api.FormatDuration(d)
		back, err := api.ParseDuration(text)
		if err != nil || back != d.Truncate(time.Second) {
			t.Fatalf("%v is written %q and read as %v, %v", d, text, back, err)
		}
		if back > d {
			t.Fatalf("%v grew to %v", d, back)
		}
		raw, err := json.Marshal(api.Duration(d))
		if err != nil {
			t.Fatal(err)
		}
		var again api.Duration
		if err := json.Unmarshal(raw, &again); err != nil || again.Std() != back {
			t.Fatalf("%s is read as %v, %v", raw, again, err)
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"90s", "15m", "1h30m", "1.5h", "60", "-5m", "1m1h", "1h1h", "0s", "8761h", "١m", " 5m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := api.ParseDuration(s)
		if err != nil {
			if len(err.Error()) > 400 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if d <= 0 || d > api.MaxDuration || d%time.Second != 0 {
			t.Fatalf("%q is %v", s, d)
		}
		if strings.Trim(s, "0123456789hms") != "" {
			t.Fatalf("%q was taken", s)
		}
		// What we take, time.ParseDuration takes for the same.
		if std, err := time.ParseDuration(s); err != nil || std != d {
			t.Fatalf("%q is %v, for the standard library %v, %v", s, d, std, err)
		}
		if back, err := api.ParseDuration(api.FormatDuration(d)); err != nil || back != d {
			t.Fatalf("%q is %v, printed and read %v, %v", s, d, back, err)
		}
	})
}

func TestTimeForms(t *testing.T) {
	good := map[string]string{
		"2026-11-23T14:00:00Z":           "2026-11-23T14:00:00.000Z",
		"2026-11-23T14:00:00.1Z":         "2026-11-23T14:00:00.100Z",
		"2026-11-23T14:00:00.9999Z":      "2026-11-23T14:00:00.999Z",
		"2026-11-23T14:00:00.999999999Z": "2026-11-23T14:00:00.999Z",
		"2026-11-23T15:00:00.5+01:00":    "2026-11-23T14:00:00.500Z",
		"2024-02-29T23:59:59.000-11:30":  "2024-03-01T11:29:59.000Z",
		"1969-12-31T23:59:59.9995Z":      "1969-12-31T23:59:59.999Z",
	}
	for in, want := range good {
		var v api.Time
		if err := v.UnmarshalText([]byte(in)); err != nil || v.String() != want {
			t.Errorf("%q = %s, %v; want %s", in, v, err, want)
		}
	}
	bad := []string{
		"", "now", "2026-11-23", "2026-11-23 14:00:00Z", "2026-11-23t14:00:00Z", "2026-11-23T14:00:00z", "2026-11-23T14:00:00", "2026-11-23T14:00Z",
		"2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T14:00:60Z", "2026-11-23T14:00:00,5Z", " 2026-11-23T14:00:00Z",
		"2026-11-23T14:00:00Z ", "1763906400", "26-11-23T14:00:00Z", "9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+01:00", "2026-11-23T14:00:00+0100", "2026-11-23T14:00:00." + strings.Repeat("0", 40) + "Z",
	}
	for _, in := range bad {
		var v api.Time
		if err := v.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q was taken as %s", in, v)
		}
	}
	for _, raw := range []string{`null`, `1763906400`, `{}`, `[]`, `true`} {
		var v api.Time
		if err := v.UnmarshalJSON([]byte(raw)); err == nil {
			t.Errorf("%s was taken as %s", raw, v)
		}
	}
}

// Times lose what is below a millisecond, and never gain.
//
// Invariant: A3
func TestTimeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-1<<33, 1<<36).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
		zone := time.FixedZone("", rapid.IntRange(-14*60, 14*60).Draw(t, "zone")*60)
		wire := api.TimeOf(at.In(zone))
		if wire.After(at) || at.Sub(wire.Time) >= time.Millisecond {
			t.Fatalf("%v became %v", at, wire)
		}
		raw, err := json.Marshal(wire)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) != len(`"2026-11-23T14:00:00.000Z"`) || !strings.HasSuffix(string(raw), `Z"`) {
			t.Fatalf("written as %s", raw)
		}
		var back api.Time
		if err := json.Unmarshal(raw, &back); err != nil || !back.Equal(wire.Time) || back.Location() != time.UTC {
			t.Fatalf("%s was read as %v, %v", raw, back, err)
		}
		// A value that was not made by TimeOf is written rounded down too.
		if direct, _ := json.Marshal(api.Time{Time: at.In(zone)}); string(direct) != string(raw) {
			t.Fatalf("written as %s and as %s", direct, raw)
		}
	})
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-11-23T14:00:00Z", "2026-11-23T14:00:00.9999+01:00", "2026-11-23t14:00:00z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999-23:59"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var v api.Time
		if err := v.UnmarshalText([]byte(s)); err != nil {
			if len(err.Error()) > 400 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		exact, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || v.After(exact) || exact.Sub(v.Time) >= time.Millisecond {
			t.Fatalf("%q is %v, exactly %v", s, v, exact)
		}
		if !utf8.ValidString(v.String()) {
			t.Fatal("not UTF-8")
		}
		var back api.Time
		if err := back.UnmarshalText([]byte(v.String())); err != nil || !back.Equal(v.Time) {
			t.Fatalf("%q is written %q and read as %v, %v", s, v, back, err)
		}
	})
}

// TestRequestShape holds the fields of a request as CONTRACT §5 shows it.
func TestRequestShape(t *testing.T) {
	raw, err := json.Marshal(api.Request{Grant: &api.Grant{}, Scope: json.RawMessage(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"id", "revision", "content_hash", "state", "requester", "resource", "kind", "scope", "duration", "created_at", "approve_by", "stages", "policy", "explanation", "grant", "actions"} {
		if _, ok := got[name]; !ok {
			t.Errorf("no %q in %s", name, raw)
		}
	}
	grant, _ := got["grant"].(map[string]any)
	for _, name := range []string{"id", "state", "starts_at", "expires_at", "ended_at", "ended_reason"} {
		if _, ok := grant[name]; !ok {
			t.Errorf("no grant.%q", name)
		}
	}
	if v, there := grant["ended_at"]; !there || v != nil {
		t.Error("ended_at of a live grant is not null")
	}
}
