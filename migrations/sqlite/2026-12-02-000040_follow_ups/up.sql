-- The open next steps of all incidents by due date. Those without a date come last.
CREATE INDEX next_steps_open ON next_steps (COALESCE(due_on, '9999-12-31'), id) WHERE done_at IS NULL;
CREATE INDEX next_steps_open_owner ON next_steps (owner, COALESCE(due_on, '9999-12-31'), id) WHERE done_at IS NULL;
-- The reports that are written and not published.
CREATE INDEX reports_unpublished ON reports (updated_at, incident_id) WHERE published_at IS NULL;
