package audit

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what OCSF says into testdata/ocsf.txtar")

// ocsfForms are entries of every class, whole and with no more than they must
// have: what a class requires is there either way.
func ocsfForms() map[string]*Entry {
	bare := func(typ string) *Entry {
		return &Entry{ID: "evt_a", Seq: 7, Time: testTime, Type: typ, Actor: "system:policy", Outcome: Failed}
	}
	whole := func(typ, channel string, details map[string]any) *Entry {
		return &Entry{
			ID: "evt_a", Seq: 7, Time: testTime, Type: typ, Actor: "agent:triage-bot", OnBehalfOf: "user:ana", Principal: "user:cy", Request: "req_b", Grant: "grt_c", Session: "ses_d",
			Resource: "orders-api", Scope: json.RawMessage(`{"methods":["GET"]}`), Outcome: Allowed, Source: Source{IP: "192.0.2.7", Channel: channel}, Details: details,
		}
	}
	request := map[string]any{"method": "put", "path": "/v1/orders/1", "user_agent": "curl/8"}
	forms := map[string]*Entry{
		"a request through the HTTP gateway":          whole(AccessAllowed, "gateway:http", request),
		"a bare request through the HTTP gateway":     bare(AccessDenied),
		"a method that OCSF does not know":            whole(AccessDenied, "gateway:http", map[string]any{"method": "PROPFIND"}),
		"a connection through the PostgreSQL gateway": whole(AccessAllowed, "gateway:postgres", nil),
		"a summary of refusals":                       whole(AccessDeniedSummary, "gateway:http", map[string]any{"count": json.Number("17")}),
		"a count that is no summary":                  whole(Exported, "api", map[string]any{"count": json.Number("17")}),
		"a principal in the details":                  whole(AuthSucceeded, "api", map[string]any{"principal": "user:bo"}),
		"a type of a later version":                   bare("something.newer"),
	}
	forms["a bare request through the HTTP gateway"].Source.Channel = "gateway:http"
	forms["a principal in the details"].Principal = ""
	for _, typ := range []string{
		RequestCreated, GrantScheduled, CredentialIssued, CatalogChanged, TokenCreated, TextErased, // entities
		GrantActivated, SessionStarted, AuthSucceeded, SessionQuery, Exported, ServerStarted, PossibleGap,
	} {
		forms[typ], forms[typ+", bare"] = whole(typ, "api", map[string]any{"rule": "r"}), bare(typ)
	}
	return forms
}

// Rules in other people's systems are written on these fields and words: what
// an event of each class looks like is not changed by accident.
func TestOCSFForms(t *testing.T) {
	var got txtar.Archive
	got.Comment = []byte("What OCSF makes of entries. Written by go test -update, read by people.\n\n")
	var table bytes.Buffer
	for _, typ := range slices.Sorted(slices.Values(Types())) {
		ev := OCSF(&Entry{ID: "evt_a", Seq: 7, Time: testTime, Type: typ, Actor: "user:ana", Outcome: Allowed}, "")
		fmt.Fprintf(&table, "%s: %v %v, %v %v, %v %v; severity %v %v", typ, ev["category_uid"], ev["category_name"], ev["class_uid"], ev["class_name"], ev["type_uid"], ev["type_name"], ev["severity_id"], ev["severity"])
		if entity, ok := ev["entity"].(map[string]any); ok {
			fmt.Fprintf(&table, "; of %v %v", entity["type"], entity["name"])
		}
		table.WriteByte('\n')
	}
	got.Files = append(got.Files, txtar.File{Name: "types", Data: bytes.Clone(table.Bytes())})
	table.Reset()
	for _, method := range []string{"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE", "PATCH", "get", ""} {
		e := plain(1)
		e.Details["method"] = method
		ev := OCSF(e, "")
		fmt.Fprintf(&table, "%q: %v %v\n", method, ev["type_uid"], ev["type_name"])
	}
	for _, who := range []string{"user:ana", "service:ci", "agent:triage-bot", "system:policy", Anonymous, "user"} {
		u := ocsfUser(who)
		fmt.Fprintf(&table, "%s: %v %v, %v, %v\n", who, u["type_id"], u["type"], u["uid"], u["name"])
	}
	got.Files = append(got.Files, txtar.File{Name: "methods and users", Data: bytes.Clone(table.Bytes())})
	forms := ocsfForms()
	names := make([]string, 0, len(forms))
	for name := range forms {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		reason := ""
		if !strings.Contains(name, "bare") {
			reason = "refund totals"
		}
		b := must[[]byte](t)(json.MarshalIndent(OCSF(forms[name], reason), "", " "))
		got.Files = append(got.Files, txtar.File{Name: name, Data: append(b, '\n')})
	}
	const path = "testdata/ocsf.txtar"
	if *update {
		if err := os.WriteFile(path, txtar.Format(&got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Files) != len(got.Files) {
		t.Fatalf("%d forms are written down, %d made", len(want.Files), len(got.Files))
	}
	for i, f := range got.Files {
		if w := want.Files[i]; w.Name != f.Name || !bytes.Equal(w.Data, f.Data) {
			t.Errorf("%s: got\n%s\nwant (%s)\n%s", f.Name, f.Data, w.Name, w.Data)
		}
	}
}
