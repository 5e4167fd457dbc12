-- What a policy about recoveries will do, as it was when evidence made the incident due, since when it is due, and who holds it.
ALTER TABLE automation_recoveries ADD COLUMN action TEXT NOT NULL DEFAULT 'send';
ALTER TABLE automation_recoveries ADD COLUMN expected_at BIGINT;
ALTER TABLE automation_recoveries ADD COLUMN held_by TEXT;
ALTER TABLE automation_recoveries ADD COLUMN held_at BIGINT;

-- What policies about recoveries did. An incident can have many of these runs.
CREATE TABLE automation_recovery_runs (
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    -- From 1, in the order of the decisions.
    number      BIGINT NOT NULL,
    episode     BIGINT NOT NULL,
    policy_id   TEXT NOT NULL,
    policy_name TEXT NOT NULL,
    action      TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    reason      TEXT,
    -- The notice that the policy wrote. NULL if the draft was discarded.
    notice_id   TEXT,
    -- When evidence came in.
    opened_at   BIGINT NOT NULL,
    due_at      BIGINT NOT NULL,
    decided_at  BIGINT NOT NULL,
    PRIMARY KEY (incident_id, number)
);
