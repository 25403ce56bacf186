package gateway

// Spent is what the record has of the reading of a grant's sessions.
type Spent struct {
	Rows, Bytes int64
	// Unknown says that a session ended without a word, with the process that
	// carried it: how much it had read is on no record.
	Unknown bool
}
