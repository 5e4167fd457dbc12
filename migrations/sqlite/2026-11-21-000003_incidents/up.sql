-- What happened, when, and to which resources.
CREATE TABLE incidents (
    id          TEXT NOT NULL PRIMARY KEY,
    number      BIGINT NOT NULL UNIQUE,
    title       TEXT NOT NULL,
    severity    TEXT NOT NULL,
    status      TEXT NOT NULL,
    summary     TEXT,
    time_zone   TEXT,
    started_at  BIGINT NOT NULL,
    detected_at BIGINT NOT NULL,
    resolved_at BIGINT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE INDEX incidents_status ON incidents (status, number);

CREATE TABLE timeline_entries (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    at          BIGINT NOT NULL,
    utc_offset  BIGINT NOT NULL,
    kind        TEXT NOT NULL,
    text        TEXT NOT NULL,
    internal    BOOLEAN NOT NULL,
    automatic   BOOLEAN NOT NULL,
    author      TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX timeline_entries_incident ON timeline_entries (incident_id, at, id);

CREATE TABLE incident_resources (
    incident_id  TEXT NOT NULL REFERENCES incidents (id),
    resource_key BIGINT NOT NULL REFERENCES resources (key),
    source       TEXT NOT NULL,
    added_at     BIGINT NOT NULL,
    removed_at   BIGINT,
    PRIMARY KEY (incident_id, resource_key)
);
CREATE INDEX incident_resources_resource ON incident_resources (resource_key);

CREATE TABLE next_steps (
    id          TEXT NOT NULL PRIMARY KEY,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    text        TEXT NOT NULL,
    owner       TEXT NOT NULL,
    link        TEXT,
    due_on      TEXT,
    done_at     BIGINT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE INDEX next_steps_incident ON next_steps (incident_id);

CREATE TABLE reports (
    incident_id  TEXT NOT NULL PRIMARY KEY REFERENCES incidents (id),
    title        TEXT NOT NULL,
    sections     TEXT NOT NULL,
    published    TEXT,
    published_at BIGINT,
    updated_at   BIGINT NOT NULL
);
