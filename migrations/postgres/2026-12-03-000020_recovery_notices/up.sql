-- Whether a resolution may go to people whose own resources are not all restored. The emails to them say so. The phase 'recovery' is not
-- known to versions before this one, so recoveries are sent only after all processes are upgraded.
ALTER TABLE notices ADD COLUMN acknowledge_impaired BOOLEAN NOT NULL DEFAULT FALSE;
CREATE TRIGGER notices_acknowledged_frozen BEFORE UPDATE OF acknowledge_impaired ON notices
FOR EACH ROW WHEN (OLD.digest IS NOT NULL AND NEW.acknowledge_impaired IS DISTINCT FROM OLD.acknowledge_impaired)
EXECUTE FUNCTION candor_refuse('a queued notice is frozen');

-- When a policy next looks at an incident to tell those whose resources are restored. There is one row for an incident of which evidence
-- came in while a policy for recoveries applied to it.
CREATE TABLE automation_recoveries (
    incident_id TEXT NOT NULL PRIMARY KEY REFERENCES incidents (id),
    policy_id   TEXT NOT NULL,
    policy_name TEXT NOT NULL,
    -- NULL: it waits for further evidence.
    due_at      BIGINT,
    -- When it last sent or drafted a notice. NULL: never.
    last_at     BIGINT,
    -- How often it failed in a row.
    attempts    BIGINT NOT NULL
);
CREATE INDEX automation_recoveries_due ON automation_recoveries (due_at, incident_id) WHERE due_at IS NOT NULL;
