-- What we tell, to whom, and what became of it.
-- A template is named by the hash of its content and never changes.
CREATE TABLE templates (
    id         TEXT NOT NULL PRIMARY KEY,
    phase      TEXT NOT NULL,
    subject    TEXT NOT NULL,
    body_text  TEXT NOT NULL,
    body_html  TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE current_templates (
    phase       TEXT NOT NULL PRIMARY KEY,
    template_id TEXT NOT NULL REFERENCES templates (id)
);

CREATE TABLE notices (
    id              TEXT NOT NULL PRIMARY KEY,
    incident_id     TEXT NOT NULL REFERENCES incidents (id),
    phase           TEXT NOT NULL,
    state           TEXT NOT NULL,
    subject         TEXT,
    message         TEXT NOT NULL,
    customer_action TEXT,
    catch_up_of     TEXT REFERENCES notices (id),
    drafted_by      TEXT NOT NULL,
    approved_by     TEXT,
    approved_digest TEXT,
    digest          TEXT,
    template_id     TEXT REFERENCES templates (id),
    frozen          TEXT,
    recipients      BIGINT NOT NULL,
    expand_cursor   BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    queued_at       BIGINT,
    finished_at     BIGINT
);
CREATE INDEX notices_incident ON notices (incident_id, created_at);
CREATE INDEX notices_active ON notices (state) WHERE state IN ('queued', 'sending');

-- The frozen list: written when the notice is queued, never changed afterwards.
CREATE TABLE notice_recipients (
    notice_id TEXT NOT NULL REFERENCES notices (id),
    ordinal   BIGINT NOT NULL,
    person_id TEXT NOT NULL,
    name      TEXT NOT NULL,
    address   TEXT NOT NULL,
    optional  BOOLEAN NOT NULL,
    context   TEXT NOT NULL,
    PRIMARY KEY (notice_id, ordinal)
);
CREATE INDEX notice_recipients_person ON notice_recipients (person_id);

-- next_attempt_at is due time, backoff and visibility timeout in one: a claimed row is
-- pending with a lease and a next_attempt_at in the future.
CREATE TABLE deliveries (
    id              INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    notice_id       TEXT NOT NULL REFERENCES notices (id),
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
    UNIQUE (notice_id, channel, address)
);
CREATE INDEX deliveries_due ON deliveries (next_attempt_at, id) WHERE state = 'pending';
CREATE INDEX deliveries_notice ON deliveries (notice_id, state, id);

CREATE TABLE delivery_attempts (
    delivery_id BIGINT NOT NULL REFERENCES deliveries (id),
    attempt     BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    outcome     TEXT NOT NULL,
    reply       TEXT NOT NULL,
    batch       TEXT NOT NULL,
    PRIMARY KEY (delivery_id, attempt)
);
CREATE INDEX delivery_attempts_batch ON delivery_attempts (batch, delivery_id);

-- Addresses that asked to hear optional notices no more.
CREATE TABLE opt_outs (
    address TEXT NOT NULL PRIMARY KEY,
    at      BIGINT NOT NULL
);

CREATE TRIGGER templates_no_update BEFORE UPDATE ON templates
BEGIN SELECT RAISE(ABORT, 'templates are immutable'); END;
CREATE TRIGGER notice_recipients_no_update BEFORE UPDATE ON notice_recipients
BEGIN SELECT RAISE(ABORT, 'notice_recipients is append-only'); END;
CREATE TRIGGER notice_recipients_no_delete BEFORE DELETE ON notice_recipients
BEGIN SELECT RAISE(ABORT, 'notice_recipients is append-only'); END;
CREATE TRIGGER delivery_attempts_no_update BEFORE UPDATE ON delivery_attempts
BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
CREATE TRIGGER delivery_attempts_no_delete BEFORE DELETE ON delivery_attempts
BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
