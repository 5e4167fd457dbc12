-- What came back: bounces, complaints and what else was reported of a mail.
-- effect: bounced (the delivery changed), suppressed (the address did), early (the delivery was still on its way; a
-- job looks again), none.
CREATE TABLE feedback (
    id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    dedup_key      TEXT NOT NULL UNIQUE,
    received_at    BIGINT NOT NULL,
    at             BIGINT NOT NULL,
    source         TEXT NOT NULL,
    integration_id TEXT REFERENCES integrations (id),
    kind           TEXT NOT NULL,
    address        TEXT NOT NULL,
    delivery_id    BIGINT REFERENCES deliveries (id),
    attempt        BIGINT,
    matched_by     TEXT,
    effect         TEXT NOT NULL,
    status         TEXT,
    diagnostic     TEXT NOT NULL,
    raw            BLOB NOT NULL
);
CREATE INDEX feedback_delivery ON feedback (delivery_id, id) WHERE delivery_id IS NOT NULL;
CREATE INDEX feedback_unmatched ON feedback (id) WHERE delivery_id IS NULL;
CREATE INDEX feedback_early ON feedback (delivery_id) WHERE effect = 'early';

-- Tokens of signatures that do not cover the body: each counts for one body.
CREATE TABLE feedback_tokens (
    integration_id TEXT NOT NULL REFERENCES integrations (id),
    token          TEXT NOT NULL,
    body_hash      TEXT NOT NULL,
    seen_at        BIGINT NOT NULL,
    PRIMARY KEY (integration_id, token)
);
CREATE INDEX feedback_tokens_age ON feedback_tokens (seen_at);

ALTER TABLE opt_outs ADD COLUMN reason TEXT NOT NULL DEFAULT 'opted_out';

CREATE TRIGGER feedback_no_update BEFORE UPDATE ON feedback
BEGIN SELECT RAISE(ABORT, 'feedback is append-only'); END;
CREATE TRIGGER feedback_no_delete BEFORE DELETE ON feedback
BEGIN SELECT RAISE(ABORT, 'feedback is append-only'); END;
