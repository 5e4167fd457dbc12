-- Every version of a report that was saved.
CREATE TABLE report_versions (
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    number      BIGINT NOT NULL,
    title       TEXT NOT NULL,
    sections    TEXT NOT NULL,
    author      TEXT NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (incident_id, number)
);

-- The number of the current version, the version that is public, when the report was first published, and the corrections that readers see
-- (JSON).
ALTER TABLE reports ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE reports ADD COLUMN published_version BIGINT;
ALTER TABLE reports ADD COLUMN first_published_at BIGINT;
ALTER TABLE reports ADD COLUMN corrections TEXT NOT NULL DEFAULT '[]';

INSERT INTO report_versions (incident_id, number, title, sections, author, at)
    SELECT incident_id, 1, title, sections, 'an earlier version of Candor', updated_at FROM reports;
UPDATE reports SET first_published_at = published_at WHERE published_at IS NOT NULL;
