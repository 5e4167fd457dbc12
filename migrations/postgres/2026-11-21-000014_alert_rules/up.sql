-- What becomes of an alert: rules in order, and the times in which nobody is to be woken.
CREATE TABLE alert_rules (
    id             TEXT NOT NULL PRIMARY KEY,
    position       BIGINT NOT NULL,
    name           TEXT NOT NULL,
    integration_id TEXT REFERENCES integrations (id),
    matchers       TEXT NOT NULL,
    group_by       TEXT NOT NULL,
    severity       TEXT NOT NULL,
    resources      TEXT NOT NULL,
    policy         TEXT NOT NULL,
    reopen_within  BIGINT NOT NULL,
    gone_at        BIGINT,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);

-- The last incident of a group. The key is a hash of the values that the alerts of the group share.
CREATE TABLE alert_groups (
    rule_id     TEXT NOT NULL REFERENCES alert_rules (id),
    key         TEXT NOT NULL,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (rule_id, key)
);
CREATE INDEX alert_groups_key ON alert_groups (key);

-- kind: silence or maintenance. With a schedule it holds for so many seconds from each of its times.
CREATE TABLE quiet_periods (
    id         TEXT NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    matchers   TEXT NOT NULL,
    resources  TEXT NOT NULL,
    starts_at  BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL,
    schedule   TEXT,
    duration   BIGINT,
    ended_at   BIGINT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX quiet_periods_end ON quiet_periods (ends_at) WHERE ended_at IS NULL;

ALTER TABLE alerts ADD COLUMN rule_id TEXT;
ALTER TABLE alerts ADD COLUMN group_shown TEXT;
ALTER TABLE alerts ADD COLUMN quiet_id TEXT;
-- Whether the last one has ended is asked with each end.
CREATE INDEX alerts_firing ON alerts (incident_id) WHERE status = 'firing';

-- The incident of the same problem before, which was over.
ALTER TABLE incidents ADD COLUMN earlier_id TEXT;
-- Counted as they come: of one cause there may be 100,000.
ALTER TABLE incidents ADD COLUMN alerts_received BIGINT NOT NULL DEFAULT 0;
UPDATE incidents SET alerts_received =
    COALESCE((SELECT COUNT(*) + SUM(a.repeats) FROM alerts a WHERE a.incident_id = incidents.id), 0);
CREATE INDEX incidents_earlier ON incidents (earlier_id) WHERE earlier_id IS NOT NULL;

-- Counts its changes: what was read of it before holds as long as this is the same.
ALTER TABLE integrations ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
