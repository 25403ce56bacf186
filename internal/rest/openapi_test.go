package rest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/openapi.json")

const committed = "../../docs/openapi.json"

func TestOpenAPIDocumentIsCurrent(t *testing.T) {
	document, err := OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(committed, document, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, document) {
		t.Fatal("docs/openapi.json is not what the code says: run go generate ./internal/rest")
	}
}

// Every reference leads somewhere, every operation is described, and none of
// huma's own fields are there.
func TestOpenAPIDocumentIsWhole(t *testing.T) {
	document, err := OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	refs := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				if name == "$ref" {
					refs++
					at := any(doc)
					for step := range strings.SplitSeq(strings.TrimPrefix(member.(string), "#/"), "/") {
						at = at.(map[string]any)[step]
						if at == nil {
							t.Errorf("%v leads nowhere", member)
							break
						}
					}
				}
				walk(member)
			}
		case []any:
			for _, member := range v {
				walk(member)
			}
		}
	}
	walk(doc)
	if refs < 50 || bytes.Contains(document, []byte("$schema")) {
		t.Errorf("%d references; the document is not what it should be", refs)
	}
	paths := doc["paths"].(map[string]any)
	for _, rt := range Routes() {
		op, ok := paths[rt.Path].(map[string]any)[strings.ToLower(rt.Method)].(map[string]any)
		if !ok || op["summary"] == "" || op["operationId"] != rt.ID {
			t.Errorf("%s is not documented", rt.ID)
			continue
		}
		if _, public := op["security"]; public != rt.Public {
			t.Errorf("%s: security is wrong", rt.ID)
		}
		for status, res := range op["responses"].(map[string]any) {
			res := res.(map[string]any)
			if status < "400" && res["$ref"] != nil || status >= "400" && res["$ref"] != "#/components/responses/Problem" {
				t.Errorf("%s %s: %v", rt.ID, status, res)
			}
		}
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	property := func(schema, name string) map[string]any {
		return schemas[schema].(map[string]any)["properties"].(map[string]any)[name].(map[string]any)
	}
	if got := property("Request", "grant")["anyOf"]; got == nil {
		t.Error("Request.grant is not nullable")
	}
	if got := property("Request", "stages")["type"]; got != "array" {
		t.Errorf("Request.stages is %v", got)
	}
	if got := property("SubmitRequest", "duration")["pattern"]; got == nil {
		t.Error("SubmitRequest.duration has no pattern")
	}
	if got := schemas["SubmitRequest"].(map[string]any)["additionalProperties"]; got != false {
		t.Errorf("SubmitRequest is open: %v", got)
	}
	if got := schemas["Request"].(map[string]any)["additionalProperties"]; got != nil {
		t.Errorf("Request is closed: %v", got)
	}
}
