package workload

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/daypass/daypass/api"
)

// Describe says in a few words which run of which job w is, by the claims of
// the platforms that are known; its subject for others. "" for nil.
func Describe(w *api.Workload) string {
	if w == nil {
		return ""
	}
	c := w.Claims
	switch {
	case c["run_id"] != "" && c["repository"] != "":
		run := fmt.Sprintf("GitHub Actions run %s of %s@%s", c["run_id"], c["repository"], c["ref"])
		if c["job_workflow_ref"] != "" {
			run += " by " + c["job_workflow_ref"]
		}
		return run
	case c["pipeline_id"] != "" && c["project_path"] != "":
		return fmt.Sprintf("GitLab job %s in pipeline %s of %s@%s", c["job_id"], c["pipeline_id"], c["project_path"], c["ref"])
	case c["kubernetes.io/namespace"] != "":
		run := fmt.Sprintf("Kubernetes service account %s/%s", c["kubernetes.io/namespace"], c["kubernetes.io/serviceaccount/name"])
		if pod := c["kubernetes.io/pod/name"]; pod != "" {
			run += " in Pod " + pod
		}
		return run
	}
	return w.Subject
}

// told are the claims that are kept of a token where the configuration does not
// list others: what an auditor needs to find the run, on the platforms that are
// known. Names of persons are not among them, for the record keeps them for
// ever; their numbers are.
var told = []string{
	// GitHub Actions
	"repository", "repository_id", "repository_owner_id", "run_id", "run_attempt", "ref", "sha",
	"event_name", "environment", "job_workflow_ref", "workflow_ref", "actor_id",
	// GitLab
	"project_id", "project_path", "namespace_id", "pipeline_id", "pipeline_source", "job_id", "ref_type", "ref_protected",
	"environment_protected", "ci_config_ref_uri", "ci_config_sha", "user_id",
	// Kubernetes
	"kubernetes.io/namespace", "kubernetes.io/serviceaccount/name", "kubernetes.io/serviceaccount/uid",
	"kubernetes.io/pod/name", "kubernetes.io/pod/uid",
	// all
	"jti",
}

// recorded picks the claims of names that are there, as texts.
func recorded(claims map[string]any, names []string) map[string]string {
	if len(names) == 0 {
		names = told
	}
	out := map[string]string{}
	for _, name := range names {
		if text, ok := asText(lookUp(claims, name)); ok {
			out[name] = text
		}
	}
	return out
}

// lookUp finds a claim by its name, or by names with a slash between them for
// one inside others. Names have slashes too: the longest is tried first.
func lookUp(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	for at := strings.LastIndexByte(name, '/'); at > 0; at = strings.LastIndexByte(name[:at], '/') {
		if inside, ok := claims[name[:at]].(map[string]any); ok {
			if v := lookUp(inside, name[at+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

// asText is a claim that is one value, as text.
func asText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return clip(v), true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}
