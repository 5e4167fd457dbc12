-- Planned maintenances. Their affected resources and their notices hang on a row of incidents with a negative number, which is no incident.
CREATE TABLE maintenances (
    incident_id TEXT NOT NULL PRIMARY KEY REFERENCES incidents (id),
    number      BIGINT NOT NULL UNIQUE,
    title       TEXT NOT NULL,
    message     TEXT NOT NULL,
    starts_at   BIGINT NOT NULL,
    ends_at     BIGINT NOT NULL,
    -- scheduled, in_progress, over or cancelled.
    state       TEXT NOT NULL,
    -- How often it was moved or cancelled.
    sequence    BIGINT NOT NULL,
    -- The IDs of the components of the status page (JSON).
    components  TEXT NOT NULL,
    began_at    BIGINT,
    over_at     BIGINT,
    created_by  TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE INDEX maintenances_by_state ON maintenances (state, starts_at);

-- What each notice of a maintenance says: that it is announced, moved, cancelled, begun or over. For a move, the times before.
CREATE TABLE maintenance_notices (
    notice_id     TEXT NOT NULL PRIMARY KEY REFERENCES notices (id),
    incident_id   TEXT NOT NULL REFERENCES maintenances (incident_id),
    change        TEXT NOT NULL,
    sequence      BIGINT NOT NULL,
    was_starts_at BIGINT,
    was_ends_at   BIGINT
);
CREATE INDEX maintenance_notices_by_maintenance ON maintenance_notices (incident_id);

INSERT INTO counters (name, value) VALUES ('maintenance', 0);
