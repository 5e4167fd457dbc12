-- What happens without a person, and who of our own hears of it.

-- How far each reader of the audit trail has come. Held while one reads: of several processes one works at a time.
CREATE TABLE trail_cursors (
    name TEXT NOT NULL PRIMARY KEY,
    seq  BIGINT NOT NULL
);

CREATE TABLE automation_policies (
    id           TEXT NOT NULL PRIMARY KEY,
    position     BIGINT NOT NULL,
    enabled      BOOLEAN NOT NULL,
    -- As it was given, as JSON.
    policy       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);

-- What was decided about an incident that opened: at most once for each.
CREATE TABLE automation_runs (
    incident_id TEXT NOT NULL PRIMARY KEY REFERENCES incidents (id),
    policy_id   TEXT NOT NULL,
    policy_name TEXT NOT NULL,
    action      TEXT NOT NULL,
    -- waiting or done
    state       TEXT NOT NULL,
    -- nothing, drafted, sent or failed
    outcome     TEXT,
    reason      TEXT,
    notice_id   TEXT REFERENCES notices (id),
    opened_at   BIGINT NOT NULL,
    due_at      BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    decided_at  BIGINT
);
CREATE INDEX automation_runs_waiting ON automation_runs (due_at, incident_id) WHERE state = 'waiting';

-- Which accounts a policy has told lately.
CREATE TABLE automation_told (
    account_id  TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (account_id, incident_id)
);
CREATE INDEX automation_told_at ON automation_told (at);

CREATE TABLE operators (
    id           TEXT NOT NULL PRIMARY KEY,
    name         TEXT NOT NULL,
    email        TEXT,
    webhook_kind TEXT,
    webhook_url  TEXT,
    -- JSON lists of words; severities may be null: all of them.
    events       TEXT NOT NULL,
    severities   TEXT,
    enabled      BOOLEAN NOT NULL,
    gone_at      BIGINT,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);

-- What operators are told: apart from everything that customers are. key: one event is one message for each of them.
CREATE TABLE operator_messages (
    id              TEXT NOT NULL PRIMARY KEY,
    operator_id     TEXT NOT NULL REFERENCES operators (id),
    -- email or webhook
    channel         TEXT NOT NULL,
    event           TEXT NOT NULL,
    key             TEXT NOT NULL,
    incident_id     TEXT NOT NULL REFERENCES incidents (id),
    -- What it says, as JSON.
    facts           TEXT NOT NULL,
    -- pending, sent or failed
    state           TEXT NOT NULL,
    attempts        BIGINT NOT NULL,
    lease           TEXT,
    next_attempt_at BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    finished_at     BIGINT,
    reply           TEXT,
    UNIQUE (operator_id, channel, key)
);
CREATE INDEX operator_messages_due ON operator_messages (channel, next_attempt_at, id) WHERE state = 'pending';
CREATE INDEX operator_messages_last ON operator_messages (operator_id, channel, event, created_at);
CREATE INDEX operator_messages_incident ON operator_messages (incident_id, event);
