-- The person or team that leads the work on an incident.
ALTER TABLE incidents ADD COLUMN owner TEXT;

-- What the pages list: open incidents by severity and age, and newest first; incidents by the end; those of an owner; drills.
CREATE INDEX incidents_open ON incidents (severity, started_at, number) WHERE status <> 'resolved';
CREATE INDEX incidents_open_number ON incidents (number) WHERE status <> 'resolved';
CREATE INDEX incidents_resolved ON incidents (resolved_at) WHERE resolved_at IS NOT NULL;
CREATE INDEX incidents_owner ON incidents (owner, number) WHERE owner IS NOT NULL;
CREATE INDEX incidents_severity ON incidents (severity, number);
CREATE INDEX incidents_drills ON incidents (number) WHERE drill;

-- Who holds a run, and since when. A run that is held has the state 'held', so a version before this one does not act on it.
ALTER TABLE automation_runs ADD COLUMN held_by TEXT;
ALTER TABLE automation_runs ADD COLUMN held_at BIGINT;
CREATE INDEX automation_runs_held ON automation_runs (incident_id, episode) WHERE state = 'held';

CREATE INDEX next_steps_due ON next_steps (due_on, id) WHERE done_at IS NULL AND due_on IS NOT NULL;
