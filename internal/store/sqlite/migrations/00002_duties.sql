-- +goose Up

-- 1 while the review of a broken glass is due.
ALTER TABLE requests ADD COLUMN review_due INTEGER CHECK (review_due = 1);
CREATE INDEX requests_review_due ON requests (review_due, created_at, id) WHERE review_due IS NOT NULL;
