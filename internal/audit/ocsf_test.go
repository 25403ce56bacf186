package audit

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ocsfWant is class_uid, activity_id and activity_name of every type.
var ocsfWant = map[string]struct {
	class, activity int
	name            string
}{
	"request.created": {3004, 1, "Create"}, "request.approved": {3004, 99, "Approve"}, "request.denied": {3004, 99, "Deny"},
	"request.cancelled": {3004, 99, "Cancel"}, "request.expired": {3004, 99, "Expire"}, "request.refused": {3004, 99, "Refuse"},
	"review.recorded": {3004, 99, "Review"}, "review.refused": {3004, 99, "Refuse Review"},
	"grant.scheduled": {3004, 99, "Schedule"}, "grant.activated": {3005, 1, "Assign Privileges"}, "grant.activation_failed": {3005, 1, "Assign Privileges"},
	"grant.extended": {3005, 99, "Extend Privileges"}, "grant.ending": {3005, 2, "Revoke Privileges"}, "grant.ended": {3005, 2, "Revoke Privileges"}, "grant.cleanup_failed": {3005, 2, "Revoke Privileges"},
	"credential.issued": {3004, 1, "Create"},
	"access.allowed":    {6003, 99, "Access"}, "access.denied": {6003, 99, "Access"}, "access.denied_summary": {6003, 99, "Access"},
	"session.started": {3003, 1, "Assign Privileges"}, "session.query": {6005, 4, "Query"}, "session.killed": {3003, 99, "End Session"}, "session.ended": {3003, 99, "End Session"},
	"catalog.changed": {3004, 3, "Update"}, "issuing.changed": {3004, 3, "Update"}, "keys.rotated": {3004, 3, "Update"},
	"auth.succeeded": {3002, 1, "Logon"}, "auth.failed": {3002, 1, "Logon"}, "auth.ended": {3002, 2, "Logoff"}, "setup.offered": {3004, 1, "Create"}, "token.created": {3004, 1, "Create"}, "token.revoked": {3004, 4, "Delete"},
	"server.started": {6002, 3, "Start"}, "server.stopped": {6002, 4, "Stop"}, "protection.off": {6002, 99, "Disable Protection"}, "audit.possible_gap": {2004, 1, "Create"}, "audit.exported": {6003, 2, "Read"},
	"break_glass.used": {3005, 99, "Break Glass"}, "break_glass.finding": {3005, 2, "Revoke Privileges"}, "break_glass.reviewed": {3004, 99, "Review"},
	"grants.revoked": {3005, 2, "Revoke Privileges"}, "store.restored": {6002, 99, "Restore"}, "quarantine.ended": {6002, 99, "End Quarantine"}, "text.erased": {3004, 4, "Delete"},
	"catalog.explained": {6003, 2, "Read"}, "catalog.backtested": {6003, 2, "Read"},
}

// ocsfRequired are the attributes that OCSF 1.8 requires of a class, beside
// those of every event.
var ocsfRequired = map[int][]string{
	2004: {"finding_info"}, 3002: {"user", "service"}, 3003: {"user"}, 3004: {"entity"}, 3005: {"user"},
	4002: {"http_request", "dst_endpoint"}, 6002: {"app"}, 6003: {"actor", "api", "src_endpoint"}, 6005: {"actor", "src_endpoint", "database"},
}

func TestOCSFOfEveryType(t *testing.T) {
	if len(ocsfWant) != len(Types()) {
		t.Errorf("%d types in the table, %d exist", len(ocsfWant), len(Types()))
	}
	for _, typ := range Types() {
		t.Run(typ, func(t *testing.T) {
			want, ok := ocsfWant[typ]
			if !ok {
				t.Fatal("not in the table")
			}
			e := &Entry{ID: "evt_a", Seq: 7, Time: testTime, Type: typ, Actor: "system:policy", Principal: "user:ana", Outcome: Denied}
			raw := must[[]byte](t)(json.Marshal(OCSF(e, "")))
			var ev map[string]any
			if err := json.Unmarshal(raw, &ev); err != nil {
				t.Fatal(err)
			}
			num := func(key string) int { n, _ := ev[key].(float64); return int(n) }
			if num("class_uid") != want.class || num("activity_id") != want.activity || ev["activity_name"] != want.name {
				t.Errorf("class %v, activity %v %v; want %+v", ev["class_uid"], ev["activity_id"], ev["activity_name"], want)
			}
			if num("type_uid") != want.class*100+want.activity || num("category_uid") != want.class/1000 {
				t.Errorf("type_uid %v, category_uid %v", ev["type_uid"], ev["category_uid"])
			}
			if num("time") != int(testTime.UnixMilli()) || num("status_id") != 2 || num("severity_id") < 1 || num("severity_id") > 6 {
				t.Errorf("time %v, status_id %v, severity_id %v", ev["time"], ev["status_id"], ev["severity_id"])
			}
			for _, key := range append([]string{"class_name", "category_name", "type_name", "severity", "status", "message", "metadata", "actor"}, ocsfRequired[want.class]...) {
				switch v := ev[key].(type) {
				case string:
					if v == "" {
						t.Errorf("%s is empty", key)
					}
				case map[string]any:
					if len(v) == 0 && key != "http_request" && key != "database" {
						t.Errorf("%s is empty", key)
					}
				default:
					t.Errorf("%s is missing", key)
				}
			}
			metadata := ev["metadata"].(map[string]any)
			product, _ := metadata["product"].(map[string]any)
			if metadata["version"] != "1.8.0" || product["name"] != "Daypass" || metadata["uid"] != "evt_a" || metadata["event_code"] != typ {
				t.Errorf("metadata %v", metadata)
			}
		})
	}
}

func TestOCSFOfAGrant(t *testing.T) {
	e := &Entry{ID: "evt_a", Seq: 7, Time: testTime, Type: GrantActivated, Actor: "user:bo", Principal: "user:ana", Request: "req_b", Grant: "grt_c", Resource: "orders-db",
		Scope: json.RawMessage(`{"actions":["select"]}`), Outcome: Allowed, Source: Source{IP: "192.0.2.7", Channel: "api"}, Details: map[string]any{"rule": "r"}}
	var got, want map[string]any
	if err := json.Unmarshal(must[[]byte](t)(json.Marshal(OCSF(e, "refund totals"))), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{
		"activity_id": 1, "activity_name": "Assign Privileges", "category_uid": 3, "category_name": "Identity & Access Management",
		"class_uid": 3005, "class_name": "User Access Management", "type_uid": 300501, "type_name": "User Access Management: Assign Privileges",
		"severity_id": 1, "severity": "Informational", "status_id": 1, "status": "Success", "status_code": "allowed", "status_detail": "refund totals", "comment": "refund totals",
		"time": 1795442400123, "message": "user:bo: grant.activated on orders-db",
		"metadata": {"version": "1.8.0", "product": {"name": "Daypass", "vendor_name": "Daypass"}, "uid": "evt_a", "sequence": 7, "event_code": "grant.activated", "log_name": "audit", "correlation_uid": "req_b"},
		"actor": {"user": {"uid": "user:bo", "name": "user:bo", "type_id": 1, "type": "User"}},
		"user": {"uid": "user:ana", "name": "user:ana", "type_id": 1, "type": "User"},
		"privileges": ["{\"actions\":[\"select\"]}"], "resources": [{"uid": "orders-db", "name": "orders-db"}],
		"src_endpoint": {"ip": "192.0.2.7"},
		"unmapped": {"grant": "grt_c", "channel": "api", "scope": {"actions": ["select"]}, "details": {"rule": "r"}}
	}`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOCSFOfAGatewaysTraffic(t *testing.T) {
	for _, c := range []struct {
		channel, method string
		outcome         string
		class, activity int
		action          int
	}{
		{"gateway:http", "GET", Allowed, 4002, 3, 1}, {"gateway:http", "POST", Denied, 4002, 6, 2}, {"gateway:http", "PATCH", Allowed, 4002, 9, 1},
		{"gateway:http", "PROPFIND", Denied, 4002, 99, 2}, {"gateway:postgres", "", Allowed, 6005, 3, 1}, {"gateway:postgres", "", Failed, 6005, 3, 2}, {"api", "", Denied, 6003, 99, 2},
	} {
		e := plain(1)
		e.Type, e.Outcome, e.Source.Channel, e.Details["method"] = AccessAllowed, c.outcome, c.channel, c.method
		ev := OCSF(e, "")
		if ev["class_uid"] != c.class || ev["activity_id"] != c.activity || ev["action_id"] != c.action {
			t.Errorf("%+v: class %v, activity %v, action %v", c, ev["class_uid"], ev["activity_id"], ev["action_id"])
		}
	}
	e := plain(1)
	e.Type = "something.newer"
	if ev := OCSF(e, ""); ev["class_uid"] != 6003 || ev["activity_name"] != "something.newer" {
		t.Errorf("an unknown type: %v", ev)
	}
	e.Type, e.Details = AccessDeniedSummary, map[string]any{"count": json.Number("17")}
	if ev := OCSF(e, ""); ev["count"] != json.Number("17") {
		t.Errorf("a summary: %v", ev["count"])
	}
}
