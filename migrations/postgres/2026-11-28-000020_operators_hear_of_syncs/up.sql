-- A message may be about a source of the directory, and then about no incident.
ALTER TABLE operator_messages ALTER COLUMN incident_id DROP NOT NULL;

-- Operators who hear of everything hear of these too.
UPDATE operators SET events = substr(events, 1, length(events) - 1) || ',"sync_failed","sync_waiting"]'
WHERE events LIKE '%"opened"%' AND events LIKE '%"overdue"%' AND events LIKE '%"sent"%' AND events LIKE '%"unreached"%';
