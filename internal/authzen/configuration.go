package authzen

import (
	"encoding/json"
	"net/http"
)

// metadata is section 9 of the Authorization API. What is not in it does not
// exist: there are no search endpoints.
type metadata struct {
	PolicyDecisionPoint string `json:"policy_decision_point"`
	Evaluation          string `json:"access_evaluation_endpoint"`
	Evaluations         string `json:"access_evaluations_endpoint"`
}

func (s *server) describe() []byte {
	b, err := json.Marshal(metadata{
		PolicyDecisionPoint: s.PublicURL,
		Evaluation:          s.PublicURL + "/access/v1/evaluation",
		Evaluations:         s.PublicURL + "/access/v1/evaluations",
	})
	if err != nil {
		panic("authzen: metadata cannot be encoded: " + err.Error())
	}
	return append(b, '\n')
}

func (s *server) configuration(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h.Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(s.document)
}
