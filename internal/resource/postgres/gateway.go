package pgkind

import "github.com/daypass/daypass/internal/resource"

// Gateway implements resource.Kind.
func (Kind) Gateway(resource.Deps) (resource.Gateway, error) {
	return nil, nil //nolint:nilnil // the contract: traffic does not pass through Daypass yet
}
