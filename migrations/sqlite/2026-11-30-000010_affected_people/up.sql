-- The people who were added to an incident directly, by a list or by a selector. A person stays in the table when
-- removed_at is set, and is affected again when removed_at is null.
CREATE TABLE incident_people (
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    person_key  BIGINT NOT NULL REFERENCES people (key),
    source      TEXT NOT NULL,
    relevance   TEXT NOT NULL,
    added_at    BIGINT NOT NULL,
    removed_at  BIGINT,
    PRIMARY KEY (incident_id, person_key)
);
CREATE INDEX incident_people_person ON incident_people (person_key);
