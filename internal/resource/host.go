package resource

import "strings"

// CanonicalHost is a host without port, in lower case, without a final dot: a
// resource is found by it, whatever a client writes.
func CanonicalHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.Trim(host[i+1:], "0123456789") == "" {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
