-- The incident that this one is merged into. NULL unless the status is merged.
ALTER TABLE incidents ADD COLUMN merged_into TEXT;

-- A merged incident is neither open nor resolved.
DROP INDEX incidents_open;
DROP INDEX incidents_open_number;
CREATE INDEX incidents_open ON incidents (severity, started_at, number) WHERE status <> 'resolved' AND status <> 'merged';
CREATE INDEX incidents_open_number ON incidents (number) WHERE status <> 'resolved' AND status <> 'merged';

-- The merges that were not undone. The audit trail has all of them.
CREATE TABLE incident_merges (
    incident_id    TEXT NOT NULL PRIMARY KEY REFERENCES incidents (id),
    into_id        TEXT NOT NULL REFERENCES incidents (id),
    merged_at      BIGINT NOT NULL,
    -- The name of the actor.
    merged_by      TEXT NOT NULL,
    reason         TEXT,
    -- What the incident gets back if the merge is undone.
    status_before  TEXT NOT NULL,
    resolved_at    BIGINT,
    -- When the other incident began, if the merge moved this time. NULL if it did not.
    into_started_at BIGINT,
    -- A notice of episode n of this incident counts for episode n + episode_shift of the other one.
    episode_shift  BIGINT NOT NULL
);
CREATE INDEX incident_merges_into ON incident_merges (into_id);

-- The rows that a merge assigned to another incident, with the incident that each belonged to before.
CREATE TABLE merged_links (
    -- alert, timeline, next_step, comparison, attestation, alert_group or source_group
    kind    TEXT NOT NULL,
    -- The key of the row in its table, as text.
    key     TEXT NOT NULL,
    home_id TEXT NOT NULL REFERENCES incidents (id),
    PRIMARY KEY (kind, key)
);
CREATE INDEX merged_links_home ON merged_links (home_id, kind);

-- The rows that an incident got from the incidents that are merged into it, where both may have a row about the same thing. The
-- merged incident keeps its own row.
CREATE TABLE merged_rows (
    into_id    TEXT NOT NULL REFERENCES incidents (id),
    -- resource, person or recovery
    kind       TEXT NOT NULL,
    key        BIGINT NOT NULL,
    taken_at   BIGINT NOT NULL,
    -- What the row of the incident was before. All are NULL if there was none.
    removed_at BIGINT,
    relevance  TEXT,
    was        TEXT,
    PRIMARY KEY (into_id, kind, key)
);
