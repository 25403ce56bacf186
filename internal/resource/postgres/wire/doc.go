// Package wire is the PostgreSQL protocol, version 3, as bytes: where messages
// begin and end, what a client asks for when it connects, how it proves a token
// (SCRAM-SHA-256, RFC 5802 and 7677), and the few messages that a gateway reads
// or writes itself. It knows no connection: a caller brings the bytes as it read
// them.
//
// It refuses what it does not know: a message type that a session of ours has no
// use for (function calls, replication), a length that is too short or too long,
// a startup parameter that is not on its list, an encoding other than UTF-8.
package wire
