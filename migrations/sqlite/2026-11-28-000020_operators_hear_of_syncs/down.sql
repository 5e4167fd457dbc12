CREATE TABLE operator_messages_new (
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
INSERT INTO operator_messages_new
SELECT id, operator_id, channel, event, key, incident_id, facts, state, attempts, lease, next_attempt_at, expires_at, created_at,
       finished_at, reply
FROM operator_messages WHERE incident_id IS NOT NULL;
DROP TABLE operator_messages;
ALTER TABLE operator_messages_new RENAME TO operator_messages;
CREATE INDEX operator_messages_due ON operator_messages (channel, next_attempt_at, id) WHERE state = 'pending';
CREATE INDEX operator_messages_last ON operator_messages (operator_id, channel, event, created_at);
CREATE INDEX operator_messages_incident ON operator_messages (incident_id, event);
UPDATE operators SET events = replace(events, ',"sync_failed","sync_waiting"', '');
