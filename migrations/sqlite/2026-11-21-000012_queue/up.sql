-- The queue at less cost: a claim changes no indexed column, so it writes no index. One mail per notice and address is
-- held where the list is frozen: a recipient has one delivery, and one recipient has the address.
-- SQLite drops no constraint, so the tables are made anew, and those that refer to deliveries are dropped first.
CREATE UNIQUE INDEX notice_recipients_address ON notice_recipients (notice_id, channel, address);

CREATE TABLE new_attempts (
    delivery_id BIGINT NOT NULL,
    attempt     BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    outcome     TEXT NOT NULL,
    reply       TEXT NOT NULL,
    batch       TEXT NOT NULL,
    PRIMARY KEY (delivery_id, attempt)
);
INSERT INTO new_attempts (delivery_id, attempt, at, outcome, reply, batch)
SELECT delivery_id, attempt, at, outcome, reply, batch FROM delivery_attempts ORDER BY rowid;
DROP TABLE delivery_attempts;

-- deferred: tried before, due at next_attempt_at. The rest is due at once; by domain, so that what waits for a slow one
-- can be passed over.
CREATE TABLE new_deliveries (
    id              INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    notice_id       TEXT NOT NULL,
    ordinal         BIGINT NOT NULL,
    channel         TEXT NOT NULL,
    address         TEXT NOT NULL,
    state           TEXT NOT NULL,
    attempt         BIGINT NOT NULL,
    lease           TEXT,
    next_attempt_at BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    sent_at         BIGINT,
    message_id      TEXT NOT NULL,
    domain          TEXT NOT NULL DEFAULT '',
    reason          TEXT,
    ambiguous       BIGINT NOT NULL DEFAULT 0,
    deferred        BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE TABLE new_feedback (
    id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    dedup_key      TEXT NOT NULL UNIQUE,
    received_at    BIGINT NOT NULL,
    at             BIGINT NOT NULL,
    source         TEXT NOT NULL,
    integration_id TEXT REFERENCES integrations (id),
    kind           TEXT NOT NULL,
    address        TEXT NOT NULL,
    delivery_id    BIGINT REFERENCES new_deliveries (id),
    attempt        BIGINT,
    matched_by     TEXT,
    effect         TEXT NOT NULL,
    status         TEXT,
    diagnostic     TEXT NOT NULL,
    raw            BLOB NOT NULL
);

INSERT INTO new_deliveries (id, notice_id, ordinal, channel, address, state, attempt, lease, next_attempt_at, expires_at,
                            sent_at, message_id, domain, reason, ambiguous, deferred)
SELECT id, notice_id, ordinal, channel, address, state, attempt, lease, next_attempt_at, expires_at,
       sent_at, message_id, domain, reason, ambiguous, state = 'pending' AND attempt > 0
FROM deliveries ORDER BY id;
INSERT INTO new_feedback (id, dedup_key, received_at, at, source, integration_id, kind, address, delivery_id, attempt,
                          matched_by, effect, status, diagnostic, raw)
SELECT id, dedup_key, received_at, at, source, integration_id, kind, address, delivery_id, attempt,
       matched_by, effect, status, diagnostic, raw
FROM feedback ORDER BY id;
DROP TABLE feedback;
DROP TABLE deliveries;
ALTER TABLE new_deliveries RENAME TO deliveries;
ALTER TABLE new_attempts RENAME TO delivery_attempts;
ALTER TABLE new_feedback RENAME TO feedback;

CREATE UNIQUE INDEX deliveries_ordinal ON deliveries (notice_id, ordinal);
CREATE INDEX deliveries_due ON deliveries (channel, domain, id) WHERE state = 'pending' AND NOT deferred;
CREATE INDEX deliveries_deferred ON deliveries (channel, next_attempt_at, id, domain) WHERE state = 'pending' AND deferred;
-- What is looked for among the deliveries of a notice is what few of them are.
CREATE INDEX deliveries_exceptions ON deliveries (notice_id, state, ordinal) WHERE state NOT IN ('pending', 'sent');
CREATE INDEX deliveries_ambiguous ON deliveries (notice_id, ambiguous) WHERE ambiguous > 0;
CREATE INDEX delivery_attempts_batch ON delivery_attempts (batch, delivery_id);
CREATE TRIGGER delivery_attempts_no_update BEFORE UPDATE ON delivery_attempts
BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
CREATE TRIGGER delivery_attempts_no_delete BEFORE DELETE ON delivery_attempts
BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
CREATE INDEX feedback_delivery ON feedback (delivery_id, id) WHERE delivery_id IS NOT NULL;
CREATE INDEX feedback_unmatched ON feedback (id) WHERE delivery_id IS NULL;
CREATE INDEX feedback_early ON feedback (delivery_id) WHERE effect = 'early';
CREATE TRIGGER feedback_no_update BEFORE UPDATE ON feedback
BEGIN SELECT RAISE(ABORT, 'feedback is append-only'); END;
CREATE TRIGGER feedback_no_delete BEFORE DELETE ON feedback
BEGIN SELECT RAISE(ABORT, 'feedback is append-only'); END;

-- How many deliveries of a notice are in each state: a page that shows it must not count a million.
CREATE TABLE delivery_counts (
    notice_id TEXT NOT NULL REFERENCES notices (id),
    channel   TEXT NOT NULL,
    state     TEXT NOT NULL,
    count     BIGINT NOT NULL,
    PRIMARY KEY (notice_id, channel, state)
);
INSERT INTO delivery_counts (notice_id, channel, state, count)
SELECT notice_id, channel, state, COUNT(*) FROM deliveries GROUP BY notice_id, channel, state;
