package pgkind

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"
)

// Names of roles. All are made of [a-z0-9_] and shorter than 63 bytes, whoever
// a grant is for (PG-18).
const (
	rolePrefix   = "daypass_"
	grantPrefix  = "daypass_g_" // a LOGIN role, one for each grant
	scopePrefix  = "daypass_s_" // NOLOGIN, one for each set of privileges
	readerPrefix = "daypass_r_" // NOLOGIN, owns the views of a set with row filters; their schema has the same name
	groupRole    = "daypass_grants"
)

var (
	grantID   = regexp.MustCompile(`^grt_([a-z2-7]{26})$`)
	grantRole = regexp.MustCompile(`^daypass_g_([a-z2-7]{26})$`)
	idText    = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
)

// roleOf is the name of the role of a grant.
func roleOf(grant string) string {
	if m := grantID.FindStringSubmatch(grant); m != nil {
		return grantPrefix + m[1]
	}
	sum := sha256.Sum256([]byte(grant))
	return grantPrefix + idText.EncodeToString(sum[:16])
}

// readerOf is the role that reads the tables of a scope role's row filters.
func readerOf(scope string) string { return readerPrefix + strings.TrimPrefix(scope, scopePrefix) }

// grantOf is the grant of a role; "" for a role of none.
func grantOf(role string) string {
	if m := grantRole.FindStringSubmatch(role); m != nil {
		return "grt_" + m[1]
	}
	return ""
}

// password is that of the role of a grant. It is derived each time and kept
// nowhere; only the gateway logs in with it.
func (c *connector) password(grant string) string {
	mac := hmac.New(sha256.New, c.deps.Key("role password"))
	mac.Write([]byte(grant))
	return hex.EncodeToString(mac.Sum(nil))
}

// verifier is what the server gets of a password, so that the password itself
// is in no statement and in no log of the server. It has 256 random bits: one
// iteration is as good as many, and costs a login nothing (PG-16).
func (c *connector) verifier(grant string) (string, error) {
	mac := hmac.New(sha256.New, c.deps.Key("role salt"))
	mac.Write([]byte(grant))
	salt := mac.Sum(nil)[:16]
	salted, err := pbkdf2.Key(sha256.New, c.password(grant), salt, 1, sha256.Size)
	if err != nil {
		return "", err
	}
	stored := sha256.Sum256(keyed(salted, "Client Key"))
	text := base64.StdEncoding.EncodeToString
	return "SCRAM-SHA-256$1:" + text(salt) + "$" + text(stored[:]) + ":" + text(keyed(salted, "Server Key")), nil
}

func keyed(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// ownGroup is the group of the roles that this server has made: several may
// make theirs in one cluster, and each clears up after itself alone.
func (c *connector) ownGroup() string {
	return groupRole + "_" + hex.EncodeToString(c.deps.Key("server"))[:12]
}

// ident and literal write a name and a text into SQL. Connections of ours have
// standard_conforming_strings on and no NUL comes this far.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// qualified writes schema.name.
func qualified(schema, name string) string { return ident(schema) + "." + ident(name) }
