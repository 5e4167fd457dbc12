-- Everybody who ever drafted or changed a notice: none of them may approve it.
CREATE TABLE notice_authors (
    notice_id TEXT NOT NULL REFERENCES notices (id),
    actor_id  TEXT NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (notice_id, actor_id)
);
INSERT INTO notice_authors (notice_id, actor_id, at)
    SELECT n.id, e.actor_id, MIN(e.at) FROM notices n
    JOIN audit_events e ON e.subject_type = 'notice' AND e.subject_id = n.id AND e.action IN ('notice.drafted', 'notice.changed')
    WHERE n.state = 'draft' GROUP BY n.id, e.actor_id;
INSERT INTO notice_authors (notice_id, actor_id, at)
    SELECT id, drafted_by, created_at FROM notices WHERE NOT EXISTS
        (SELECT 1 FROM notice_authors a WHERE a.notice_id = notices.id AND a.actor_id = notices.drafted_by);
