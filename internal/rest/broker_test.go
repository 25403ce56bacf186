package rest

import "github.com/daypass/daypass/internal/broker"

// The broker is what the handlers ask.
var (
	_ Broker        = (*broker.Broker)(nil)
	_ authenticator = (*broker.Broker)(nil)
)
