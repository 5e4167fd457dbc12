-- Where somebody wrote the title: no group of a sender gives the incident another one. The trail says what was written before
-- this table was made.
CREATE TABLE incident_titles (
    incident_id TEXT NOT NULL PRIMARY KEY REFERENCES incidents (id),
    set_at      BIGINT NOT NULL
);
INSERT INTO incident_titles (incident_id, set_at)
    SELECT e.subject_id, MAX(e.at) FROM audit_events e
    JOIN incidents i ON i.id = e.subject_id
    WHERE e.actor_kind = 'token' AND (e.action = 'incident.opened' OR (e.action = 'incident.changed'
        AND CAST(e.before_json AS json) ->> 'title' <> CAST(e.after_json AS json) ->> 'title'))
    GROUP BY e.subject_id;

-- How many alerts the group has in its incident. Counted as they come.
ALTER TABLE alert_source_groups ADD COLUMN alerts BIGINT NOT NULL DEFAULT 0;
UPDATE alert_source_groups SET alerts =
    (SELECT COUNT(DISTINCT a.fingerprint) FROM alerts a WHERE a.incident_id = alert_source_groups.incident_id);
