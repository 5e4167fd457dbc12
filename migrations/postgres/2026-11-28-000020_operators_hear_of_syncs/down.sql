DELETE FROM operator_messages WHERE incident_id IS NULL;
ALTER TABLE operator_messages ALTER COLUMN incident_id SET NOT NULL;
UPDATE operators SET events = replace(events, ',"sync_failed","sync_waiting"', '');
