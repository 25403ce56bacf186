package pgkind

import (
	"context"

	"github.com/daypass/daypass/internal/policy"
)

// Reconcile implements resource.Reconciler.
func (c *connector) Reconcile(ctx context.Context, resources []*policy.Resource, stands func(context.Context, string) (bool, error)) ([]string, error) {
	return nil, nil
}
