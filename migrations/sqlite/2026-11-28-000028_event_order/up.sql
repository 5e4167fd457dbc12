-- The sender's own time of the newest event of an alert, and when that event came. An event that is older changes nothing.
-- event_seen_at is null where the newest event had no time: then event_at is that of the newest one that had.
ALTER TABLE alerts ADD COLUMN event_at BIGINT;
ALTER TABLE alerts ADD COLUMN event_seen_at BIGINT;
-- Events that came too late to change anything.
ALTER TABLE alerts ADD COLUMN late_events BIGINT NOT NULL DEFAULT 0;
-- Why an alert opens nothing: planned, informational, a test.
ALTER TABLE alerts ADD COLUMN recorded_why TEXT;
-- Details of the newest event that could not be read, as a JSON array of texts.
ALTER TABLE alerts ADD COLUMN notes TEXT;

-- Messages that were taken, by the sender's own id of them: each is taken once. Old ones are forgotten.
CREATE TABLE alert_messages (
    integration_id TEXT NOT NULL REFERENCES integrations (id),
    message_id     TEXT NOT NULL,
    received_at    BIGINT NOT NULL,
    PRIMARY KEY (integration_id, message_id)
);
CREATE INDEX alert_messages_received ON alert_messages (received_at);

-- Alerts of an incident, each once; alerts_received counts repeats too.
ALTER TABLE incidents ADD COLUMN alert_count BIGINT NOT NULL DEFAULT 0;
UPDATE incidents SET alert_count = (SELECT COUNT(*) FROM alerts a WHERE a.incident_id = incidents.id);
