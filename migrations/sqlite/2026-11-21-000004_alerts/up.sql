-- What told us: integrations, the bodies they sent, the alerts read from them.
CREATE TABLE integrations (
    id             TEXT NOT NULL PRIMARY KEY,
    name           TEXT NOT NULL,
    source         TEXT NOT NULL,
    token_hash     TEXT NOT NULL UNIQUE,
    secret         TEXT,
    mapping        TEXT,
    resource_rules TEXT NOT NULL,
    open_incident  BOOLEAN NOT NULL,
    gone_at        BIGINT,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);

CREATE TABLE hook_requests (
    id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    integration_id TEXT NOT NULL REFERENCES integrations (id),
    received_at    BIGINT NOT NULL,
    accepted       BOOLEAN NOT NULL,
    detail         TEXT NOT NULL,
    body           BLOB NOT NULL
);
CREATE INDEX hook_requests_integration ON hook_requests (integration_id, id);

CREATE TABLE alerts (
    id               TEXT NOT NULL PRIMARY KEY,
    integration_id   TEXT NOT NULL REFERENCES integrations (id),
    fingerprint      TEXT NOT NULL,
    status           TEXT NOT NULL,
    severity         TEXT NOT NULL,
    title            TEXT NOT NULL,
    text             TEXT NOT NULL,
    labels           TEXT NOT NULL,
    link             TEXT,
    started_at       BIGINT NOT NULL,
    ended_at         BIGINT,
    incident_id      TEXT REFERENCES incidents (id),
    repeats          BIGINT NOT NULL,
    received_at      BIGINT NOT NULL,
    last_received_at BIGINT NOT NULL
);
CREATE INDEX alerts_key ON alerts (integration_id, fingerprint, received_at);
CREATE INDEX alerts_incident ON alerts (incident_id);

-- Ids that an alert named: known ones became affected, the others are shown as unresolved.
CREATE TABLE alert_references (
    alert_id      TEXT NOT NULL REFERENCES alerts (id),
    incident_id   TEXT REFERENCES incidents (id),
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    resolved      BOOLEAN NOT NULL,
    seen_at       BIGINT NOT NULL,
    PRIMARY KEY (alert_id, resource_type, resource_id)
);
CREATE INDEX alert_references_incident ON alert_references (incident_id, resolved);
