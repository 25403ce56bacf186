package sqlstore

import (
	"encoding/json"
	"fmt"

	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// PutCatalog makes c the catalog in force; every version is kept.
func (t *Tx) PutCatalog(c Catalog) error {
	const act = "keeping a catalog"
	incarnations, err := json.Marshal(c.Incarnations)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	last, err := orNone(read(t, act, func() (int64, error) { return t.q.LastCatalogNumber(t.ctx) }))
	if err != nil {
		return err
	}
	failpoint.Hit("store.catalog.before")
	_, err = t.write(act, func() (int64, error) {
		return t.q.InsertCatalog(t.ctx, db.InsertCatalogParams{
			N: last + 1, Version: c.Version, Canonical: blob(c.Canonical), Source: blob(c.Source),
			Incarnations: string(incarnations), AppliedAt: millis(c.AppliedAt), AppliedBy: c.AppliedBy,
		})
	})
	failpoint.Hit("store.catalog.after")
	return err
}

// Catalog returns the catalog in force; ErrNotFound on a new store.
func (t *Tx) Catalog() (*Catalog, error) {
	return catalogOf(read(t, "loading the catalog", func() (db.Catalog, error) { return t.q.LastCatalog(t.ctx) }))
}

// CatalogVersion returns the last application of a version.
func (t *Tx) CatalogVersion(version string) (*Catalog, error) {
	return catalogOf(read(t, "loading catalog "+version, func() (db.Catalog, error) { return t.q.CatalogVersion(t.ctx, version) }))
}

// CatalogWith returns the last application of a catalog in which resource had
// that incarnation; ErrNotFound.
func (t *Tx) CatalogWith(resource, incarnation string) (*Catalog, error) {
	const act = "loading the catalog of a resource that is gone"
	c, err := catalogOf(read(t, act, func() (db.Catalog, error) { return t.q.LastCatalogWith(t.ctx, `%"`+incarnation+`"%`) }))
	if err == nil && (incarnation == "" || c.Incarnations[resource] != incarnation) {
		return nil, fmt.Errorf("%s: %w", act, ErrNotFound)
	}
	return c, err
}

func catalogOf(row db.Catalog, err error) (*Catalog, error) {
	if err != nil {
		return nil, err
	}
	c := &Catalog{
		Version: row.Version, Canonical: row.Canonical, Source: row.Source,
		AppliedAt: instant(row.AppliedAt), AppliedBy: row.AppliedBy,
	}
	if err := json.Unmarshal([]byte(row.Incarnations), &c.Incarnations); err != nil {
		return nil, fmt.Errorf("loading catalog %s: %w", row.Version, err)
	}
	return c, nil
}
