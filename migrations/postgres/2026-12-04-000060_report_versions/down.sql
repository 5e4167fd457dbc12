ALTER TABLE reports DROP COLUMN corrections;
ALTER TABLE reports DROP COLUMN first_published_at;
ALTER TABLE reports DROP COLUMN published_version;
ALTER TABLE reports DROP COLUMN version;
DROP TABLE report_versions;
