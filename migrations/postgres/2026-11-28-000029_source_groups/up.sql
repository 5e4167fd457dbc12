-- The last incident of a group that the sender itself made (groupKey of Alertmanager and Grafana), where no rule says
-- otherwise. names are the names of its alerts, as a JSON array. title is the one that Candor gave the incident last: it follows the group until somebody changes it.
CREATE TABLE alert_source_groups (
    key            TEXT NOT NULL PRIMARY KEY,
    integration_id TEXT NOT NULL REFERENCES integrations (id),
    incident_id    TEXT NOT NULL REFERENCES incidents (id),
    names          TEXT NOT NULL,
    title          TEXT NOT NULL,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX alert_source_groups_incident ON alert_source_groups (incident_id);

-- A sender may name one problem in several ways: by a key of the caller's, and by its own id. Each leads to the
-- fingerprint of the alert.
CREATE TABLE alert_keys (
    integration_id TEXT NOT NULL REFERENCES integrations (id),
    key            TEXT NOT NULL,
    fingerprint    TEXT NOT NULL,
    used_at        BIGINT NOT NULL,
    PRIMARY KEY (integration_id, key)
);
CREATE INDEX alert_keys_used ON alert_keys (used_at);
