package workload

import (
	"strings"
	"testing"

	"github.com/daypass/daypass/internal/config"
)

// The first rule that holds decides, and one that cannot be evaluated refuses:
// what stands after it is not tried.
//
// Invariant: A16
// Attack: POL-01, POL-02, POL-14
func TestRules(t *testing.T) {
	w := listed(t, nil)
	try := func(more claims, rules ...string) (string, string) {
		w.t.Helper()
		w.list(entry(w.Issuer, rules...))
		p, err := w.all.Verify(t.Context(), w.Token(w.GitHub(ours).With(more)))
		if err != nil {
			return "", err.(*Refusal).Why
		}
		return p.Principal, ""
	}
	const main = `claims.repository_id == "74"`
	for _, c := range []struct {
		what  string
		more  claims
		rules []string
		want  string
		why   string
	}{
		{"the first of two", nil, []string{"a", main, "service:a", "b", main, "service:b"}, "service:a", ""},
		{"the second", nil, []string{"a", `claims.ref == "refs/heads/x"`, "service:a", "b", main, "service:b"}, "service:b", ""},
		{"none", nil, []string{"a", `claims.ref == "refs/heads/x"`, "service:a"}, "", "no rule matches"},
		{"a claim that is not there", nil, []string{"a", `claims.environment == "prod"`, "service:a", "b", main, "service:b"}, "", "a rule could not be evaluated"},
		{"asked for first", nil, []string{"a", `has(claims.environment) && claims.environment == "prod"`, "service:a", "b", main, "service:b"}, "service:b", ""},
		{"a negation of what is not there", nil, []string{"a", `!(claims.environment == "dev")`, "service:a"}, "", "a rule could not be evaluated"},
		{"a number for a text", claims{"repository_id": 74}, []string{"a", main, "service:a"}, "", "no rule matches"},
		{"a list for a text", claims{"ref": []string{"refs/heads/main"}}, []string{"a", `claims.ref.startsWith("refs/")`, "service:a"}, "", "a rule could not be evaluated"},
		{"null", claims{"ref": "x", "environment": []any{nil}}, []string{"a", `claims.environment[0] == "prod"`, "service:a"}, "", "no rule matches"},
		{"a text for true", claims{"ok": "true"}, []string{"a", `claims.ok || false`, "service:a"}, "", "a rule could not be evaluated"},
		{"an object for a text", claims{"ref": claims{"a": 1}}, []string{"a", `claims.ref == "refs/heads/main"`, "service:a"}, "", "no rule matches"},
		{"too much work", claims{"l": make([]int, 200)}, []string{"a", `claims.l.all(x, claims.l.all(y, claims.l.all(z, x == y && y == z)))`, "service:a"}, "", "a rule could not be evaluated"},
	} {
		if got, why := try(c.more, c.rules...); got != c.want || why != c.why {
			t.Errorf("%s: %q %q, want %q %q", c.what, got, why, c.want, c.why)
		}
	}
}

func TestWarnings(t *testing.T) {
	for when, want := range map[string]string{
		`claims.repository_id == "74" && claims.ref == "refs/heads/main"`:   "",
		`claims["repository_owner_id"] == "65"`:                             "",
		`claims.project_id == "20" && claims.project_path == "acme/orders"`: "",
		byAccount:                            "",
		`claims.custom_id == "20"`:           "",
		`claims.repository == "acme/orders"`: "rests on repository,",
		`claims["sub"] == "repo:acme/orders:ref:refs/heads/main"`: "rests on sub,",
		`claims["kubernetes.io"]["namespace"] == "ci"`:            "rests on kubernetes.io/namespace,",
		`claims.project_path.startsWith("acme/")`:                 "rests on project_path,",
		`true`: "reads no claim",
		`claims.repository_id == "74" && claims.ref.matches("refs/heads/release")`:   "without ^ and $",
		`claims.repository_id == "74" && claims.ref.matches("^refs/heads/r[0-9]+$")`: "",
	} {
		got := Warnings([]config.Workload{{Issuer: "https://a.example", Rules: []config.WorkloadRule{{Name: "r", When: when}}}})
		if (want == "") != (len(got) == 0) || want != "" && !strings.Contains(got[0], want) {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
}

func TestClaimsInsideOthers(t *testing.T) {
	c := map[string]any{
		"a": "1", "b/c": "2", "d": map[string]any{"e": "3", "f/g": "4", "h": map[string]any{"i": "5"}}, "j/k": map[string]any{"l": "6"},
		"n": float64(1234567), "t": true, "o": []any{"x"}, "long": strings.Repeat("é", 300),
	}
	got := recorded(c, []string{"a", "b/c", "d/e", "d/f/g", "d/h/i", "j/k/l", "n", "t", "o", "d", "x", "d/x", "/", "long"})
	want := map[string]string{"a": "1", "b/c": "2", "d/e": "3", "d/f/g": "4", "d/h/i": "5", "j/k/l": "6", "n": "1234567", "t": "true", "long": strings.Repeat("é", 128) + "…"}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
	}
}
