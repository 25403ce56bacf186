package pgkind

import (
	"strings"
	"testing"
)

// Attack: PG-05, CFG-01
func TestParseConfig(t *testing.T) {
	const good = "upstream: host=db.internal port=6432 dbname=orders sslmode=verify-ca sslrootcert=/etc/ca.pem\nuser: daypass\npassword: {env: P}\n"
	c, err := parseConfig(good + "max_sessions: 3\neffective: {relations: 2, owner_functions: 0}\nrecord: strict\nstandby: host=10.0.0.9 dbname=orders\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.Upstream() != "db.internal:6432/orders" || c.user != "daypass" || c.maxSessions != 3 || *c.relations != 2 || *c.functions != 0 || !c.strict || c.cleartext ||
		c.upstream.sslmode != "verify-ca" || c.standby.addr() != "10.0.0.9:5432" || c.standby.sslmode != "verify-full" {
		t.Errorf("%+v", c)
	}
	if c, err = parseConfig(good); err != nil || c.maxSessions != defaultSessions || c.relations != nil || c.functions != nil || c.strict || c.standby != nil {
		t.Errorf("%+v %v", c, err)
	}
	for upstream, want := range map[string]string{
		"":                 "upstream",
		"dbname=orders":    "host is missing",
		"host=db.internal": "dbname is missing",
		"host=db.internal dbname=o user=postgres":        "user is not known here",
		"host=db.internal dbname=o password=x":           "password is not known here",
		"host=db.internal dbname=o service=x":            "service is not known here",
		"host=db.internal dbname=o options=-crole":       "options is not known here",
		"host=db.internal dbname=o passfile=/x":          "passfile is not known here",
		"host=a host=b dbname=o":                         "given twice",
		"host=a,b dbname=o":                              "is not key=value",
		"host='a b' dbname=o":                            "is not key=value",
		"host=/var/run dbname=o":                         "no folder of sockets",
		"host=[::1] dbname=o":                            "no brackets",
		"host=169.254.169.254 dbname=o":                  "link-local",
		"host=metadata.google.internal dbname=o":         "metadata",
		"host=db.internal dbname=o port=0":               "port is none",
		"host=db.internal dbname=o port=65536":           "port is none",
		"host=db.internal dbname=o port=05432":           "port is none",
		"host=db.internal dbname=o sslmode=prefer":       "gives way",
		"host=db.internal dbname=o sslmode=allow":        "gives way",
		"host=db.internal dbname=o sslmode=off":          "must be verify-full",
		"host=db.internal dbname=o sslrootcert=ca":       "absolute path",
		"host=db.internal dbname=o?host=evil":            "dbname is not a name",
		"postgres://u:p@db.internal/o":                   "is not key=value",
		"host=d dbname=o sslmode=disable sslrootcert=/x": "of no use",
	} {
		if _, err := parseConfig("upstream: " + upstream + "\nuser: daypass\npassword: {env: P}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", upstream, err, want)
		}
	}
	for text, want := range map[string]string{
		"password: hunter2":                                                                               "a secret is not written into the file",
		"password: {file: relative}":                                                                      "must be absolute",
		"password: {env: P}\nuser: daypass_g_x":                                                           "those of grants",
		"password: {env: P}\nuser: a b":                                                                   "name of a role",
		"password: {env: P}\nmax_sessions: 0":                                                             "from 1 to 1000",
		"password: {env: P}\nrecord: none":                                                                "bounded or strict",
		"password: {env: P}\nrows: {a: b}":                                                                "must be a",
		"password: {env: P}\nrows: {A b: {table: a.b, where: c}}":                                         "not the name of a row filter",
		"password: {env: P}\nrows: {a: }":                                                                 "is empty",
		"password: {env: P}\nrows: {a: {table: a.b}}":                                                     "where is missing",
		"password: {env: P}\nrows: {a: {table: b, where: c}}":                                             "has no schema",
		"password: {env: P}\nrows: {a: {table: pg_catalog.b, where: c}}":                                  "the system's own",
		"password: {env: P}\nrows: {a: {table: a.b, where: 'true) union select (1'}}":                     "not in pairs",
		"password: {env: P}\nrows: {a: {table: a.b, where: 'c = :c'}}":                                    ":c is not among the literals",
		"password: {env: P}\nrows: {a: {table: a.b, where: 'c = :c', literals: {c: varchar}}}":            "must be boolean, date, integer, numeric, text, timestamp, uuid",
		"password: {env: P}\nrows: {a: {table: a.b, where: 'c = :c', literals: {c: text, d: text}}}":      "where has no :d",
		"password: {env: P}\nrows: {a: {table: a.b, where: 'c = :template', literals: {template: text}}}": "choose another name",
		"password: {env: P}\nrows: {a: {table: a.b, where: c, literal: {c: text}}}":                       "unknown key",
		"password: {env: P}\neffective: {relations: -1}":                                                  "must not be below 0",
		"password: {env: P}\nstandby: host=b dbname=other":                                                "must be that of upstream",
		"password: {env: P}\nx: 1":                                                                        "unknown key",
		"user: daypass":                                                                                   "password is missing",
	} {
		if !strings.Contains(text, "user:") {
			text += "\nuser: daypass"
		}
		if _, err := parseConfig("upstream: host=a dbname=o\n" + text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := (Kind{}).ParseConfig(nil); err == nil {
		t.Error("no block was taken")
	}
}
