// Package identity says who is calling, and how a browser shows it. It refuses
// to say what they may do.
package identity

import "github.com/daypass/daypass/api"

// Caller is the authenticated actor of one call. It is a parameter, first
// after the context, and never fished out of one.
type Caller struct {
	Principal  string // user:ana; system:config, system:worker … for Daypass itself
	OnBehalfOf string // the owner of a service or agent
	Token      string // the ID of the API token used, or "catalog"
	IP         string // the peer's address, without port
	Login      string // the ID of the login, in place of a token
	Channel    string // api, cli, console, gateway:http …
	// Workload is the run of a job that its platform vouched for when the token
	// was made; nil for other tokens.
	Workload *api.Workload `json:",omitempty"`
}

// System is Daypass acting by itself.
func System(part string) Caller { return Caller{Principal: "system:" + part, Channel: "system"} }
