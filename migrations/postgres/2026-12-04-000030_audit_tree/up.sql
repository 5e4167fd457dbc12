-- The Merkle tree over the audit events, in tiles of 256 hashes as in C2SP tlog-tiles. A row is the root of one complete tile: of
-- 256 leaves at level 0, and of 256 roots of the level below otherwise. The leaves are the hashes of the events themselves and are
-- not stored twice. All of it is computed from the events.
CREATE TABLE audit_tiles (
    level  BIGINT NOT NULL,
    number BIGINT NOT NULL,
    root   BYTEA NOT NULL,
    PRIMARY KEY (level, number)
);

-- The checkpoints that Candor stored: the signed note, and the key that verifies it.
CREATE TABLE audit_checkpoints (
    size   BIGINT NOT NULL PRIMARY KEY,
    at     BIGINT NOT NULL,
    origin TEXT NOT NULL,
    root   BYTEA NOT NULL,
    note   TEXT NOT NULL,
    key    TEXT NOT NULL
);

-- The time stamps (RFC 3161) of stored checkpoints: the whole answer of the authority. `stamped_at` is the time in it.
CREATE TABLE audit_time_stamps (
    id         TEXT NOT NULL PRIMARY KEY,
    size       BIGINT NOT NULL REFERENCES audit_checkpoints (size),
    at         BIGINT NOT NULL,
    authority  TEXT NOT NULL,
    stamped_at BIGINT NOT NULL,
    serial     TEXT NOT NULL,
    response   BYTEA NOT NULL
);
CREATE INDEX audit_time_stamps_size ON audit_time_stamps (size);

-- None of them is changed or deleted.
CREATE TRIGGER audit_tiles_no_update BEFORE UPDATE ON audit_tiles
FOR EACH ROW EXECUTE FUNCTION candor_refuse('audit_tiles is append-only');
CREATE TRIGGER audit_tiles_no_delete BEFORE DELETE ON audit_tiles
FOR EACH ROW EXECUTE FUNCTION candor_refuse('audit_tiles is append-only');
CREATE TRIGGER audit_tiles_no_truncate BEFORE TRUNCATE ON audit_tiles
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('audit_tiles is append-only');
CREATE TRIGGER audit_checkpoints_no_update BEFORE UPDATE ON audit_checkpoints
FOR EACH ROW EXECUTE FUNCTION candor_refuse('audit_checkpoints is append-only');
CREATE TRIGGER audit_checkpoints_no_delete BEFORE DELETE ON audit_checkpoints
FOR EACH ROW EXECUTE FUNCTION candor_refuse('audit_checkpoints is append-only');
CREATE TRIGGER audit_checkpoints_no_truncate BEFORE TRUNCATE ON audit_checkpoints
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('audit_checkpoints is append-only');
CREATE TRIGGER audit_time_stamps_no_update BEFORE UPDATE ON audit_time_stamps
FOR EACH ROW EXECUTE FUNCTION candor_refuse('audit_time_stamps is append-only');
CREATE TRIGGER audit_time_stamps_no_delete BEFORE DELETE ON audit_time_stamps
FOR EACH ROW EXECUTE FUNCTION candor_refuse('audit_time_stamps is append-only');
CREATE TRIGGER audit_time_stamps_no_truncate BEFORE TRUNCATE ON audit_time_stamps
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('audit_time_stamps is append-only');
