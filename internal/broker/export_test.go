package broker

import "github.com/daypass/daypass/internal/identity"

// Crash ends what runs in the background without the record of a clean end;
// the store is closed already.
func (b *Broker) Crash() {
	b.sweeps.close()
	b.recorder.close()
}

// Awaited reports whether somebody waits to change what decisions rest on: then
// nobody else gets in.
func (b *Broker) Awaited() bool {
	if b.gate.TryRLock() {
		b.gate.RUnlock()
		return false
	}
	return true
}

// Verifies is whether a verifier is derived before the transaction that may keep
// it.
func (b *Broker) Verifies(c identity.Caller, grant, format string) bool {
	return b.verifies(c, grant, format)
}
