-- What a comparison found about an affected resource or person, as JSON. NULL if no comparison found it.
ALTER TABLE incident_resources ADD COLUMN finding TEXT;
ALTER TABLE incident_people ADD COLUMN finding TEXT;

-- Whether an affected resource is recovered. A resource that is removed from the incident keeps its row, which counts again when the
-- resource is added again.
CREATE TABLE recovery_states (
    incident_id   TEXT NOT NULL REFERENCES incidents (id),
    resource_key  BIGINT NOT NULL REFERENCES resources (key),
    -- impaired, recovering or recovered
    state         TEXT NOT NULL,
    -- The normalised value of each compared column, as a JSON object. NULL if nothing can be measured.
    expected      TEXT,
    impaired_from BIGINT NOT NULL,
    -- When the resource was last seen to be wrong. Older evidence does not count.
    wrong_at      BIGINT NOT NULL,
    changed_at    BIGINT NOT NULL,
    -- The time of the evidence. NULL unless the state is recovered.
    recovered_at  BIGINT,
    -- Whether two people attested it, because nothing can be measured.
    attested      BOOLEAN NOT NULL,
    PRIMARY KEY (incident_id, resource_key)
);
CREATE INDEX recovery_states_state ON recovery_states (incident_id, state);

-- Every change of a state, in the order in which it was recorded.
CREATE TABLE recovery_changes (
    id           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    incident_id  TEXT NOT NULL REFERENCES incidents (id),
    resource_key BIGINT NOT NULL REFERENCES resources (key),
    -- The state before. NULL for the first one.
    was          TEXT,
    state        TEXT NOT NULL,
    happened_at  BIGINT NOT NULL,
    recorded_at  BIGINT NOT NULL,
    -- What says so: a comparison, the source of a line of evidence, or an attestation.
    source       TEXT NOT NULL,
    -- What was seen, as JSON.
    evidence     TEXT,
    -- The name of the actor.
    actor        TEXT NOT NULL
);
CREATE INDEX recovery_changes_resource ON recovery_changes (incident_id, resource_key, id);
-- Relapses are rare.
CREATE INDEX recovery_changes_relapses ON recovery_changes (incident_id, resource_key) WHERE was = 'recovered';

-- The claim of one person that resources are recovered, which another person confirms.
CREATE TABLE recovery_attestations (
    id           TEXT NOT NULL PRIMARY KEY,
    incident_id  TEXT NOT NULL REFERENCES incidents (id),
    reason       TEXT NOT NULL,
    asked_by     TEXT NOT NULL,
    asked_name   TEXT NOT NULL,
    asked_at     BIGINT NOT NULL,
    -- open, confirmed or withdrawn
    state        TEXT NOT NULL,
    ended_by     TEXT,
    ended_name   TEXT,
    ended_at     BIGINT
);
CREATE INDEX recovery_attestations_incident ON recovery_attestations (incident_id, id);
CREATE INDEX recovery_attestations_open ON recovery_attestations (id) WHERE state = 'open';

CREATE TABLE recovery_attested (
    attestation_id TEXT NOT NULL REFERENCES recovery_attestations (id),
    resource_key   BIGINT NOT NULL REFERENCES resources (key),
    PRIMARY KEY (attestation_id, resource_key)
);

CREATE TRIGGER recovery_changes_no_update BEFORE UPDATE ON recovery_changes
BEGIN SELECT RAISE(ABORT, 'recovery_changes is append-only'); END;
CREATE TRIGGER recovery_changes_no_delete BEFORE DELETE ON recovery_changes
BEGIN SELECT RAISE(ABORT, 'recovery_changes is append-only'); END;
CREATE TRIGGER recovery_changes_no_replace BEFORE INSERT ON recovery_changes
WHEN NEW.id > 0 AND EXISTS (SELECT 1 FROM recovery_changes WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'recovery_changes is append-only'); END;
CREATE TRIGGER recovery_attested_no_update BEFORE UPDATE ON recovery_attested
BEGIN SELECT RAISE(ABORT, 'recovery_attested is append-only'); END;
CREATE TRIGGER recovery_attested_no_delete BEFORE DELETE ON recovery_attested
BEGIN SELECT RAISE(ABORT, 'recovery_attested is append-only'); END;
CREATE TRIGGER recovery_attested_no_replace BEFORE INSERT ON recovery_attested
WHEN EXISTS (SELECT 1 FROM recovery_attested WHERE attestation_id = NEW.attestation_id AND resource_key = NEW.resource_key)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM recovery_attested WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'recovery_attested is append-only'); END;

-- Operators who hear of everything hear of relapses too.
UPDATE operators SET events = substr(events, 1, length(events) - 1) || ',"relapsed"]'
WHERE events LIKE '%"opened"%' AND events LIKE '%"overdue"%' AND events LIKE '%"sent"%' AND events LIKE '%"unreached"%';
