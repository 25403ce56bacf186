package audit

import (
	"maps"
	"strings"
)

// OCSFVersion is the version of the Open Cybersecurity Schema Framework that
// OCSF maps to. Class 3005 is deprecated from 1.9 on: a later version needs a
// table of its own.
const OCSFVersion = "1.8.0"

// ocsfClass is an event class and its category.
type ocsfClass struct {
	uid      int
	name     string
	category string
}

var (
	ocsfFinding   = ocsfClass{2004, "Detection Finding", "Findings"}
	ocsfLogin     = ocsfClass{3002, "Authentication", "Identity & Access Management"}
	ocsfSession   = ocsfClass{3003, "Authorize Session", "Identity & Access Management"}
	ocsfEntity    = ocsfClass{3004, "Entity Management", "Identity & Access Management"}
	ocsfAccess    = ocsfClass{3005, "User Access Management", "Identity & Access Management"}
	ocsfHTTP      = ocsfClass{4002, "HTTP Activity", "Network Activity"}
	ocsfLifecycle = ocsfClass{6002, "Application Lifecycle", "Application Activity"}
	ocsfAPI       = ocsfClass{6003, "API Activity", "Application Activity"}
	ocsfDatastore = ocsfClass{6005, "Datastore Activity", "Application Activity"}
)

// ocsfOther is the activity of a class that has no ID of its own; its name then
// says what it is.
const ocsfOther = 99

// Severities.
const (
	ocsfInformational = 1
	ocsfLow           = 2
	ocsfMedium        = 3
	ocsfHigh          = 4
)

var ocsfSeverities = map[int]string{ocsfInformational: "Informational", ocsfLow: "Low", ocsfMedium: "Medium", ocsfHigh: "High"}

type ocsfMapping struct {
	class    ocsfClass
	activity int
	name     string // of the activity
	severity int
	entity   string // of class 3004: what kind of thing is managed
}

var ocsfMappings = map[string]ocsfMapping{
	RequestCreated:        {ocsfEntity, 1, "Create", ocsfInformational, "Access Request"},
	RequestApproved:       {ocsfEntity, ocsfOther, "Approve", ocsfInformational, "Access Request"},
	RequestDenied:         {ocsfEntity, ocsfOther, "Deny", ocsfLow, "Access Request"},
	RequestCancelled:      {ocsfEntity, ocsfOther, "Cancel", ocsfInformational, "Access Request"},
	RequestExpired:        {ocsfEntity, ocsfOther, "Expire", ocsfInformational, "Access Request"},
	RequestRefused:        {ocsfEntity, ocsfOther, "Refuse", ocsfLow, "Access Request"},
	ReviewRecorded:        {ocsfEntity, ocsfOther, "Review", ocsfInformational, "Access Request"},
	ReviewRefused:         {ocsfEntity, ocsfOther, "Refuse Review", ocsfMedium, "Access Request"},
	GlassUsed:             {ocsfAccess, ocsfOther, "Break Glass", ocsfHigh, ""},
	GlassFound:            {ocsfAccess, 2, "Revoke Privileges", ocsfHigh, ""},
	GlassReviewed:         {ocsfEntity, ocsfOther, "Review", ocsfInformational, "Access Request"},
	GrantScheduled:        {ocsfEntity, ocsfOther, "Schedule", ocsfInformational, "Grant"},
	GrantActivated:        {ocsfAccess, 1, "Assign Privileges", ocsfInformational, ""},
	GrantActivationFailed: {ocsfAccess, 1, "Assign Privileges", ocsfMedium, ""},
	GrantExtended:         {ocsfAccess, ocsfOther, "Extend Privileges", ocsfInformational, ""},
	GrantEnding:           {ocsfAccess, 2, "Revoke Privileges", ocsfInformational, ""},
	GrantEnded:            {ocsfAccess, 2, "Revoke Privileges", ocsfInformational, ""},
	GrantCleanupFailed:    {ocsfAccess, 2, "Revoke Privileges", ocsfHigh, ""},
	GrantsRevoked:         {ocsfAccess, 2, "Revoke Privileges", ocsfMedium, ""},
	CredentialIssued:      {ocsfEntity, 1, "Create", ocsfInformational, "Credential"},
	AccessAllowed:         {ocsfAPI, ocsfOther, "Access", ocsfInformational, ""},
	AccessDenied:          {ocsfAPI, ocsfOther, "Access", ocsfLow, ""},
	AccessDeniedSummary:   {ocsfAPI, ocsfOther, "Access", ocsfMedium, ""},
	SessionStarted:        {ocsfSession, 1, "Assign Privileges", ocsfInformational, ""},
	SessionQuery:          {ocsfDatastore, 4, "Query", ocsfInformational, ""},
	SessionKilled:         {ocsfSession, ocsfOther, "End Session", ocsfInformational, ""},
	SessionEnded:          {ocsfSession, ocsfOther, "End Session", ocsfInformational, ""},
	CatalogChanged:        {ocsfEntity, 3, "Update", ocsfMedium, "Catalog"},
	CatalogExplained:      {ocsfAPI, 2, "Read", ocsfLow, ""},
	CatalogBacktested:     {ocsfAPI, 2, "Read", ocsfMedium, ""},
	IssuingChanged:        {ocsfEntity, 3, "Update", ocsfMedium, "Issuing"},
	KeysRotated:           {ocsfEntity, 3, "Update", ocsfMedium, "Signing Keys"},
	AuthSucceeded:         {ocsfLogin, 1, "Logon", ocsfInformational, ""},
	AuthFailed:            {ocsfLogin, 1, "Logon", ocsfLow, ""},
	AuthEnded:             {ocsfLogin, 2, "Logoff", ocsfInformational, ""},
	SetupOffered:          {ocsfEntity, 1, "Create", ocsfMedium, "Setup Link"},
	TokenCreated:          {ocsfEntity, 1, "Create", ocsfLow, "API Token"},
	TokenRevoked:          {ocsfEntity, 4, "Delete", ocsfInformational, "API Token"},
	StoreRestored:         {ocsfLifecycle, ocsfOther, "Restore", ocsfHigh, ""},
	QuarantineEnded:       {ocsfLifecycle, ocsfOther, "End Quarantine", ocsfHigh, ""},
	TextErased:            {ocsfEntity, 4, "Delete", ocsfMedium, "Personal Text"},
	ServerStarted:         {ocsfLifecycle, 3, "Start", ocsfInformational, ""},
	ServerStopped:         {ocsfLifecycle, 4, "Stop", ocsfInformational, ""},
	ProtectionOff:         {ocsfLifecycle, ocsfOther, "Disable Protection", ocsfHigh, ""},
	PossibleGap:           {ocsfFinding, 1, "Create", ocsfHigh, ""},
	Exported:              {ocsfAPI, 2, "Read", ocsfMedium, ""},
}

// ocsfMethods are the activities of class 4002.
var ocsfMethods = map[string]ocsfMapping{
	"CONNECT": {activity: 1, name: "Connect"}, "DELETE": {activity: 2, name: "Delete"}, "GET": {activity: 3, name: "Get"},
	"HEAD": {activity: 4, name: "Head"}, "OPTIONS": {activity: 5, name: "Options"}, "POST": {activity: 6, name: "Post"},
	"PUT": {activity: 7, name: "Put"}, "TRACE": {activity: 8, name: "Trace"}, "PATCH": {activity: 9, name: "Patch"},
}

// ocsfMap returns the mapping of e. What goes through a gateway is an event of
// that protocol; a type that this version does not know is other API activity.
func ocsfMap(e *Entry) ocsfMapping {
	m, ok := ocsfMappings[e.Type]
	if !ok {
		return ocsfMapping{ocsfAPI, ocsfOther, e.Type, ocsfInformational, ""}
	}
	if e.Type != AccessAllowed && e.Type != AccessDenied {
		return m
	}
	switch e.Source.Channel {
	case "gateway:http":
		m.class, m.activity, m.name = ocsfHTTP, ocsfOther, "Request"
		method, _ := e.Details["method"].(string)
		if http, ok := ocsfMethods[strings.ToUpper(method)]; ok {
			m.activity, m.name = http.activity, http.name
		}
	case "gateway:postgres":
		m.class, m.activity, m.name = ocsfDatastore, 3, "Connect"
	}
	return m
}

// OCSF returns e as an event of OCSF 1.8. reason is the text that e.Reason
// refers to, "" when there is none or it was erased. The record itself stays
// the truth: metadata.uid and metadata.sequence lead back to it.
func OCSF(e *Entry, reason string) map[string]any {
	m := ocsfMap(e)
	typeName := m.class.name + ": " + m.name
	if m.activity == ocsfOther {
		typeName = m.class.name + ": Other"
	}
	status, statusID := "Success", 1
	if e.Outcome != Allowed {
		status, statusID = "Failure", 2
	}
	metadata := map[string]any{
		"version":    OCSFVersion,
		"product":    map[string]any{"name": "Daypass", "vendor_name": "Daypass"},
		"uid":        e.ID,
		"sequence":   e.Seq,
		"event_code": e.Type,
		"log_name":   "audit",
	}
	put(metadata, "correlation_uid", e.Request)
	ev := map[string]any{
		"class_uid": m.class.uid, "class_name": m.class.name,
		"category_uid": m.class.uid / 1000, "category_name": m.class.category,
		"activity_id": m.activity, "activity_name": m.name,
		"type_uid": m.class.uid*100 + m.activity, "type_name": typeName,
		"severity_id": m.severity, "severity": ocsfSeverities[m.severity],
		"status_id": statusID, "status": status, "status_code": e.Outcome,
		"time":     e.Time.UnixMilli(),
		"message":  ocsfMessage(e),
		"metadata": metadata,
		"actor":    map[string]any{"user": ocsfUser(e.Actor)},
	}
	put(ev, "comment", reason)
	put(ev, "status_detail", reason)
	if e.Source.IP != "" {
		ev["src_endpoint"] = map[string]any{"ip": e.Source.IP}
	}
	unmapped := map[string]any{}
	put(unmapped, "grant", e.Grant)
	put(unmapped, "session", e.Session)
	put(unmapped, "on_behalf_of", e.OnBehalfOf)
	put(unmapped, "channel", e.Source.Channel)
	if len(e.Scope) > 0 {
		unmapped["scope"] = e.Scope
	}
	if len(e.Details) > 0 {
		unmapped["details"] = maps.Clone(e.Details)
	}
	if len(unmapped) > 0 {
		ev["unmapped"] = unmapped
	}
	ocsfObjects(ev, e, m, reason)
	return ev
}

// ocsfObjects adds what the class requires.
func ocsfObjects(ev map[string]any, e *Entry, m ocsfMapping, reason string) {
	// Principal is not in the hashed bytes: an entry that was decoded has it
	// only where the writer repeated it in the details.
	principal, _ := e.Details["principal"].(string)
	subject := first(e.Principal, principal, e.OnBehalfOf, e.Actor)
	resource := map[string]any{}
	put(resource, "uid", e.Resource)
	put(resource, "name", e.Resource)
	switch m.class {
	case ocsfEntity:
		entity := map[string]any{"type": m.entity}
		uid := first(e.Request, e.Resource, e.ID)
		switch m.entity {
		case "Grant", "Credential":
			uid = first(e.Grant, uid)
		case "Catalog", "Issuing", "Signing Keys", "API Token":
			uid = first(e.Resource, m.entity)
		}
		entity["uid"], entity["name"] = uid, uid
		ev["entity"] = entity
	case ocsfAccess, ocsfSession:
		ev["user"] = ocsfUser(subject)
		ev["privileges"] = []string{first(string(e.Scope), e.Grant, e.Resource)}
		if len(resource) > 0 && m.class == ocsfAccess {
			ev["resources"] = []any{resource}
		}
		if m.class == ocsfSession {
			ev["session"] = map[string]any{"uid": first(e.Session, e.Grant)}
			ev["dst_endpoint"] = map[string]any{"name": first(e.Resource, "Daypass")}
		}
	case ocsfLogin:
		ev["user"] = ocsfUser(subject)
		ev["service"] = map[string]any{"name": "Daypass"}
	case ocsfHTTP:
		request := map[string]any{}
		for to, from := range map[string]string{"http_method": "method", "user_agent": "user_agent"} {
			if s, ok := e.Details[from].(string); ok {
				put(request, to, s)
			}
		}
		if path, ok := e.Details["path"].(string); ok {
			request["url"] = map[string]any{"path": path}
		}
		ev["http_request"] = request
		ev["dst_endpoint"] = map[string]any{"name": e.Resource}
		ocsfControl(ev, e)
	case ocsfDatastore:
		ev["database"] = resource
		ev["type_id"], ev["type"] = 1, "Database"
		ocsfControl(ev, e)
	case ocsfAPI:
		ev["api"] = map[string]any{"operation": e.Type, "service": map[string]any{"name": first(e.Resource, "Daypass")}}
		if len(resource) > 0 {
			ev["resources"] = []any{resource}
		}
		if n, ok := e.Details["count"]; ok && e.Type == AccessDeniedSummary {
			ev["count"] = n
		}
		ocsfControl(ev, e)
	case ocsfLifecycle:
		ev["app"] = map[string]any{"name": "Daypass", "vendor_name": "Daypass"}
	case ocsfFinding:
		ev["finding_info"] = map[string]any{"uid": e.ID, "title": first(reason, "Audit entries may be missing after an unclean stop")}
	}
	if _, ok := ev["src_endpoint"]; !ok && (m.class == ocsfAPI || m.class == ocsfDatastore) {
		ev["src_endpoint"] = map[string]any{"name": first(e.Source.Channel, "daypass")}
	}
}

// ocsfControl adds the security control profile to what was let through or not.
func ocsfControl(ev map[string]any, e *Entry) {
	ev["metadata"].(map[string]any)["profiles"] = []string{"security_control"}
	ev["action_id"], ev["action"], ev["disposition_id"], ev["disposition"] = 1, "Allowed", 1, "Allowed"
	if e.Outcome != Allowed {
		ev["action_id"], ev["action"], ev["disposition_id"], ev["disposition"] = 2, "Denied", 2, "Blocked"
	}
}

func ocsfUser(principal string) map[string]any {
	u := map[string]any{"uid": principal, "name": principal, "type_id": 0, "type": "Unknown"}
	switch kind, _, _ := strings.Cut(principal, ":"); kind {
	case "user":
		u["type_id"], u["type"] = 1, "User"
	case "system":
		u["type_id"], u["type"] = 3, "System"
	case "service", "agent":
		u["type_id"], u["type"] = 4, "Service"
	}
	return u
}

func ocsfMessage(e *Entry) string {
	s := e.Actor + ": " + e.Type
	if e.Resource != "" {
		s += " on " + e.Resource
	}
	return s
}

func put(m map[string]any, key, value string) {
	if value != "" {
		m[key] = value
	}
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
