-- The Merkle tree over the audit events, in tiles of 256 hashes as in C2SP tlog-tiles. A row is the root of one complete tile: of
-- 256 leaves at level 0, and of 256 roots of the level below otherwise. The leaves are the hashes of the events themselves and are
-- not stored twice. All of it is computed from the events.
CREATE TABLE audit_tiles (
    level  BIGINT NOT NULL,
    number BIGINT NOT NULL,
    root   BLOB NOT NULL,
    PRIMARY KEY (level, number)
);

-- The checkpoints that Candor stored: the signed note, and the key that verifies it.
CREATE TABLE audit_checkpoints (
    size   BIGINT NOT NULL PRIMARY KEY,
    at     BIGINT NOT NULL,
    origin TEXT NOT NULL,
    root   BLOB NOT NULL,
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
    response   BLOB NOT NULL
);
CREATE INDEX audit_time_stamps_size ON audit_time_stamps (size);

-- None of them is changed or deleted.
CREATE TRIGGER audit_tiles_no_update BEFORE UPDATE ON audit_tiles
BEGIN SELECT RAISE(ABORT, 'audit_tiles is append-only'); END;
CREATE TRIGGER audit_tiles_no_delete BEFORE DELETE ON audit_tiles
BEGIN SELECT RAISE(ABORT, 'audit_tiles is append-only'); END;
CREATE TRIGGER audit_tiles_no_replace BEFORE INSERT ON audit_tiles
WHEN EXISTS (SELECT 1 FROM audit_tiles WHERE level = NEW.level AND number = NEW.number)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM audit_tiles WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'audit_tiles is append-only'); END;
CREATE TRIGGER audit_checkpoints_no_update BEFORE UPDATE ON audit_checkpoints
BEGIN SELECT RAISE(ABORT, 'audit_checkpoints is append-only'); END;
CREATE TRIGGER audit_checkpoints_no_delete BEFORE DELETE ON audit_checkpoints
BEGIN SELECT RAISE(ABORT, 'audit_checkpoints is append-only'); END;
CREATE TRIGGER audit_checkpoints_no_replace BEFORE INSERT ON audit_checkpoints
WHEN EXISTS (SELECT 1 FROM audit_checkpoints WHERE size = NEW.size)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM audit_checkpoints WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'audit_checkpoints is append-only'); END;
CREATE TRIGGER audit_time_stamps_no_update BEFORE UPDATE ON audit_time_stamps
BEGIN SELECT RAISE(ABORT, 'audit_time_stamps is append-only'); END;
CREATE TRIGGER audit_time_stamps_no_delete BEFORE DELETE ON audit_time_stamps
BEGIN SELECT RAISE(ABORT, 'audit_time_stamps is append-only'); END;
CREATE TRIGGER audit_time_stamps_no_replace BEFORE INSERT ON audit_time_stamps
WHEN EXISTS (SELECT 1 FROM audit_time_stamps WHERE id = NEW.id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM audit_time_stamps WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'audit_time_stamps is append-only'); END;
